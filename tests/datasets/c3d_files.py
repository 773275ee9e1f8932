"""Small C3D files, written by the library that reads them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def write_c3d(
    path: Path, positions: NDArray[Any], labels: Sequence[str], fps: float = 100.0, **more: Any
) -> Path:
    """Write ``(frame, point, 3)`` positions, nan where missing; ``more`` are POINT parameters."""
    import ezc3d

    c3d = ezc3d.c3d()
    c3d["parameters"]["POINT"]["RATE"]["value"] = [fps]
    c3d["parameters"]["POINT"]["LABELS"]["value"] = list(labels)
    for name, value in {"UNITS": ["mm"], **more}.items():
        c3d.add_parameter("POINT", name, value)
    homogeneous = np.ones((4, len(labels), len(positions)))
    homogeneous[:3] = positions.transpose(2, 1, 0)
    c3d["data"]["points"] = homogeneous
    c3d.write(str(path))
    return path
