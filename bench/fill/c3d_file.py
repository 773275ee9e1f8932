"""C3D files in which samples are replaced, and nothing else.

Only the words of filled samples change: parameters, events, analog channels, and every other sample
stay byte for byte. A filled sample gets residual 0, by which the format marks interpolated ones.
"""

import numpy as np

from bench.core.errors import InputError
from bench.datasets.archive import File
from bench.datasets.c3d_layout import FARTHEST
from bench.datasets.points import open_c3d, plain_labels
from bench.fill.coded import Coded
from bench.fill.gaps import Bools, Numbers


def opened(file: File) -> Coded:
    """Return the points of a C3D file.

    Raises:
        InputError: the file is damaged, or its data are not where its header says.
    """
    c3d = open_c3d(file)
    layout = c3d.layout
    if layout is None:
        raise InputError(f"{file}: its data are not where its header says; export it again")
    content, kept = c3d.content, np.flatnonzero(~c3d.computed)
    # Of long recordings, a copy is a great part of the memory.
    some = slice(None) if len(kept) == len(c3d.computed) else kept
    labels, notes = plain_labels([c3d.names[number] for number in kept])

    def written(values: Numbers, filled: Bools) -> bytes | bytearray:
        reach = FARTHEST * layout.scale
        if layout.scale > 0 and np.abs(values[filled]).max(initial=0) > reach:
            raise InputError(
                f"{file}: its integers reach no farther than {reach:.4g}, but a sample is filled "
                "beyond; choose another method or a smaller --max-gap"
            )
        changed = bytearray(content)
        words = layout.words(changed)
        frames, points = np.nonzero(filled)
        words[frames, kept[points], :3] = layout.encoded(values[filled])
        words[frames, kept[points], 3] = 0
        return changed

    return Coded(
        values=c3d.positions[:, some],
        residual=c3d.residual[:, some],
        fps=c3d.fps,
        names=labels,
        scale=c3d.scale,
        notes=(*c3d.notes, *notes),
        written=written,
    )
