"""Data sets side by side: contents, bones, speeds, and how hard they are to impute."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sklearn.decomposition import PCA

from bench import metrics
from bench.core.errors import InputError
from bench.core.files import atomic_file
from bench.core.notices import counts
from bench.core.registry import DATASETS, MECHANISMS, MODELS
from bench.datasets.base import SPLITS, Data
from bench.datasets.build import load
from bench.motion import Windows, dct_matrix
from bench.motion.mechanisms.base import Level, Mechanism
from bench.protocol.resolving import dataset
from bench.report.poses import EVERY, Panel, contact_sheet

COEFFICIENTS = (1, 2, 3, 5, 10, 15, 20)
PERCENTILES = (5, 25, 50, 75, 95, 99)
VARIANCES = (50, 80, 90, 95, 99)
TRIVIAL = ("mean", "zero", "linear")
WINDOWS = 1000
"""Most windows of a split that are examined, evenly spaced."""
SAMPLES = 8
"""Most windows of a recording in which bones are measured, evenly spaced."""
TOP = 8
"""Most actions that are listed by name."""
SHEET = 8
"""Most recordings on a contact sheet."""


def find(
    names: Sequence[str],
    overrides: Sequence[str],
    root: Path | None,
    cache: Path,
    console: Console | None = None,
) -> tuple[list[Data], list[str]]:
    """Load the named data sets, or all that are available.

    Args:
        names: of the data sets; none for all.
        overrides: settings for each of them, such as ``fps=50``.
        root: folder of real data.
        cache: folder of built windows.
        console: where to show progress; None shows nothing.

    Returns:
        The data sets, and for the others why they are not available.

    Raises:
        InputError: a named data set is not available, or none is.
    """
    found: list[Data] = []
    left_out: list[str] = []
    for name in dict.fromkeys(names) or DATASETS.all():
        try:
            found.append(load(dataset(name, overrides), root, cache, console=console))
        except InputError as error:
            if names:
                raise
            left_out.append(str(error))
    if not found:
        raise InputError(left_out[0])
    return found, left_out


def tables(found: Sequence[Data]) -> list[Table]:
    """Return tables of the contents of data sets, their bones, windows and trivial imputers."""
    bones = [bone_lengths(data) for data in found]
    columns = [_contents(*both) for both in zip(found, bones, strict=True)]
    contents = _side_by_side("contents", found, columns)
    title = "bones: mean length, s.d. within, s.d. between recordings, mm"
    return [
        contents,
        _side_by_side(title, found, [_bone_rows(lengths) for lengths in bones]),
        _side_by_side("motion in windows", found, [_measures(data) for data in found]),
        _trivial(found),
    ]


def _side_by_side(title: str, found: Sequence[Data], columns: Sequence[dict[str, str]]) -> Table:
    """Return a table with a column per data set and every row that any of them has."""
    table = Table("", *(escape(data.label) for data in found), title=title)
    for row in dict.fromkeys(row for column in columns for row in column):
        table.add_row(escape(row), *(escape(column.get(row, "")) for column in columns))
    return table


def _contents(data: Data, bones: pd.DataFrame) -> dict[str, str]:
    """Return the contents of a data set, by row title."""
    recordings = data.recordings
    minutes = recordings["frames"] / data.splits["train"].fps / 60
    by_split = recordings.assign(minutes=minutes).groupby("split")["minutes"]
    lengths, totals = by_split.count(), by_split.sum()
    values = recordings["frames"].sum() * data.splits["train"].motion[0, 0].size
    missing = int(recordings["missing"].sum())
    return {
        "recordings (train, valid, test)": _each_split(lengths.get(s, 0) for s in SPLITS),
        "minutes (train, valid, test)": _each_split(f"{totals.get(s, 0):.1f}" for s in SPLITS),
        "windows (train, valid, test)": _each_split(len(data.splits[s]) for s in SPLITS),
        "frames of a window": str(data.splits["train"].motion.shape[1]),
        "frames per second": f"{data.splits['train'].fps:g}",
        "joints": str(len(data.splits["train"].skeleton)),
        "subjects": _distinct(recordings["subject"]),
        "actions": _distinct(recordings["action"]),
        "minutes by action": _minutes_by(recordings["action"], minutes),
        "coordinates missing": f"{missing:,} ({100 * missing / values:.2g} %)",
        "windows left out for that": str(data.incomplete),
        "recordings shorter than a window": str(len(data.short)),
        "recordings that cannot be used": str(len(data.skipped)),
        "recordings with a notice": _noticed(data),
        "absent files": str(len(data.absent)),
        "bone that varies most within recordings": _worst(bones, "within"),
        "bone that varies most between recordings": _worst(bones, "between"),
    }


def _each_split(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))


def _distinct(names: pd.Series) -> str:
    """Return the number of distinct names, or ``unknown`` if all are empty."""
    return str(names[names != ""].nunique() or "unknown")


def _noticed(data: Data) -> str:
    """Return how many recordings have each kind of notice, one per line."""
    return "\n".join(f"{kind} {count}" for kind, count in counts(data.notices).items()) or "0"


def _minutes_by(actions: pd.Series, minutes: pd.Series) -> str:
    """Return the minutes of the most frequent actions, one per line."""
    totals = minutes.groupby(actions.replace("", "unknown")).sum()
    totals = totals.sort_values(ascending=False, kind="stable")
    lines = [f"{action} {total:.1f}" for action, total in totals.head(TOP).items()]
    if len(totals) > TOP:
        lines.append(f"{len(totals) - TOP} more {totals.iloc[TOP:].sum():.1f}")
    return "\n".join(lines)


def bone_lengths(data: Data) -> pd.DataFrame:
    """Return the mean length of each bone and its variation, mm, indexed by ``start to end``.

    Returns:
        Columns ``length``; ``within``, the root mean square over recordings of the standard
        deviation over a recording's frames; ``between``, the standard deviation over recordings of
        a recording's mean.
    """
    skeleton = data.splits["train"].skeleton
    parents, children = np.array(skeleton.bones, dtype=np.int64).reshape(-1, 2).T
    means, variances = [], []
    for windows in data.splits.values():
        for rows in windows.index.groupby("source", sort=False).indices.values():
            some = rows[np.unique(np.linspace(0, len(rows) - 1, SAMPLES).astype(np.int64))]
            motion = np.asarray(windows.motion[some], dtype=np.float64)
            lengths = np.linalg.norm(motion[:, :, children] - motion[:, :, parents], axis=-1)
            means.append(lengths.mean(axis=(0, 1)))
            variances.append(lengths.var(axis=(0, 1)))
    return pd.DataFrame(
        {
            "length": np.mean(means, axis=0),
            "within": np.sqrt(np.mean(variances, axis=0)),
            "between": np.std(means, axis=0),
        },
        index=[f"{skeleton.names[a]} to {skeleton.names[b]}" for a, b in skeleton.bones],
    )


def _bone_rows(bones: pd.DataFrame) -> dict[str, str]:
    return {
        str(bone): f"{row['length']:.1f}, {row['within']:.2f}, {row['between']:.2f}"
        for bone, row in bones.iterrows()
    }


def _worst(bones: pd.DataFrame, column: str) -> str:
    if bones.empty:
        return "no bones"
    return f"{bones[column].idxmax()}, s.d. {bones[column].max():.2f} mm"


def draw(data: Data, folder: Path) -> Path:
    """Draw some recordings of a data set into ``<name>.png`` and return its path.

    One row per recording, with the window in its middle; at most ``SHEET`` recordings, of actions
    spread evenly over all of them.
    """
    windows = {
        name: (split, rows)
        for split in data.splits.values()
        for name, rows in split.index.groupby("source", sort=False).indices.items()
    }
    listed = data.recordings[data.recordings["source"].isin(list(windows))]
    rows = []
    for row in _spread(listed).to_dict("records"):
        split, numbers = windows[row["source"]]
        subject = f"subject {row['subject']}" if row["subject"] else ""
        title = ", ".join(filter(None, [row["action"], subject, row["source"]]))
        rows.append(Panel(title, split.motion[numbers[len(numbers) // 2]]))
    train = data.splits["train"]
    title = f"{data.label}: every {EVERY}th frame at {train.fps:g} fps"
    path = folder / f"{data.name}.png"
    with atomic_file(path) as draft:
        contact_sheet(rows, train.skeleton, title).savefig(draft, dpi=150)
    return path


def _spread(recordings: pd.DataFrame) -> pd.DataFrame:
    """Return at most ``SHEET`` recordings, with actions and subjects as diverse as possible."""
    by_action = [
        group.iloc[np.roll(np.arange(len(group)), -number)]
        for number, (_, group) in enumerate(recordings.sort_values("source").groupby("action"))
    ]
    if len(by_action) > SHEET:
        by_action = [by_action[i] for i in np.linspace(0, len(by_action) - 1, SHEET).astype(int)]
    ordered = pd.concat(by_action)
    turn = ordered.groupby("action").cumcount()
    chosen = ordered.iloc[np.argsort(turn, kind="stable")[:SHEET]]
    return chosen.sort_values("action", kind="stable")


def _measures(data: Data) -> dict[str, str]:
    """Return statistics of a data set's windows, by row title."""
    train = data.splits["train"].thin(WINDOWS)
    motion = np.asarray(train.motion, dtype=np.float64)
    around_mean = (motion - motion.mean(axis=0)).reshape(len(motion), motion.shape[1], -1)
    rows = {"deviation from mean, RMS, mm": f"{np.sqrt((around_mean**2).mean()):.0f}"}
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
    """Return ``(frame,)`` share of energy about the mean window in the first k DCT coefficients.

    Entry k - 1 is the cumulative share of the lowest k frequencies, over all joints and windows.
    """
    motion = np.asarray(windows.motion, dtype=np.float64)
    motion = motion - motion.mean(axis=0)
    coefficients = np.einsum("kt,ntjc->nkjc", dct_matrix(motion.shape[1]), motion)
    energy = (coefficients**2).sum(axis=(0, 2, 3))
    return np.cumsum(energy) / energy.sum()


def _rank(rows: np.ndarray) -> list[int]:
    """Return how many principal components explain each percentage in ``VARIANCES``."""
    cumulative = np.cumsum(PCA().fit(rows).explained_variance_ratio_)
    return [int(np.searchsorted(cumulative, share / 100) + 1) for share in VARIANCES]


def _trivial(found: Sequence[Data]) -> Table:
    table = Table(
        "mechanism",
        "level",
        "imputer",
        *(escape(data.label) for data in found),
        title="RMSE of trivial imputers over hidden features, mm (best first)",
    )
    for name, mechanism in MECHANISMS.all().items():
        for level in mechanism.examples:
            results = [_errors(data, mechanism(level=Level.parse(level))) for data in found]
            order = sorted(TRIVIAL, key=lambda imputer: results[0][imputer])
            for imputer in order:
                table.add_row(name, level, imputer, *(f"{r[imputer]:.1f}" for r in results))
    return table


def _errors(data: Data, mechanism: Mechanism) -> dict[str, float]:
    """Return each trivial imputer's RMSE on the test windows, mm; nan if nothing can be hidden."""
    windows = data.splits["test"].thin(WINDOWS)
    try:
        mechanism.check(windows.spec)
    except ValueError:  # such as arms and legs where the skeleton has none
        return dict.fromkeys(TRIVIAL, float("nan"))
    truth, observed = windows.tensor(), torch.from_numpy(np.array(mechanism.observed(windows)))
    occluded = torch.from_numpy(mechanism.occluded(windows))
    errors = {}
    for name in TRIVIAL:
        model = MODELS.get(name)(windows.spec)
        model.fit(data.splits["train"].thin(WINDOWS), data.splits["valid"].thin(WINDOWS))
        completed = model.impute(observed, occluded).motion
        errors[name] = float(metrics.mse(completed, truth, occluded).mean().sqrt())
    return errors
