"""Motion for the viewer: of a run, from what its cells kept, and of recordings; as one JSON text.

Every array is int16, as differences from frame to frame, deflated, in base64: 50 frames of 18
joints take about 4 kB. Completions are kept as their difference from ground truth, which is 0
wherever the value was observed, so that they take half of that. A browser's
``DecompressionStream`` reads them without a library.
"""

import base64
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from bench.analysis import tables
from bench.core.files import atomic_file, readable
from bench.motion import Skeleton, Windows
from bench.motion.mechanisms.base import Level
from bench.protocol.schema import Protocol
from bench.report.looks import Looks, name_of
from bench.report.poses import sides
from bench.sweep.exhibits import LARGEST, STEP, Exhibit
from bench.sweep.jobs import Cell
from bench.sweep.plan import Plan
from bench.sweep.store import Store

FILE = "motion.json"
"""The file of a run's folder."""
MOST = 8_000_000
"""Bytes of motion that a page has room for."""
FILLED = "#e8590c"
"""Colour of what was filled in a recording."""
RANKS = ("shown", "median", "worst", "best")
"""Which windows are shown of each condition, the most wanted first."""

Motion = dict[str, Any]
"""What the viewer reads: ``fps``, ``skeleton``, ``truths`` by window, and ``exhibits``."""


def encoded(motion: NDArray[Any], step: float = STEP) -> dict[str, Any]:
    """Return ``(frame, joint, 3)`` motion as the viewer reads it; nan becomes the least int16.

    Args:
        motion: mm, or with step 1 any whole numbers.
        step: mm from one value to the next; larger where int16 would not reach.
    """
    motion = np.asarray(motion, np.float64)
    known = np.isfinite(motion)
    step = max(step, float(np.abs(motion[known]).max(initial=0)) / LARGEST)
    steps = np.where(known, np.round(np.where(known, motion, 0) / step), -LARGEST - 1)
    return _packed(steps.astype(np.int16), step)


def _packed(steps: NDArray[np.int16], step: float) -> dict[str, Any]:
    # The first axis is time; differences wrap around, and their sums do so back.
    moved = np.diff(steps, axis=0, prepend=np.zeros_like(steps[:1]))
    data = zlib.compress(moved.astype("<i2").tobytes(), 9)
    return {"step": step, "data": base64.b64encode(data).decode("ascii")}


def write(protocol: Protocol, plan: Plan, store: Store, test: Windows, folder: Path) -> None:
    """Write ``motion.json`` to a run's folder, if its cells kept any motion.

    Of each mechanism and level, the best, the median and the worst of the kept windows are shown,
    by the protagonist's error, and the windows that the protocol names. If that is more than a page
    has room for, the best are left out first, then the worst; the file counts what is left out.

    Args:
        protocol: what ran.
        plan: its cells.
        store: what they kept.
        test: the test windows of the run.
        folder: where to write.
    """
    found = sorted(_exhibits(protocol, plan, store, test), key=lambda one: RANKS.index(one["rank"]))
    if not found:
        return
    names = {exhibit["window"] for exhibit in found}
    rows = {name: row for row, name in enumerate(test.names) if name in names}
    truths = {name: encoded(test.motion[row]) for name, row in rows.items()}
    _save(_motion(test.skeleton, test.fps, truths, found), folder)


def read(folder: Path) -> Motion | None:
    """Return the motion of a run's folder; None if it has none."""
    path = folder / FILE
    if not path.is_file():
        return None
    with readable(path):
        return json.loads(path.read_text(encoding="utf-8"))


def merge(folders: Iterable[Path], folder: Path) -> None:
    """Write the motion of several runs of the same data, whose imputers may differ, as one.

    Exhibits of the same window under the same condition become one with the imputers of all.
    """
    found = [one for one in map(read, folders) if one]
    if not found:
        return
    exhibits: dict[tuple[str, str, str], dict[str, Any]] = {}
    for one in found:
        for exhibit in one["exhibits"]:
            key = exhibit["mechanism"], exhibit["level"], exhibit["window"]
            same = exhibits.setdefault(key, {**exhibit, "completions": []})
            there = {completion["name"] for completion in same["completions"]}
            same["completions"] += [c for c in exhibit["completions"] if c["name"] not in there]
    truths = {name: truth for one in found for name, truth in one["truths"].items()}
    _save({**found[0], "truths": truths, "exhibits": list(exhibits.values())}, folder)


def of_recordings(
    named: Sequence[tuple[str, NDArray[np.float32]]], skeleton: Skeleton, fps: float
) -> Motion:
    """Return recordings of one skeleton to be seen over each other.

    Args:
        named: a name and ``(frame, joint, 3)`` motion, mm, of each; nan where it is missing. The
            first is what the others are compared with; all are cut to the shortest.
        skeleton: their joints.
        fps: frames per second.
    """
    frames = min(len(motion) for _, motion in named)
    (first, truth), *others = [(name, motion[:frames]) for name, motion in named]
    missing = np.asarray(~np.isfinite(truth).all(axis=-1))
    looks = Looks.named([name for name, _ in named])
    completions = [
        {"name": name, "colour": to_hex(looks.style(name)["color"]), "whole": encoded(motion)}
        for name, motion in others
    ]
    exhibit = _recorded(first, missing, completions)
    return _motion(skeleton, fps, {first: encoded(truth)}, [exhibit])


@dataclass(frozen=True)
class Stretch:
    """A stretch of a recording with gaps that were filled.

    Attributes:
        name: unique on its page.
        seen: ``(frame, joint, 3)``, mm, nan where missing.
        filled: what was filled, nan elsewhere.
        sigma: ``(frame, joint)``, mm, its standard deviation, nan or 0 elsewhere.
    """

    name: str
    seen: NDArray[np.float64]
    filled: NDArray[np.float64]
    sigma: NDArray[np.float64]


def of_stretches(stretches: Sequence[Stretch], skeleton: Skeleton, fps: float) -> Motion:
    """Return stretches of a recording, with what was filled in the colour of a completion.

    Args:
        stretches: to choose from.
        skeleton: the joints, or the points without bones.
        fps: frames per second.
    """
    exhibits = []
    for one in stretches:
        missing = np.asarray(~np.isfinite(one.seen).all(axis=-1))
        sigma = np.repeat(np.nan_to_num(one.sigma)[..., None], 3, axis=-1)
        completion = {
            "name": "filled",
            "colour": FILLED,
            "whole": encoded(one.filled),
            "sigma": encoded(sigma),
        }
        exhibits.append(_recorded(one.name, missing, [completion]))
    truths = {one.name: encoded(one.seen) for one in stretches}
    return _motion(skeleton, fps, truths, exhibits)


def _recorded(
    name: str, missing: NDArray[np.bool_], completions: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "mechanism": "recording",
        "level": "",
        "window": name,
        "rank": "shown",
        "hidden": _packed(missing.astype(np.int16), 1),
        "completions": completions,
    }


def _motion(
    skeleton: Skeleton,
    fps: float,
    truths: dict[str, Any],
    exhibits: list[dict[str, Any]],
) -> Motion:
    joints = {"names": skeleton.names, "parents": skeleton.parents, "sides": sides(skeleton)}
    return {"fps": fps, "skeleton": joints, "truths": truths, "exhibits": exhibits}


def _save(motion: Motion, folder: Path) -> None:
    """Write motion, as much of it as there is room for."""
    room, kept = MOST - len(json.dumps(motion["truths"])), []
    for exhibit in motion["exhibits"]:
        room -= len(json.dumps(exhibit))
        if room >= 0:
            kept.append(exhibit)
    left_out = len(motion["exhibits"]) - len(kept)
    windows = {exhibit["window"] for exhibit in kept}
    truths = {name: truth for name, truth in motion["truths"].items() if name in windows}
    whole = {**motion, "truths": truths, "exhibits": kept, "left_out": left_out}
    with atomic_file(folder / FILE) as draft:
        draft.write_text(json.dumps(whole, separators=(",", ":")), encoding="utf-8")


def _exhibits(
    protocol: Protocol, plan: Plan, store: Store, test: Windows
) -> Iterator[dict[str, Any]]:
    """Yield the exhibits of each mechanism and level."""
    looks = Looks.of(protocol)
    by_condition: dict[tuple[str, str], list[Cell]] = {}
    for cell in plan.cells:
        if cell.windows and store.has_arrays(cell.key, cell.windows) and store.has_cell(cell.key):
            by_condition.setdefault((cell.mechanism, cell.level), []).append(cell)
    for cells in by_condition.values():
        yield from _of_condition(protocol, cells, store, test, looks)


def _of_condition(
    protocol: Protocol, cells: Sequence[Cell], store: Store, test: Windows, looks: Looks
) -> Iterator[dict[str, Any]]:
    kept = {cell: Exhibit(**store.load_arrays(cell.key, cell.windows)) for cell in cells}
    values = {cell: store.load_cell(cell.key) for cell in cells}
    rows = kept[cells[0]].rows
    judge = _protagonist(protocol, values)
    errors = values[judge]["mse"].to_numpy()[rows]
    order = np.argsort(errors, kind="stable")[: int(np.isfinite(errors).sum())]
    if not len(order):  # nothing is hidden in any of them
        return
    places = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
    shown = [place for place, row in enumerate(rows) if row in protocol.resources.show_windows]
    windows, first = test.take(rows), cells[0]
    mechanism = protocol.occlusion[first.mechanism].at(Level.parse(first.level), first.seed)
    hidden = np.asarray(mechanism.occluded(windows).any(axis=-1))
    noise = np.asarray(mechanism.observed(windows)) - windows.motion if mechanism.disturbs else None
    for rank, place in [*places.items(), *(("shown", place) for place in shown)]:
        exhibit = {
            "mechanism": first.mechanism,
            "level": first.level,
            "window": windows.names[place],
            "number": int(rows[place]),
            "rank": rank,
            "of": len(rows),
            "by": name_of(judge.model, judge.inference),
            "hidden": _packed(hidden[place].astype(np.int16), 1),
            "completions": [
                _completion(cell, kept[cell], values[cell].iloc[rows[place]], place, looks)
                for cell in cells
            ],
        }
        yield exhibit if noise is None else {**exhibit, "noise": encoded(noise[place])}


def _protagonist(protocol: Protocol, values: Mapping[Cell, pd.DataFrame]) -> Cell:
    """Return the cell of the imputer by whose errors windows are ranked.

    The first generative model that is no control, with the inference that does best here; without
    one, the first imputer.
    """
    heroes = tables.contenders(protocol)[:1]
    chosen = [cell for cell in values if cell.model in heroes] or list(values)[:1]
    return min(chosen, key=lambda cell: float(values[cell]["mse"].mean()))


def _completion(
    cell: Cell, kept: Exhibit, values: "pd.Series[Any]", place: int, looks: Looks
) -> dict[str, Any]:
    """Return what an imputer made of the window at a place among the kept ones."""
    found: dict[str, Any] = {
        "name": name_of(cell.model, cell.inference),
        "colour": to_hex(looks.style(cell.model)["color"]),
        "mpjpe": None if pd.isna(values["mpjpe"]) else round(float(values["mpjpe"]), 2),
        "residual": _packed(kept.residual[place], STEP),
    }
    if kept.sigma.size:
        found["sigma"] = _packed(kept.sigma[place], STEP)
    if kept.samples.size:
        found["samples"] = [_packed(one[place], STEP) for one in kept.samples]
    return found
