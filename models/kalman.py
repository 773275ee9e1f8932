"""A Kalman smoother of every coordinate by itself."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.fitting.moments import covariance
from bench.fitting.training import FitContext
from bench.motion import MotionSpec, Windows, to_nodes
from models.base import Imputation, Imputer

BOUNDS = {
    "stiffness": (1e-3, 1e4),
    "damping": (1e-2, 1e3),
    "variance": (1e-2, 1e8),
    "level_variance": (1e-2, 1e8),
    "noise": (1e-4, 1e6),
}
"""Smallest and largest fitted values: 1/s^2, 1/s, and mm^2 of the others."""

TOLERANCE = 1e-6
"""Relative change of the log likelihood at which the fit ends; smaller ones change no result."""


class Kalman(Imputer):
    """Kalman smoother of position, velocity and level of every coordinate by itself.

    In a window, a coordinate minus its train mean is a constant level plus x, which moves with
    velocity x' as on a damped spring that is driven by white noise:

        x'' = -stiffness x - damping x' + white noise.

    Small stiffness and damping give the constant-velocity model, critical damping the Matern-3/2
    process (Hartikainen and Sarkka 2010). As x is stationary, a long gap or an unseen end leads
    back to the level instead of away with constant velocity. Measurements have white noise, of
    which ``sigma`` has its share. Filter and Rauch-Tung-Striebel smoother: Sarkka, Bayesian
    Filtering and Smoothing (2013), theorems 4.2 and 8.2.

    Attributes:
        stiffness: buffer ``(node,)``, 1/s^2.
        damping: buffer ``(node,)``, 1/s.
        variance: buffer ``(node,)`` of x, mm^2.
        level_variance: buffer ``(node,)`` of the level over windows, mm^2.
        noise: buffer ``(node,)``, variance of a measurement, mm^2.
    """

    name = "kalman"
    seeded = False
    stiffness: Tensor
    damping: Tensor
    variance: Tensor
    level_variance: Tensor
    noise: Tensor

    def __init__(self, spec: MotionSpec, settings: Any = None) -> None:
        super().__init__(spec, settings)
        for name in BOUNDS:
            self.register_buffer(name, torch.ones(spec.nodes, dtype=torch.float64))

    def fit(self, train: Windows, valid: Windows, context: FitContext | None = None) -> None:
        """Fit the five numbers of every coordinate by maximum likelihood of one-step predictions.

        The product of their densities is the joint density of a trajectory, a Gaussian. It depends
        on the train windows by their covariance over time alone, so no filter has to run.
        """
        super().fit(train, valid, context)
        _, spread = covariance(train, to_nodes)
        for name, value in zip(BOUNDS, _fit(spread, self.spec.fps), strict=True):
            getattr(self, name).copy_(value)

    def complete(self, motion: Tensor, occluded: Tensor) -> Imputation:
        """Smooth every trajectory given its seen values, in float64."""
        deviation = (motion.double() - self.mean).flatten(2)
        mean, variance = self._smooth(deviation, occluded.flatten(2))
        return Imputation(
            (self.mean + mean.view_as(motion)).to(motion.dtype),
            (variance + self.noise).sqrt().view_as(motion).to(motion.dtype),
        )

    def _smooth(self, values: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and variances of the coordinates, both ``(window, frame, node)``."""
        transition, _, process = self._model()
        states = self._filter(values, hidden)
        mean, covariance = states[-1]
        smoothed = [_position(mean, covariance)]
        for filtered, spread in reversed(states[:-1]):
            predicted = transition @ spread @ transition.mT + process
            gain = torch.linalg.solve(predicted, transition @ spread).mT
            mean = filtered + _product(gain, mean - _product(transition, filtered))
            covariance = spread + gain @ (covariance - predicted) @ gain.mT
            smoothed.append(_position(mean, covariance))
        means, variances = (torch.stack(part[::-1], dim=1) for part in zip(*smoothed, strict=True))
        return means, variances.clamp(min=0)

    def _filter(self, values: Tensor, hidden: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return the filtered mean ``(window, node, 3)`` and covariance of every frame's state."""
        transition, initial, process = self._model()
        windows, _, nodes = values.shape
        mean, covariance = values.new_zeros(windows, nodes, 3), initial
        states: list[tuple[Tensor, Tensor]] = []
        for value, unseen in zip(values.unbind(1), hidden.unbind(1), strict=True):
            if states:
                mean = _product(transition, mean)
                covariance = transition @ covariance @ transition.mT + process
            position, variance = _position(mean, covariance)
            column = covariance[..., 0] + covariance[..., 2]
            gain = column / (variance + self.noise)[..., None]
            gain = torch.where(unseen[..., None], 0.0, gain)
            mean = mean + gain * (value - position)[..., None]
            covariance = covariance - gain[..., None] * column[..., None, :]
            states.append((mean, covariance))
        return states

    def _model(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return transition, initial covariance and process covariance, ``(node, 3, 3)``."""
        transition = torch.eye(3, dtype=torch.float64).to(self.noise).repeat(self.spec.nodes, 1, 1)
        drift = _drift(self.stiffness, self.damping)
        transition[:, :2, :2] = torch.matrix_exp(drift / self.spec.fps)
        variances = self.variance, self.stiffness * self.variance, self.level_variance
        initial = torch.diag_embed(torch.stack(variances, dim=-1))
        return transition, initial, initial - transition @ initial @ transition.mT


def _product(matrices: Tensor, vectors: Tensor) -> Tensor:
    return (matrices @ vectors[..., None])[..., 0]


def _position(mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of x plus level, given those of the state."""
    level = 2 * covariance[..., 0, 2] + covariance[..., 2, 2]
    return mean[..., 0] + mean[..., 2], covariance[..., 0, 0] + level


def _drift(stiffness: Tensor, damping: Tensor) -> Tensor:
    """Return the matrices ``(node, 2, 2)`` that turn x and x' into their rates of change."""
    zero, one = torch.zeros_like(stiffness), torch.ones_like(stiffness)
    rows = [torch.stack([zero, one], dim=-1), torch.stack([-stiffness, -damping], dim=-1)]
    return torch.stack(rows, dim=-2)


def _fit(covariance: Tensor, fps: float) -> Tensor:
    """Return ``(5, node)`` numbers of greatest likelihood, in the order of ``BOUNDS``.

    Args:
        covariance: float64 ``(node, frame, frame)``, about the mean.
        fps: frames per second.
    """
    # Imported here, since the import costs every worker time.
    from scipy.optimize import minimize

    lower, upper = np.log(np.array(list(BOUNDS.values()))).T[:, :, None]
    start = _start(covariance, fps).log().numpy().clip(lower, upper)
    limits = [np.broadcast_to(limit, start.shape).ravel() for limit in (lower, upper)]

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        point = torch.from_numpy(flat).view(start.shape).requires_grad_()
        loss = _negative_log_likelihood(point.exp(), covariance, fps)
        (slope,) = torch.autograd.grad(loss, point)
        return loss.item(), slope.flatten().numpy()

    found = minimize(
        objective,
        start.ravel(),
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(*limits, strict=True)),
        options={"ftol": TOLERANCE},
    )
    return torch.from_numpy(found.x).view(start.shape).exp()


def _start(covariance: Tensor, fps: float) -> Tensor:
    """Return what the fit starts from: critical damping, half the variance in the level."""
    frames = covariance.shape[-1]
    variance = covariance.diagonal(dim1=-2, dim2=-1).mean(dim=-1).clamp(min=1e-9)
    later = covariance.diagonal(1, dim1=-2, dim2=-1).mean(dim=-1) if frames > 1 else variance
    # The variance of x' is that of x times the stiffness.
    stiffness = (4 * (variance - later) * fps**2 / variance).clamp(min=1e-9)
    half = variance / 2
    return torch.stack([stiffness, 2 * stiffness.sqrt(), half, half, 1e-3 * variance])


def _negative_log_likelihood(numbers: Tensor, covariance: Tensor, fps: float) -> Tensor:
    """Return the mean over nodes and windows, without constants, nats."""
    stiffness, damping, variance, level_variance, noise = numbers[..., None, None]
    frames = covariance.shape[-1]
    time = torch.arange(frames, dtype=torch.float64)
    drift = _drift(stiffness[..., 0, 0], damping[..., 0, 0])
    passed = torch.matrix_exp(drift[:, None] * (time / fps)[:, None, None])[..., 0, 0]
    lag = (time[:, None] - time).abs().long()
    modelled = variance * passed[:, lag] + level_variance + noise * torch.eye(frames)
    factor = torch.linalg.cholesky(modelled)
    misfit = torch.cholesky_solve(covariance, factor).diagonal(dim1=-2, dim2=-1).sum(dim=-1)
    return (0.5 * misfit + factor.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)).mean()
