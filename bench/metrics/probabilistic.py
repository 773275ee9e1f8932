"""Scores of the predictive distributions of hidden values.

A distribution is a Gaussian with a standard deviation, or an ensemble of samples; without either it
is a point. Functions that score single values take any shape, which is called ``...``.
"""

import math

import torch
from torch import Tensor

from bench.metrics.completion import mae, mean_where, mpjpe

COVERAGES = (50, 80, 90, 95)
"""Central intervals whose coverage is measured, per cent."""
WIDTH = 90
"""The central interval whose width is the sharpness, per cent."""
BINS = 10
"""Bins of the PIT histogram."""
BEST_OF = 10
"""Samples of which the best counts."""

_VALUES = 2**20
"""Values of samples that are scored at a time."""


def probabilistic_scores(
    motion: Tensor,
    truth: Tensor,
    hidden: Tensor,
    sigma: Tensor | None = None,
    samples: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return every score of the distribution of hidden values, by column name.

    Scores of single coordinates (``crps``, ``coverage``, ``sharpness`` and ``pit``) are from
    ``sigma`` if there is one, and otherwise from ``samples``; the rest needs ``samples``. With
    neither, the completion is a point: its CRPS is its mean absolute error, and that is all.

    Args:
        motion: completed, ``(window, frame, joint, 3)``, mm.
        truth: the same shape, mm.
        hidden: bool, the same shape, True where hidden. Nothing else counts.
        sigma: the same shape, the standard deviation of a Gaussian around ``motion``, mm.
        samples: ``(sample, window, frame, joint, 3)``, mm.

    Returns:
        By column name, ``(window,)`` means over hidden coordinates, or over joints with a hidden
        coordinate; nan for a window with nothing hidden, and where there are too few samples.

        - ``crps``, mm: ``crps_normal`` or ``crps_ensemble``.
        - ``coverage50`` and so on, per cent of coordinates in the central interval.
        - ``sharpness``, mm: width of the central 90 % interval.
        - ``pit_0`` to ``pit_9``: shares of the PIT in ten bins, 0.1 each if calibrated.
        - ``energy_score``, mm: ``energy_score`` of joint positions.
        - ``best_of_10``, mm: the least MPJPE of the first ten samples.
        - ``sample_distance``, mm: ``sample_distance`` of joint positions, the diversity.
    """
    if sigma is None and samples is None:
        return {"crps": mae(motion, truth, hidden)}
    drawn = 1 if samples is None else len(samples)
    size = max(1, _VALUES // (drawn * truth.shape[1:].numel()))
    parts = []
    for start in range(0, len(truth), size):
        rows = slice(start, start + size)
        part = truth[rows], hidden[rows]
        some = None if samples is None else samples[:, rows]
        if sigma is not None:
            scores = _gaussian_scores(*part, motion[rows], sigma[rows])
        else:
            assert some is not None
            scores = _ensemble_scores(*part, some)
        parts.append(scores if some is None else scores | _joint_scores(*part, some))
    return {name: torch.cat([scores[name] for scores in parts]) for name in parts[0]}


def crps_normal(truth: Tensor, mean: Tensor, sigma: Tensor) -> Tensor:
    """Return the continuous ranked probability score (CRPS) of normal distributions.

    Source: Gneiting et al. 2005, Monthly Weather Review 133, eq. 5.

    Args:
        truth: ``(...)`` what came true.
        mean: ``(...)`` means.
        sigma: ``(...)`` standard deviations; where 0, the score is the absolute error.

    Returns:
        ``(...)`` in the unit of the values; smaller is better.
    """
    error = truth - mean
    z = torch.nan_to_num(error / sigma, nan=0.0)
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    return error * torch.erf(z / math.sqrt(2)) + sigma * (2 * density - 1 / math.sqrt(math.pi))


def crps_ensemble(truth: Tensor, samples: Tensor) -> Tensor:
    """Return the fair CRPS of ensembles.

    The mean distance of a sample from the truth, less half the mean distance of two different
    samples. So its expectation is the CRPS of the distribution that the samples are drawn from,
    whatever their number.

    Source: Ferro 2014, "Fair scores for ensemble forecasts", Quarterly Journal of the Royal
    Meteorological Society 140.

    Args:
        truth: ``(...)`` what came true.
        samples: ``(sample, ...)``.

    Returns:
        ``(...)`` in the unit of the values; smaller is better; nan with fewer than two samples.
    """
    count = len(samples)
    if count < 2:
        return torch.full_like(truth, torch.nan)
    # In ascending order sample i is the larger one of i pairs and the smaller one of the others.
    weight = 2 * torch.arange(count, dtype=samples.dtype, device=samples.device) - (count - 1)
    between = torch.tensordot(weight, samples.sort(dim=0).values, dims=1)
    return (samples - truth).abs().mean(dim=0) - between / (count * (count - 1))


def energy_score(truth: Tensor, samples: Tensor) -> Tensor:
    """Return the fair energy score of ensembles of vectors: the CRPS with Euclidean distances.

    Source: Gneiting and Raftery 2007, Journal of the American Statistical Association 102, section
    4.3; fair as in ``crps_ensemble``.

    Args:
        truth: ``(..., coordinate)`` what came true.
        samples: ``(sample, ..., coordinate)``.

    Returns:
        ``(...)`` in the unit of the values; smaller is better; nan with fewer than two samples.
    """
    error = torch.linalg.vector_norm(samples - truth, dim=-1).mean(dim=0)
    return error - sample_distance(samples) / 2


def sample_distance(samples: Tensor) -> Tensor:
    """Return the mean Euclidean distance of two different samples.

    Args:
        samples: ``(sample, ..., coordinate)``.

    Returns:
        ``(...)`` in the unit of the values; nan with fewer than two samples.
    """
    count = len(samples)
    if count < 2:
        return torch.full_like(samples[0, ..., 0], torch.nan)
    # With coordinates first, squares are added several times as fast.
    apart = samples.movedim(-1, 0).contiguous()
    total = torch.zeros_like(apart[0, 0])
    for step in range(1, count):
        squared = (apart[:, step:] - apart[:, :-step]).square_().sum(dim=0)
        total += squared.sqrt_().sum(dim=0)
    return total * 2 / (count * (count - 1))


def intervals_normal(
    mean: Tensor, sigma: Tensor, levels: tuple[int, ...] = COVERAGES
) -> dict[int, tuple[Tensor, Tensor]]:
    """Return ends ``(...)`` of the central intervals of normal distributions.

    Args:
        mean: ``(...)`` means.
        sigma: ``(...)`` standard deviations.
        levels: probabilities of the intervals, per cent.

    Returns:
        By level, the lower and the upper ends.
    """
    quantiles = torch.special.ndtri(torch.tensor(levels, dtype=torch.float64) / 200 + 0.5)
    return {
        level: (mean - quantile * sigma, mean + quantile * sigma)
        for level, quantile in zip(levels, quantiles.tolist(), strict=True)
    }


def intervals_ensemble(
    samples: Tensor, levels: tuple[int, ...] = COVERAGES
) -> dict[int, tuple[Tensor, Tensor]]:
    """Return ends ``(...)`` of the central intervals of ensembles.

    Of M samples in ascending order the k-th is the quantile k / (M + 1), with lines between: a
    truth from the same distribution lies below the k-th with just that probability (Weibull's
    plotting position; Hyndman and Fan 1996, definition 6). M samples have no interval of more than
    (M - 1) / (M + 1): 90 % needs 19 of them, 95 % needs 39.

    Args:
        samples: ``(sample, ...)``.
        levels: probabilities of the intervals, per cent.

    Returns:
        By level, the lower and the upper ends; nan where there are too few samples.
    """
    count, ordered = len(samples), samples.sort(dim=0).values
    nothing = torch.full_like(samples[0], torch.nan)
    ends = {}
    for level in levels:
        place = (100 - level) * (count + 1) / 200 - 1
        ends[level] = nothing, nothing
        if place >= 0:
            first, part = int(place), place % 1
            after = min(first + 1, count - 1)
            low = torch.lerp(ordered[first], ordered[after], part)
            high = torch.lerp(ordered[-1 - first], ordered[-1 - after], part)
            ends[level] = low, high
    return ends


def pit_normal(truth: Tensor, mean: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Return the probability integral transform (PIT) of normal distributions.

    Arguments are those of ``crps_normal``.

    Returns:
        ``(...)`` probabilities below the truth, and up to it; they differ only where ``sigma`` is 0
        and there is no error.
    """
    z = (truth - mean) / sigma
    below, up_to = (torch.where(z.isnan(), end, z) for end in (-torch.inf, torch.inf))
    return torch.special.ndtr(below), torch.special.ndtr(up_to)


def pit_ensemble(truth: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
    """Return the PIT of ensembles: the ranks of the truth among the samples, as probabilities.

    Arguments are those of ``crps_ensemble``. Below k of M samples, the truth has the probabilities
    k / (M + 1) and (k + 1) / (M + 1); samples that equal it widen the interval.

    Returns:
        ``(...)`` probabilities below the truth, and up to it.
    """
    below, equal = (samples < truth).sum(dim=0), (samples == truth).sum(dim=0)
    count = len(samples) + 1
    return below.double() / count, (below + equal + 1).double() / count


def pit_shares(below: Tensor, up_to: Tensor) -> Tensor:
    """Return how the PIT of each value is spread over ``BINS`` bins of equal width.

    Between the probabilities below and up to the truth the PIT is uniform, so that a calibrated
    ensemble has a flat histogram whatever its size (the non-randomised PIT: Czado, Gneiting and
    Held 2009, "Predictive model assessment for count data", Biometrics 65, eq. 2).

    Args:
        below: ``(...)`` probabilities below the truth.
        up_to: ``(...)`` probabilities up to it.

    Returns:
        ``(bin, ...)`` shares of the sum 1.
    """
    cumulated = [torch.zeros_like(below)]
    for number in range(1, BINS):
        edge = number / BINS
        inside = ((edge - below) / (up_to - below)).clamp(0, 1)
        cumulated.append(torch.where(up_to > below, inside, (below < edge).to(below.dtype)))
    return torch.diff(torch.stack([*cumulated, torch.ones_like(below)]), dim=0)


def _gaussian_scores(
    truth: Tensor, hidden: Tensor, motion: Tensor, sigma: Tensor
) -> dict[str, Tensor]:
    """Return the scores of single coordinates from a standard deviation."""
    values, mean, deviation = (part[hidden].double() for part in (truth, motion, sigma))
    crps, pit = crps_normal(values, mean, deviation), pit_normal(values, mean, deviation)
    return _coordinate_scores(values, hidden, crps, pit, intervals_normal(mean, deviation))


def _ensemble_scores(truth: Tensor, hidden: Tensor, samples: Tensor) -> dict[str, Tensor]:
    """Return the scores of single coordinates from samples."""
    values, drawn = truth[hidden].double(), samples[:, hidden].double()
    crps, pit = crps_ensemble(values, drawn), pit_ensemble(values, drawn)
    return _coordinate_scores(values, hidden, crps, pit, intervals_ensemble(drawn))


def _coordinate_scores(
    truth: Tensor,
    hidden: Tensor,
    crps: Tensor,
    pit: tuple[Tensor, Tensor],
    intervals: dict[int, tuple[Tensor, Tensor]],
) -> dict[str, Tensor]:
    """Return window means of scores of hidden coordinates, all of which are ``(coordinate,)``."""
    scores = {"crps": crps}
    for level, (low, high) in intervals.items():
        covered = 100 * ((low <= truth) & (truth <= high)).double()
        scores[f"coverage{level}"] = torch.where(low.isnan(), torch.nan, covered)
    low, high = intervals[WIDTH]
    scores["sharpness"] = high - low
    scores |= {f"pit_{number}": share for number, share in enumerate(pit_shares(*pit))}
    return {name: _window_mean(values, hidden) for name, values in scores.items()}


def _joint_scores(truth: Tensor, hidden: Tensor, samples: Tensor) -> dict[str, Tensor]:
    """Return the scores of joint positions, which need samples."""
    joints = hidden.any(dim=-1)
    positions, drawn = truth[joints].double(), samples[:, joints].double()
    errors = torch.stack([mpjpe(sample, truth, hidden) for sample in samples[:BEST_OF]])
    best = errors.amin(dim=0) if len(errors) == BEST_OF else torch.full_like(errors[0], torch.nan)
    return {
        "energy_score": _window_mean(energy_score(positions, drawn), joints),
        f"best_of_{BEST_OF}": best,
        "sample_distance": _window_mean(sample_distance(drawn), joints),
    }


def _window_mean(values: Tensor, counted: Tensor) -> Tensor:
    """Return ``(window,)`` means of the values of what is ``counted``, in its order."""
    placed = torch.zeros(counted.shape, dtype=values.dtype, device=values.device)
    placed[counted] = values
    return mean_where(placed.flatten(1), counted.flatten(1))
