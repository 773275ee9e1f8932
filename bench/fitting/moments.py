"""Sums over all windows of a split, a part at a time, so that no split is copied whole."""

from collections.abc import Callable

from torch import Tensor

from bench.motion import Windows


def summed(windows: Windows, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the sum over all windows of what a function returns.

    Args:
        windows: at least one.
        function: takes float64 motion of some windows, ``(window, frame, joint, 3)``, mm, and
            returns the sum over them.
    """
    parts = (function(part.tensor().double()) for part in windows.parts())
    total = next(parts)
    for part in parts:
        total = total + part
    return total


def covariance(windows: Windows, vectors: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Return the mean and covariance, both float64, of vectors that windows consist of.

    Args:
        windows: at least one.
        vectors: takes motion of some windows as in ``summed``, and returns their vectors,
            ``(..., vector, feature)``.

    Returns:
        ``(..., feature)`` and ``(..., feature, feature)``, with n degrees of freedom.
    """
    count = len(windows) * vectors(windows.tensor(slice(0, 1)).double()).shape[-2]
    mean = summed(windows, lambda motion: vectors(motion).sum(dim=-2)) / count

    def products(motion: Tensor) -> Tensor:
        centred = vectors(motion) - mean[..., None, :]
        return centred.mT @ centred

    return mean, summed(windows, products) / count
