"""A network that mixes the completions of simple imputers, and corrects them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from bench.fitting.training import FitContext, TrainSettings, train
from bench.motion import MotionSpec, Windows
from bench.motion.mechanisms.sampler import MaskSampler, usual_masks
from models.base import Imputation, Imputer
from models.conditioning import by_mask
from models.families import FAMILIES, calibration, family_number, of_families, trials
from models.spectral_gaussian import SpectralGaussian
from models.spline import Spline
from models.trajectories import neighbours

SHARED = 32
"""Most windows of a batch that share a mask while training: a Gaussian is conditioned once each."""
VALIDATED = 512
"""Valid windows that epochs are compared on."""
TRIED = 64
"""Valid windows that the network is weighed on against single completions, for each family."""
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Weights of the network that are tried there."""
OUTLIER = 10.0
"""Relative squared error of a window from which the loss grows as its logarithm only."""
SPREAD = 0.1
"""Weight in the loss of the predicted deviations' likelihood."""
TOKEN = 24
"""Features of a joint in one frame."""
DOUBT = -2.0
"""Initial log weight of the spline, whose own deviation is not known."""


class Stacked(Imputer):
    """Mixture of spectral Gaussians and a spline, weighted and corrected by a transformer.

    A network over frames sees the completions, their predicted deviations, the mask and the
    distance to what is seen. For each joint and frame it gives weights of the completions, a
    correction in units of the mixture's deviation, and a deviation of its own: Gaussian stacking
    (Wolpert 1992) by position in the window. Completions of train windows are of Gaussians fitted
    to other people, since those of a Gaussian that knows the window look better than they are.
    On valid windows each family of masks chooses how much the network counts beside the family's
    best single completion, and calibrates the deviations.
    """

    name = "stacked"
    trained = True
    uses_masks = True

    class Settings(TrainSettings):
        """What is mixed, the size of the network, and how to fit it."""

        drifts: tuple[float, ...] = Field(
            (1.0, 100.0), min_length=1, description="drift of each spectral Gaussian"
        )
        folds: int = Field(
            4, ge=2, description="groups of people; Gaussians for one are fitted to the others"
        )
        width: int = Field(128, ge=8, multiple_of=4)
        blocks: int = Field(3, ge=0)
        dropout: float = Field(0.1, ge=0, lt=1)
        epochs: int = Field(20, ge=1)
        batch_size: int = Field(128, ge=1)
        micro_batch: int | None = Field(128, ge=1)
        learning_rate: float = Field(2e-3, gt=0)
        learning_rate_decay: float = Field(0.03, gt=0, le=1)
        gradient_clip: float = Field(1.0, gt=0)
        ema: float = Field(0.99, ge=0, lt=1)

    settings: Any
    weight: Tensor
    single: Tensor
    calibration: Tensor

    def __init__(self, spec: MotionSpec, settings: Any = None) -> None:
        super().__init__(spec, settings)
        own = self.settings
        self.gaussian = SpectralGaussian(spec)
        self.spline = Spline(spec)
        self.network = _Network(spec, len(own.drifts) + 1, own.width, own.blocks, own.dropout)
        families = len(FAMILIES)
        self.register_buffer("weight", torch.ones(families))
        self.register_buffer("single", torch.zeros(families, dtype=torch.int64))
        self.register_buffer("calibration", torch.ones(families))
        self._others: list[SpectralGaussian] = []
        self._masks: MaskSampler | None = None

    def fit(
        self, train_windows: Windows, valid: Windows, context: FitContext | None = None
    ) -> None:
        """Fit Gaussians to all people and to those outside of each fold, then the network."""
        super().fit(train_windows, valid, context)
        context = context or FitContext()
        self._masks = context.masks or usual_masks(self.spec)
        self.spline.mean.copy_(self.mean)
        self.gaussian.estimate(train_windows)
        self.network.scale(self.mean, self.deviation)
        folds = folds_of(train_windows, self.settings.folds)
        # Not modules: they are needed for the fit alone.
        self._others = [
            self._estimated(train_windows.take(folds != fold)) for fold in range(folds.max() + 1)
        ]
        train(self, train_windows, valid.thin(VALIDATED), self.settings, context)
        self._others = []
        self._choose(valid, context.seed)

    def _estimated(self, windows: Windows) -> SpectralGaussian:
        gaussian = SpectralGaussian(self.spec)
        gaussian.estimate(windows)
        return gaussian

    def loss_inputs(self, windows: Windows) -> dict[str, Tensor]:
        """Return the fold of each window; while validating it is not used."""
        return {"fold": torch.from_numpy(folds_of(windows, self.settings.folds))}

    def losses(self, motion: Tensor, fold: Tensor) -> dict[str, Tensor]:
        """Return the loss of windows under masks drawn for them.

        ``error`` is the mean squared error over hidden values relative to what the best Gaussian
        expects of it under that mask, so that hard masks do not drown easy ones; ``spread`` the
        negative log likelihood of the deviations, given the means.

        Args:
            motion: ``(window, frame, joint, 3)``, mm.
            fold: ``(window,)``.
        """
        errors, spreads = [], []
        for number, rows in self._groups(fold):
            found = self._of_group(motion[rows], number)
            if found is not None:
                errors.append(found[0])
                spreads.append(found[1])
        if not errors:  # masks of nothing, on very short windows
            nothing = 0 * self.network.out.bias.sum()
            return dict.fromkeys(("loss", "error", "spread"), nothing)
        error, spread = torch.cat(errors).mean(), torch.cat(spreads).mean()
        return {"loss": error + SPREAD * spread, "error": error, "spread": spread}

    def _groups(self, fold: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield the number of a Gaussian, -1 for that of all people, and rows to share a mask."""
        if not self.training:
            yield from ((-1, rows) for rows in torch.arange(len(fold)).split(SHARED // 4))
            return
        for number in fold.unique().tolist():
            (rows,) = torch.nonzero(fold == number, as_tuple=True)
            yield from ((number, part) for part in rows.split(SHARED))

    def _of_group(self, motion: Tensor, number: int) -> tuple[Tensor, Tensor] | None:
        """Return relative errors and spreads, ``(window,)`` each; None if nothing is hidden."""
        assert self._masks is not None
        # From torch's global generator, which the fit seeds for each epoch.
        generator = np.random.default_rng(int(torch.randint(2**62, ())))
        drawn = self._masks.draw(self.spec, generator, motion[:1].numpy(force=True))
        hidden = torch.from_numpy(drawn[0]).to(motion.device)
        if not hidden.any():
            return None
        gaussian = self.gaussian if number < 0 else self._others[number]
        fills, sigma = self._completions(motion, hidden, gaussian)
        predicted, deviation = self.network(fills, sigma, hidden.expand(motion.shape))
        squared = (predicted - motion)[:, hidden].square()
        expected = sigma[:, hidden].square().mean(dim=1).min()
        relative = squared.mean(dim=1) / expected.clamp(min=1e-6)
        errors = OUTLIER * torch.log1p(relative / OUTLIER)
        scaled = squared.detach() / deviation[:, hidden].square()
        spreads = (deviation[:, hidden].log() + scaled.clamp(max=100) / 2).mean(dim=1)
        return errors, spreads

    @torch.no_grad()
    def _completions(
        self, motion: Tensor, hidden: Tensor, gaussian: SpectralGaussian
    ) -> tuple[Tensor, Tensor]:
        """Return what simple imputers make of windows with one mask, and their deviations.

        Args:
            motion: ``(window, frame, joint, 3)``, mm; ignored where hidden.
            hidden: bool ``(frame, joint, 3)``.
            gaussian: fitted to people that are not in these windows.

        Returns:
            ``(window, completion, frame, joint, 3)`` and ``(completion, frame, joint, 3)``, mm.
        """
        mask, values = hidden.flatten(), motion.double().flatten(1)
        fills, sigmas = [], []
        for drift in self.settings.drifts:
            found = gaussian.gaussian(drift).given(mask)
            filled, sigma = values.clone(), torch.zeros_like(values[0])
            filled[:, mask], sigma[mask] = found.mean(values), found.variance.sqrt()
            fills.append(filled.view_as(motion).to(motion.dtype))
            sigmas.append(sigma.view_as(hidden).to(motion.dtype))
        fills.append(self.spline.impute(motion, hidden.expand(motion.shape)).motion)
        sigmas.append(sigmas[-1])
        return torch.stack(fills, dim=1), torch.stack(sigmas)

    def complete(self, motion: Tensor, occluded: Tensor) -> Imputation:
        """Complete windows, those with one mask together."""
        mean, deviation = motion.clone(), torch.zeros_like(motion)
        for mask, rows in by_mask(occluded.flatten(1)):
            hidden = mask.view_as(self.mean)
            family = family_number(hidden)
            fills, sigma = self._completions(motion[rows], hidden, self.gaussian)
            found, spread = self.network(fills, sigma, hidden.expand(fills[:, 0].shape))
            single = fills[:, self.single[family]]
            mean[rows] = torch.lerp(single, found, self.weight[family])
            deviation[rows] = spread * self.calibration[family]
        return Imputation(mean, deviation)

    @torch.no_grad()
    def _choose(self, valid: Windows, seed: int) -> None:
        """Choose on valid windows, for each family, the network's weight and the calibration."""
        assert self._masks is not None
        weights, singles, factors = {}, {}, {}
        for family, (motion, hidden) in trials(valid, self._masks, seed, TRIED).items():
            errors, found, spread = self._errors(motion, hidden)
            single = errors.square().mean(dim=1).argmin()
            mixtures = torch.stack(
                [torch.lerp(errors[single], found, weight) for weight in WEIGHTS]
            )
            best = mixtures.square().mean(dim=1).argmin()
            singles[family], weights[family] = single.double(), torch.tensor(WEIGHTS)[best]
            factors[family] = calibration(mixtures[best], spread)
        self.weight.copy_(of_families(weights))
        # Of a family that was not tried the network alone completes, so this is not used.
        self.single.copy_(of_families(singles).round().long())
        self.calibration.copy_(of_families(factors))

    def _errors(self, motion: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return errors of single completions, of the network's, and its deviations.

        Windows count equally: errors and deviations are divided by the root mean square of the
        first completion's error.

        Returns:
            ``(completion, value)``, ``(value,)``, ``(value,)``, over all hidden values.
        """
        singles, errors, spreads = [], [], []
        for window, mask in zip(motion[:, None], hidden, strict=True):
            if not mask.any():
                continue
            fills, sigma = self._completions(window, mask, self.gaussian)
            found, spread = self.network(fills, sigma, mask[None])
            error = (fills - window[:, None])[0][:, mask]
            scale = error[0].square().mean().sqrt().clamp(min=1e-3)
            singles.append(error / scale)
            errors.append((found - window)[0][mask] / scale)
            spreads.append(spread[0][mask] / scale)
        return torch.cat(singles, dim=1), torch.cat(errors), torch.cat(spreads)


def folds_of(windows: Windows, count: int) -> np.ndarray:
    """Return ``(window,)`` the fold of each window: people are dealt into folds of similar size.

    Where the performers are not known, recordings are. There are fewer folds than ``count`` if
    there are fewer people.
    """
    people = windows.index["subject"].to_numpy(dtype=str)
    if len(set(people)) < 2:
        people = windows.index["source"].to_numpy(dtype=str)
    names, of, sizes = np.unique(people, return_inverse=True, return_counts=True)
    fold, totals = np.zeros(len(names), dtype=np.int64), np.zeros(min(count, len(names)))
    for person in np.argsort(-sizes, kind="stable"):
        fold[person] = totals.argmin()
        totals[fold[person]] += sizes[person]
    return fold[of]


class _Network(nn.Module):
    """A transformer over frames, between a small network per joint and frame at either end."""

    centre: Tensor
    unit: Tensor

    def __init__(
        self, spec: MotionSpec, completions: int, width: int, blocks: int, dropout: float
    ) -> None:
        super().__init__()
        joints = len(spec.skeleton)
        self.completions = completions
        self.register_buffer("centre", torch.zeros(joints, 3))
        self.register_buffer("unit", torch.ones(joints, 3))
        # Position, velocity, mask; distances to what is seen; deviations; differences.
        features = 3 * 3 + 2 + completions + 3 * (completions - 1)
        self.token = nn.Linear(features, TOKEN)
        self.joint = nn.Parameter(0.1 * torch.randn(joints, TOKEN))
        self.enter = nn.Linear(joints * TOKEN, width)
        self.frame = nn.Parameter(0.1 * torch.randn(spec.frames, width))
        self.blocks = nn.Sequential(*(_Block(width, dropout) for _ in range(blocks)))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, joints * TOKEN))
        self.both = nn.Linear(2 * TOKEN, 2 * TOKEN)
        self.out = nn.Linear(2 * TOKEN, completions + 6)
        nn.init.zeros_(self.out.weight)
        with torch.no_grad():
            self.out.bias.zero_()[completions - 1] = DOUBT

    def scale(self, mean: Tensor, deviation: Tensor) -> None:
        """Set the units of positions from those of windows, ``(frame, joint, 3)``."""
        self.centre.copy_(mean.mean(dim=0))
        self.unit.copy_(deviation.square().mean(dim=0).sqrt())

    def forward(self, fills: Tensor, sigma: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and deviations, ``(window, frame, joint, 3)`` each, mm.

        Args:
            fills: ``(window, completion, frame, joint, 3)``, mm.
            sigma: ``(completion, frame, joint, 3)``, their deviations, mm, 0 where observed.
            hidden: bool ``(window, frame, joint, 3)``.
        """
        tokens = functional.gelu(self.token(self._features(fills, sigma, hidden)) + self.joint)
        over_time = self.blocks(self.enter(tokens.flatten(2)) + self.frame)
        back = self.leave(over_time).view_as(tokens)
        out = self.out(functional.gelu(self.both(torch.cat([back, tokens], dim=-1))))
        choice, shift, spread = out.split([self.completions, 3, 3], dim=-1)
        floor = sigma.clamp(min=0.1)
        precision = -2 * floor.log().mean(dim=-1).permute(1, 2, 0)
        weights = (choice + precision).softmax(dim=-1).permute(0, 3, 1, 2)[..., None]
        mixed = (weights * fills).sum(dim=1)
        apart = (fills - mixed[:, None]).square()
        deviation = (weights * (floor.square() + apart)).sum(dim=1).sqrt()
        # The deviation alone would otherwise be widened to excuse corrections.
        return mixed + shift * deviation, deviation.detach() * spread.clamp(-3, 3).exp()

    def _features(self, fills: Tensor, sigma: Tensor, hidden: Tensor) -> Tensor:
        """Return ``(window, frame, joint, feature)``."""
        first = fills[:, 0]
        velocity = torch.diff(first, dim=1, prepend=first[:, :1]) / self.unit
        apart = torch.asinh((fills[:, 1:] - first[:, None]) / (sigma[0] + 0.5))
        wide = (sigma.clamp(min=0.1).log().mean(dim=-1) / 3).permute(1, 2, 0)
        gone = hidden.any(dim=-1)
        near = neighbours(gone)
        time = torch.arange(gone.shape[1], device=gone.device)[:, None]
        ends = torch.stack([time - near.before, near.after - time], dim=-1).abs()
        parts = [
            (first - self.centre) / self.unit,
            torch.asinh(10 * velocity),
            hidden.to(first.dtype),
            torch.log1p(ends.to(first.dtype)),
            wide.expand(len(first), -1, -1, -1),
            apart.permute(0, 2, 3, 1, 4).flatten(3),
        ]
        return torch.cat(parts, dim=-1)


class _Block(nn.Module):
    """Attention over frames and a small network per frame, each normalised first and added."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.dense = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(window, frame, width)`` to the same shape."""
        heads = self.attention(self.first(x)).unflatten(-1, (3, 4, -1)).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(*heads)
        x = x + self.dropout(self.mix(seen.transpose(1, 2).flatten(2)))
        return x + self.dropout(self.dense(self.second(x)))
