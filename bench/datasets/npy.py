"""A safe reader of .npy files: a damaged file can neither run code nor exhaust the memory."""

import math
import sys
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def array_of(content: bytes, text: bool = False) -> NDArray[Any]:
    """Return the array in the bytes of an .npy file, of numbers or, if ``text``, of text.

    Raises:
        ValueError: the bytes are no .npy file, its type is not numeric, it is empty, or its size
            differs from its header.
    """
    stream = BytesIO(content)
    try:
        shape, fortran, dtype = _HEADERS[np.lib.format.read_magic(stream)](stream)
        count = math.prod(map(int, shape))
    except Exception:
        # Numpy parses the header as Python, which fails in many ways if it is damaged.
        raise ValueError("no array of numpy's format, or damaged") from None
    if dtype.kind not in ("fiuSU" if text else "fiu"):
        raise ValueError(f"of type {dtype}, not numbers")
    available = len(content) - stream.tell()
    # The header determines how much memory is allocated, so it must match the data.
    if min(shape, default=0) < 0 or count * dtype.itemsize != available:
        raise ValueError(f"{available} bytes for an array of {str(shape)[:200]}, so cut short")
    if not count:
        raise ValueError("no frame with a number in it")
    if dtype.kind == "U":
        size = count * dtype.itemsize // 4
        codes = np.frombuffer(content, f"{dtype.byteorder}u4", size, stream.tell())
        if (codes > sys.maxunicode).any():  # making a string of it fails within Python
            raise ValueError("of damaged text")
    numbers = np.frombuffer(content, dtype, count, stream.tell())
    return numbers.reshape(shape, order="F" if fortran else "C")
