"""Evenly spaced choices."""

import numpy as np
from numpy.typing import NDArray


def spaced(count: int, most: int) -> NDArray[np.int64]:
    """Return at most ``most`` of the numbers below ``count``, evenly spaced."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)
