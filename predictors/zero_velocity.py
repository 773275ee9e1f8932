"""Zero velocity: the control that repeats the last observed frame."""

from torch import Tensor

from predictors.base import Predictor


class ZeroVelocity(Predictor):
    """Control: the last frame of the past, repeated."""

    name = "zero_velocity"
    control = True

    def predict(self, past: Tensor) -> Tensor:
        """Repeat the last frame: ``(window, future frame, joint, 3)``, mm."""
        return past[:, -1:].expand(-1, self.spec.future, -1, -1)
