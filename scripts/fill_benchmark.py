"""Gaps cut into complete recordings: what ``bench fill`` makes of them, and what it says of that.

    python scripts/fill_benchmark.py errors  --data-root DATA --to errors.csv
    python scripts/fill_benchmark.py weights --data-root DATA --to bench/fill/weights.csv
    python scripts/fill_benchmark.py picture --data-root DATA --to docs/fill_gap.png
    python scripts/fill_benchmark.py joints  --data-root DATA --to joints.csv
    python scripts/fill_benchmark.py records results/reference/markers/records.parquet
    python scripts/fill_benchmark.py imputer stacked.safetensors stacked --data-root DATA

``errors`` has a row per gap and method, and prints the tables of docs/fill.md; ``joints`` does so
for gaps of rotations. ``weights`` remakes the table that ``auto`` falls back on, and ``records``
holds that against the records of a run of protocols/markers.yaml. ``imputer`` holds ``auto``
against an imputer of a run, on recordings of people that it was not fitted to.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from bench.datasets.archive import File
from bench.datasets.build import load
from bench.datasets.points import read_points
from bench.fill import fill, validate
from bench.fill.calibration import CANDIDATES, NORMAL, best_weights
from bench.fill.coded import Coded
from bench.fill.gaps import Bools, Gap, Numbers, seen_in
from bench.fill.joints import METHODS
from bench.fill.joints import fill as fill_joints
from bench.fill.methods import Methods
from bench.fill.recording import opened
from bench.fill.run_imputer import RunImputer
from bench.fill.run_imputer import load as load_imputer
from bench.fill.shipped import shipped
from bench.fill.trials import BUCKETS_MS, Kind, Outcome

RECORDINGS = {
    "CMU 02_01": "cmu_02_01.c3d",
    "CMU 135_02": "cmu_135_02.c3d",
    "CMU 85_12": "cmu_85_12.c3d",
    "bd_05-01_01": "HDM_bd_05-01_01_120.c3d",
}
DURATIONS_MS = (100, 200, 500, 1000, 2000)
HIDDEN = (1, 3)
"""Markers that are hidden at once: one, or three neighbours."""
GAPS = 4
"""Times at which markers are hidden in a copy."""
SHIPPED_MS = (25, 75, 150, 350, 750, 1500, 3000)
"""Durations that stand for those up to each of ``BUCKETS_MS``."""
GAP_MECHANISMS = ("marker", "neighbours")
IMPUTERS = {"marker_process": "marker"}
"""Names in ``fill`` of imputers that are called otherwise in the harness."""
ROTATIONS = (
    "bandai_namco_1/dataset-1_dance-short_normal_001.bvh",
    "bandai_namco_1/dataset-1_walk_normal_001.bvh",
    "cmu_pairs/01_01_mb.bvh",
    "cmu_pairs/135_04_daz.bvh",
    "cmu_pairs/16_15.bvh",
    "cmu_94_daz/indian_13.bvh",
)
JOINT_DURATIONS_MS = (100, 300, 600, 1200)
JOINT_GAPS = 6
"""Gaps in a copy of a file of rotations."""
MOVING = 3.0
"""Degrees, or units, that a joint's channels must vary by to be hidden."""
HIDDEN_JOINTS = (
    ("left_wrist",),
    ("left_elbow", "left_wrist"),
    ("left_shoulder", "left_elbow", "left_wrist"),
)
"""Joints of a body that are hidden at once."""
LONGEST = 1000
"""Frames of a body's recording that are used."""
PICTURED = 3
"""Seed of the gap of the picture."""

app = typer.Typer(add_completion=False)
DataRoot = Annotated[Path, typer.Option(help="Folder that has markers/.")]
To = Annotated[Path, typer.Option(help="The table to write.")]


def cut(
    positions: Numbers, frames: int, hidden: int, seed: int, count: int = GAPS
) -> tuple[Numbers, list[Gap]]:
    """Return a copy with gaps, and the gaps: at ``count`` times, of other markers each time."""
    rng = np.random.default_rng([seed, frames, hidden])
    copy, gaps = positions.copy(), []
    thin = positions[:: max(len(positions) // 500, 1)]
    distance = np.linalg.norm(thin[:, :, None] - thin[:, None], axis=-1).mean(axis=0)
    free = np.ones(positions.shape[1], dtype=np.bool_)
    for _ in range(count):
        first = int(rng.choice(np.flatnonzero(free)))
        order = np.argsort(np.where(free, distance[first], np.inf))[:hidden]
        free[order] = False
        start = int(rng.integers(1, len(positions) - frames))
        for point in order.tolist():
            copy[start : start + frames, point] = np.nan
            gaps.append(Gap(point, start, start + frames, "inside"))
    return copy, gaps


def recordings(root: Path) -> Iterator[tuple[str, Numbers, float]]:
    """Yield name, positions and rate of each complete recording."""
    for name, file in RECORDINGS.items():
        points = read_points(File(root / "markers" / file))
        yield name, points.positions, points.fps


@app.command()
def errors(data_root: DataRoot, to: To, seeds: int = 20, only: str = "") -> None:
    """Fill gaps cut into complete recordings, and compare with what was there."""
    rows = []
    for name, truth, fps in recordings(data_root):
        if only not in name:
            continue
        for duration in DURATIONS_MS:
            for seed in range(seeds):
                for hidden in HIDDEN:
                    case = {"recording": name, "ms": duration, "hidden": hidden, "seed": seed}
                    copy, gaps = cut(truth, round(duration * fps / 1000), hidden, seed)
                    rows += [case | row for row in _errors(copy, truth, fps, gaps)]
            print(name, duration, flush=True)
    table = pd.DataFrame(rows)
    table.to_csv(to, index=False, float_format="%.5g")
    tell(table)


def _errors(
    copy: Numbers, truth: Numbers, fps: float, gaps: list[Gap]
) -> Iterator[dict[str, object]]:
    result = fill(copy, fps)
    expected = validate(copy, fps, ("auto",))["mean_mm"].mean()
    curves = Methods(copy, fps)
    for gap in gaps:
        place = slice(gap.start, gap.stop), gap.point
        error = result.positions[place] - truth[place]
        within = np.abs(error) <= NORMAL * result.sigma[place][:, None]
        yield {
            "method": "auto",
            "error": np.linalg.norm(error, axis=1).mean(),
            "within": within.mean(),
            "expected": expected,
        }
        for method in ("linear", "pchip", "spline"):
            found = curves.complete(method, gap, curves.seen).positions
            yield {"method": method, "error": np.linalg.norm(found - truth[place], axis=1).mean()}


def tell(table: pd.DataFrame) -> None:
    """Print errors, coverage, and what was expected, by recording and duration."""
    by = ["recording", "ms"]
    found = table.pivot_table(index=by, columns="method", values="error", sort=False)
    auto = table[table["method"] == "auto"].groupby(by, sort=False)
    found["expected"] = auto["expected"].mean()
    found["within"] = auto["within"].mean()
    print(found.to_markdown(floatfmt=".3g"))


@app.command()
def show(errors: Path) -> None:
    """Print the tables of a file that ``errors`` wrote."""
    tell(pd.read_csv(errors))


@app.command()
def weights(data_root: DataRoot, to: To, seeds: int = 20) -> None:
    """Find the weights of least error over all complete recordings."""
    found: dict[float, list[Outcome]] = {end: [] for end in BUCKETS_MS}
    for _, truth, fps in recordings(data_root):
        for end, duration in zip(BUCKETS_MS, SHIPPED_MS, strict=True):
            frames = max(round(duration * fps / 1000), 1)
            if frames > len(truth) // 2:
                continue
            on = Methods(truth, fps)
            for seed in range(seeds):
                for hidden in HIDDEN:
                    copy, gaps = cut(truth, frames, hidden, seed, count=1)
                    gap, seen = gaps[0], seen_in(copy)
                    made = {name: on.complete(name, gap, seen) for name in CANDIDATES}
                    place = slice(gap.start, gap.stop), gap.point
                    found[end].append(Outcome(Kind("inside", end), truth[place], made))
    rows = [{"up_to_ms": end} | _all(best_weights(found[end], CANDIDATES)) for end in BUCKETS_MS]
    pd.DataFrame(rows).to_csv(to, index=False, float_format="%.2f")


def _all(weights: dict[str, float]) -> dict[str, float]:
    return dict.fromkeys(CANDIDATES, 0.0) | weights


@app.command()
def joints(data_root: DataRoot, to: To, seeds: int = 3) -> None:
    """Fill gaps cut into BVH files; errors are of all joints, in frames with a gap."""
    rows = []
    for name in ROTATIONS:
        coded = opened(data_root / "bvh" / name)
        assert coded.fps is not None
        for duration in JOINT_DURATIONS_MS:
            frames = round(duration * coded.fps / 1000)
            for seed in range(seeds if 3 * frames < len(coded.values) else 0):
                case = {"file": name, "ms": duration, "seed": seed}
                rows += [case | row for row in _joint_errors(coded, frames, seed)]
        print(name, flush=True)
    table = pd.DataFrame(rows)
    table.to_csv(to, index=False, float_format="%.5g")
    print(table.pivot_table(index="ms", columns="method", values="error").to_markdown())
    print(table.groupby("ms")["within"].mean().to_markdown())


def _joint_errors(coded: Coded, frames: int, seed: int) -> Iterator[dict[str, object]]:
    assert coded.tree is not None
    assert coded.fps is not None
    truth, tree = coded.values, coded.tree
    rng = np.random.default_rng([seed, frames])
    gone = np.zeros(truth.shape[:2], dtype=np.bool_)
    moving = np.flatnonzero(np.ptp(truth, axis=0).max(axis=1) > MOVING)
    for _ in range(JOINT_GAPS):
        start = int(rng.integers(1, len(truth) - frames))
        gone[start : start + frames, rng.choice(moving)] = True
    given = np.where(gone[..., None], np.nan, truth)
    there = coded.scale * tree.placed(truth)
    away = gone.any(axis=1)

    def error(positions: Numbers) -> float:
        return float(np.linalg.norm((positions - there)[away], axis=-1).mean())

    yield {"method": "angles", "error": error(coded.scale * tree.placed(by_angle(truth, gone)))}
    for method in METHODS:
        result = fill_joints(tree, given, coded.fps, coded.scale, method)
        row: dict[str, object] = {"method": method, "error": error(result.positions)}
        if method == "auto":
            off = np.abs(result.positions - there)[result.filled]
            row["within"] = (off <= NORMAL * result.sigma[result.filled][:, None]).mean()
        yield row


def by_angle(values: Numbers, gone: Bools) -> Numbers:
    """Return values with each channel interpolated linearly by itself."""
    made, frames = values.copy(), np.arange(len(values))
    for track in np.flatnonzero(gone.any(axis=0)):
        away = gone[:, track]
        for axis in range(3):
            known = values[~away, track, axis]
            made[away, track, axis] = np.interp(frames[away], frames[~away], known)
    return made


@app.command()
def records(file: Path) -> None:
    """Print errors of a run's imputers of gaps, mm, and the weights of ``fill`` next to them."""
    rows = pd.read_parquet(file).query("metric == 'mpjpe' and mechanism in @GAP_MECHANISMS")
    table = rows.pivot_table(index=["mechanism", "level"], columns="model", values="value")
    table = table.rename(columns=IMPUTERS)
    ends = [float(level.split()[0]) for _, level in table.index]
    for method in CANDIDATES:
        table[f"weight of {method}"] = [shipped()[end][method] for end in ends]
    order = sorted(table.index, key=lambda one: (one[0], float(one[1].split()[0])))
    print(table.loc[order].to_markdown(floatfmt=".3g"))


@app.command()
def imputer(run: Path, name: str, data_root: DataRoot, recordings: int = 10) -> None:
    """Print mean distances, mm, of gaps of a body's joints, by ``auto`` and by a run's imputer."""
    found = load_imputer(run, name)
    names, fps = found.protocol.spec.skeleton.names, found.protocol.spec.fps
    rng, rows = np.random.default_rng(0), []
    for truth in islice(_bodies(found, data_root), recordings):
        for duration in DURATIONS_MS[1:]:
            frames = round(duration * fps / 1000)
            for joints in HIDDEN_JOINTS:
                start = int(rng.integers(frames, len(truth) - 2 * frames))
                gap = slice(start, start + frames), [names.index(joint) for joint in joints]
                given = truth.copy()
                given[gap] = np.nan
                for method in ("auto", found):
                    off = fill(given, fps, names, method).positions[gap] - truth[gap]
                    label = method if isinstance(method, str) else name
                    case = {"ms": duration, "joints": len(joints), "method": label}
                    rows.append(case | {"mm": np.linalg.norm(off, axis=-1).mean()})
    table = pd.DataFrame(rows).pivot_table(index="ms", columns=["method", "joints"], values="mm")
    print(table.to_markdown(floatfmt=".3g"))


def _bodies(found: RunImputer, data_root: Path) -> Iterator[Numbers]:
    """Yield recordings of test people, relative to the root, as the imputer's data set has them."""
    with TemporaryDirectory() as folder:
        whole = load(found.protocol.dataset, data_root, Path(folder)).splits["test"]
        pieces = whole.clips.recordings
        order = np.random.default_rng(0).permutation(len(pieces.bounds) - 1)
        for number in order:
            truth = pieces.frames[pieces.bounds[number] : pieces.bounds[number + 1]]
            if len(truth) >= 4 * DURATIONS_MS[-1] * whole.fps / 1000 and np.isfinite(truth).all():
                yield np.asarray(truth[:LONGEST], dtype=np.float64)


@app.command()
def picture(data_root: DataRoot, to: To) -> None:
    """Draw a gap of half a second: what was there, and what fills it."""
    from matplotlib import pyplot as plt

    points = read_points(File(data_root / "markers" / RECORDINGS["CMU 85_12"]))
    truth, fps = points.positions, points.fps
    copy, gaps = cut(truth, round(0.5 * fps), 1, seed=PICTURED)
    result, gap = fill(copy, fps, points.labels), gaps[0]
    around = np.arange(gap.start - 40, gap.stop + 40)
    inside = slice(gap.start, gap.stop)
    line = Methods(copy, fps).complete("pchip", gap, seen_in(copy)).positions
    axis = int(np.ptp(truth[inside, gap.point], axis=0).argmax())
    figure, axes = plt.subplots(figsize=(6.5, 2.8), layout="constrained")
    time = around / fps
    axes.plot(time, truth[around, gap.point, axis], "k:", label="what was there")
    axes.plot(time, copy[around, gap.point, axis], "k", label="seen")
    here = np.arange(gap.start, gap.stop) / fps
    made = result.positions[inside, gap.point, axis]
    half = NORMAL * result.sigma[inside, gap.point]
    axes.fill_between(here, made - half, made + half, alpha=0.3, color="C1", lw=0)
    axes.plot(here, made, "C1", label="auto, with its 90 % interval")
    axes.plot(here, line[:, axis], "C0--", label="pchip")
    axes.set(xlabel="time, s", ylabel=f"{points.labels[gap.point]}, mm")
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(to, dpi=110)


if __name__ == "__main__":
    app()
