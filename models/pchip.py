"""Monotone piecewise cubic interpolation in time."""

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from models.trajectories import CurveImputer


class Pchip(CurveImputer):
    """Piecewise cubic Hermite interpolation that never overshoots, constant at the ends.

    Fritsch and Butland (1984), a method for constructing local monotone piecewise cubic
    interpolants.
    """

    name = "pchip"
    seeded = False

    def curve(
        self, seen: NDArray[np.int64], known: NDArray[np.float64], at: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return the values of the monotone cubic curves through the seen frames."""
        return PchipInterpolator(seen, known, axis=1)(at)
