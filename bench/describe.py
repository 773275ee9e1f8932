"""How hard a data set is, beside others: spectra, speeds, and what trivial imputers reach."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.table import Table
from sklearn.decomposition import PCA

from bench import metrics
from bench.datasets.base import Data
from bench.datasets.build import load
from bench.errors import InputError
from bench.motion import Windows, dct_matrix
from bench.motion.occlusion import Level, Mechanism
from bench.registry import DATASETS, MECHANISMS, MODELS

COEFFICIENTS = (1, 2, 3, 5, 10, 15, 20)
PERCENTILES = (5, 25, 50, 75, 95, 99)
VARIANCES = (50, 80, 90, 95, 99)
LEVELS = ("1%", "10%", "50%", "90%")
TRIVIAL = ("mean", "zero", "linear")
WINDOWS = 1000
"""Windows of a split that are looked at, evenly spaced over it."""


def tables(names: Sequence[str], root: Path | None, cache: Path) -> list[Table]:
    """Return the tables of some data sets, or of all that can be had.

    Raises:
        InputError: a data set that was named cannot be had.
    """
    found: list[Data] = []
    left_out: list[str] = []
    for name in names or DATASETS.all():
        try:
            found.append(load(DATASETS.get(name)(), root, cache))
        except InputError as error:
            if names:
                raise
            left_out.append(str(error))
    summary = Table("", *(data.label for data in found), title="motion at 25 fps, 50-frame windows")
    columns = [_measures(data) for data in found]
    for row in columns[0]:
        summary.add_row(row, *(column[row] for column in columns))
    if left_out:
        summary.caption = "left out: " + "; ".join(left_out)
    return [summary, _trivial(found)]


def _measures(data: Data) -> dict[str, str]:
    """Return what is printed of a data set, by row title."""
    train = data.splits["train"].thin(WINDOWS)
    motion = np.asarray(train.motion, dtype=np.float64)
    around_mean = (motion - motion.mean(axis=0)).reshape(len(motion), motion.shape[1], -1)
    rows = {
        "windows (train, valid, test)": ", ".join(str(len(w)) for w in data.splits.values()),
        "recordings": str(sum(w.index["source"].nunique() for w in data.splits.values())),
        "actions": str(len(set().union(*(w.index["action"] for w in data.splits.values())))),
        "absent files": str(len(data.absent)),
        "recordings shorter than a window": str(len(data.short)),
        "deviation from mean, RMS, mm": f"{np.sqrt((around_mean**2).mean()):.0f}",
    }
    energy = dct_energy(train)
    for count in COEFFICIENTS:
        rows[f"energy in first {count} DCT coefficients, %"] = f"{100 * energy[count - 1]:.2f}"
    speed = np.linalg.norm(np.diff(motion, axis=1), axis=-1) * data.splits["train"].fps
    for percentile, value in zip(PERCENTILES, np.percentile(speed, PERCENTILES), strict=True):
        rows[f"joint speed, percentile {percentile}, mm/s"] = f"{value:.0f}"
    for title, rank in (
        ("poses", _rank(around_mean[:, ::5].reshape(-1, around_mean.shape[2]))),
        ("windows", _rank(around_mean.reshape(len(motion), -1))),
    ):
        for share, count in zip(VARIANCES, rank, strict=True):
            rows[f"PCA components for {share} % of the variance of {title}"] = str(count)
    return rows


def dct_energy(windows: Windows) -> np.ndarray:
    """Return the share of energy about the mean in the first 1, 2, ... DCT coefficients."""
    motion = np.asarray(windows.motion, dtype=np.float64)
    motion = motion - motion.mean(axis=0)
    coefficients = np.einsum("kt,ntjc->nkjc", dct_matrix(motion.shape[1]), motion)
    energy = (coefficients**2).sum(axis=(0, 2, 3))
    return np.cumsum(energy) / energy.sum()


def _rank(rows: np.ndarray) -> list[int]:
    """Return how many principal components hold each share of ``VARIANCES``."""
    cumulative = np.cumsum(PCA().fit(rows).explained_variance_ratio_)
    return [int(np.searchsorted(cumulative, share / 100) + 1) for share in VARIANCES]


def _trivial(found: list[Data]) -> Table:
    table = Table(
        "mechanism",
        "level",
        "imputer",
        *(data.label for data in found),
        title="RMSE of trivial imputers over hidden features, mm (best first)",
    )
    for name, mechanism in MECHANISMS.all().items():
        for level in LEVELS:
            results = [_errors(data, mechanism(level=Level.parse(level))) for data in found]
            order = sorted(TRIVIAL, key=lambda imputer: results[0][imputer])
            for imputer in order:
                table.add_row(name, level, imputer, *(f"{r[imputer]:.1f}" for r in results))
    return table


def _errors(data: Data, mechanism: Mechanism) -> dict[str, float]:
    """Return each trivial imputer's RMSE on the test windows, mm."""
    windows = data.splits["test"].thin(WINDOWS)
    truth = windows.tensor()
    occluded = torch.from_numpy(mechanism.occluded(windows))
    errors = {}
    for name in TRIVIAL:
        model = MODELS.get(name)(windows.spec)
        model.fit(data.splits["train"], data.splits["valid"])
        completed = model.impute(truth, occluded).motion
        errors[name] = float(metrics.mse(completed, truth, occluded).mean().sqrt())
    return errors
