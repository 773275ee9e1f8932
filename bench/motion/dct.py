"""The orthonormal DCT-II as a matrix, cached per length."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct


@lru_cache(maxsize=16)
def dct_matrix(length: int) -> NDArray[np.float64]:
    """Return the orthonormal DCT-II of ``length`` samples as a matrix (HG-VAE, sec. 3.1).

    Args:
        length: number of frames, at least 1.

    Returns:
        ``D`` of shape ``(length, length)``, read-only: ``coefficients = D @ samples`` along the
        frame axis, and ``samples = D.T @ coefficients``, since ``D`` is orthonormal.
    """
    matrix = dct(np.eye(length), type=2, norm="ortho", axis=0)
    matrix.setflags(write=False)
    return matrix
