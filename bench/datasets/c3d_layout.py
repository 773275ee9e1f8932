"""Where the samples of a C3D file lie, to read or replace them and nothing else.

C3D file format user guide (Motion Lab Systems 2008): words 2, 3, 7, 8 and 9 of the header, and "3D
point data".
"""

import math
import struct
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

BLOCK = 512
"""Bytes of a block, in which the header counts."""
KEY = 80
"""The second byte of every C3D file."""
INTEL, DEC = 84, 85
"""Kinds of processors whose numbers are read."""
SLACK = 64
"""Bytes of a parameter's record that may be of no use."""
FARTHEST = 2**15 - 1
"""Greatest integer of a sample."""

Words = NDArray[np.generic]


@dataclass(frozen=True)
class Layout:
    """Where the points of a C3D file lie, and how they are coded.

    Attributes:
        start: byte at which the data begin.
        frames: number of frames.
        points: number of points.
        analog: words of a frame after those of the points.
        scale: units of a step of integers; negative of a file with floating point numbers.
        dec: whether floating point numbers are those of DEC.
    """

    start: int
    frames: int
    points: int
    analog: int
    scale: float
    dec: bool

    @property
    def size(self) -> int:
        """Bytes of all frames."""
        return self.frames * (4 * self.points + self.analog) * (2 if self.scale > 0 else 4)

    def to_end(self, content: bytes) -> "Layout":
        """Return the layout with as many frames as a file has, but for zeros in its last block."""
        size = self.size // self.frames
        end = content[-BLOCK:]
        used = len(content) - self.start - (len(end) - len(end.rstrip(b"\0")))
        return replace(self, frames=min(-(-used // size), (len(content) - self.start) // size))

    def words(self, content: bytes | bytearray) -> Words:
        """Return the words ``(frame, point, 4)`` of a file: three coordinates and the residual.

        They can be written to if ``content`` can.

        Raises:
            ValueError: the file is shorter than that.
        """
        kind = "<i2" if self.scale > 0 else "<u4"
        count = 4 * self.points + self.analog
        data = np.frombuffer(content, kind, self.frames * count, self.start)
        frames = data.reshape(self.frames, count)[:, : 4 * self.points]
        return frames.reshape(self.frames, self.points, 4)

    def samples(self, content: bytes) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return positions ``(frame, point, 3)``, and which the file says are missing.

        Raises:
            ValueError: the file is shorter than that.
        """
        words = self.words(content)
        if self.scale > 0:
            return words[..., :3].astype(np.float64) * self.scale, words[..., 3].astype(int) < 0
        numbers = self.decoded(words)
        return numbers[..., :3], numbers[..., 3] < 0

    def decoded(self, words: Words) -> NDArray[np.float64]:
        """Return the floating point numbers of words."""
        whole = words.astype(np.uint32)
        with np.errstate(invalid="ignore"):  # damaged words may be signalling NaN
            if self.dec:
                return _exchanged(whole).view(np.float32).astype(np.float64) / 4
            return whole.view(np.float32).astype(np.float64)

    def encoded(self, values: NDArray[np.float64]) -> Words:
        """Return the words of coordinates; of integers the nearest."""
        if self.scale > 0:
            return np.rint(values / self.scale).clip(-FARTHEST, FARTHEST).astype("<i2")
        if self.dec:
            return _exchanged((values * 4).astype(np.float32).view(np.uint32))
        return values.astype(np.float32).view(np.uint32)


def layout_of(content: bytes, frames: int) -> Layout | None:
    """Return the layout that the header of a C3D file states; None if it cannot be that.

    Args:
        content: the file.
        frames: number of frames, of which the header states no more than 65535.
    """
    processor = content[BLOCK * (content[0] - 1) + 3]
    points, analog = struct.unpack_from("<HH", content, 2)
    (block,) = struct.unpack_from("<H", content, 16)
    word = np.frombuffer(content, "<u4", 1, 12)
    dec = processor == DEC
    scale = float(_exchanged(word).view("<f4")[0]) / 4 if dec else float(word.view("<f4")[0])
    if processor not in (INTEL, DEC) or not block or not np.isfinite(scale) or scale == 0:
        return None
    layout = Layout(BLOCK * (block - 1), frames, points, analog, scale, dec)
    return layout if layout.start + layout.size <= len(content) else None


def _exchanged(words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return 32-bit words with their halves exchanged, as DEC stores floating point numbers."""
    return (words << np.uint32(16)) | (words >> np.uint32(16))


def has_parameters(content: bytes) -> bool:
    """Return whether the parameters of a C3D file follow each other, each within its record.

    A library that trusts a damaged size may not come back. User guide, "Parameter section".
    """
    place = BLOCK * (content[0] - 1) + 4
    if not 0 < place < len(content) or content[place - 1] not in (INTEL, DEC):
        return 0 < place < len(content)  # of other processors the library says what they are
    while 0 < place < len(content) - 4:
        length, group = struct.unpack_from("bb", content, place)
        name_ends = place + 2 + abs(length)
        if not length or not group:
            return True
        if name_ends + 4 > len(content):
            return False
        (step,) = struct.unpack_from("<H", content, name_ends)
        following = name_ends + step if step else len(content)
        if group > 0:
            kind, count = struct.unpack_from("bB", content, name_ends + 2)
            sizes = content[name_ends + 4 : name_ends + 4 + count]
            described = name_ends + 4 + count + abs(kind) * math.prod(sizes)
            if not -SLACK < described + content[min(described, len(content) - 1)] - following < 0:
                return False
        if not step:
            return True
        place = following
    return False
