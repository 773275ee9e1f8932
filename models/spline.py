"""Cubic spline interpolation in time."""

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from models.trajectories import CurveImputer


class Spline(CurveImputer):
    """Natural cubic spline in time, constant at the ends.

    The curve of least mean squared acceleration through the seen values (de Boor, A Practical Guide
    to Splines, 1978, ch. V).
    """

    name = "spline"
    seeded = False

    def curve(
        self, seen: NDArray[np.int64], known: NDArray[np.float64], at: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return the values of the natural cubic splines through the seen frames."""
        return CubicSpline(seen, known, axis=1, bc_type="natural")(at)
