"""Numpy's array format, read so that a damaged file can neither run code nor fill the memory."""

import math
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import reason_of

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def array_of(content: bytes) -> NDArray[Any]:
    """Return the numbers that the bytes of an .npy file are.

    Raises:
        ValueError: they are none, there are none, or not as many as its header says.
    """
    stream = BytesIO(content)
    try:
        shape, fortran, dtype = _HEADERS[np.lib.format.read_magic(stream)](stream)
        count = math.prod(map(int, shape))
    except Exception as error:
        # Numpy reads the header as Python, which a damaged one fails in many ways.
        raise ValueError(f"no array of numpy's format ({reason_of(error)})") from None
    if dtype.kind not in "fiu":
        raise ValueError(f"of type {dtype}, not numbers")
    there = len(content) - stream.tell()
    # Memory is taken for what the header says, so it must say what is there.
    if min(shape, default=0) < 0 or count * dtype.itemsize != there:
        raise ValueError(f"{there} bytes for an array of {str(shape)[:200]}, so cut short")
    if not count:
        raise ValueError("no frame with a number in it")
    numbers = np.frombuffer(content, dtype, count, stream.tell())
    return numbers.reshape(shape, order="F" if fortran else "C")
