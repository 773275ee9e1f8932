"""How long a run's tables, figures and report take, from a store of made cells.

    python scripts/aggregation.py [--cells 2000 20000] [--windows 80] [--profile]

The cells are those of the protocol of results/reference/leaderboard, with as many seeds as it
takes; their values are random, in the columns that its cells have. Prints the seconds of each stage
- reading the store, records, tables, figures, page - by the clock, and those of this process's
processor: other processes help (``bench.core.processes``). Pictures of motion are left out: there
is no motion.
"""

import argparse
import cProfile
import json
import pstats
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.analysis import records
from bench.analysis.results import Run
from bench.core import safe_yaml
from bench.protocol.resolving import resolve
from bench.report import run_folder
from bench.sweep import plan
from bench.sweep.status import Status
from bench.sweep.store import Store

REFERENCE = Path(__file__).resolve().parents[1] / "results" / "reference" / "leaderboard"
DERIVED = "change_vs_"
RECORDINGS, SUBJECTS = 40, 4


def planned(cells: int) -> tuple[plan.Plan, object]:
    """Return the plan of the protocol with just enough seeds for as many cells."""
    raw = safe_yaml.read(REFERENCE / "protocol.yaml")
    found, seeds = None, 0
    while found is None or len(found.cells) < cells:
        seeds += 1
        protocol = resolve(raw | {"seeds": list(range(seeds)), "foreign": {}})
        found = plan.make(protocol, "made", {})
    return plan.Plan(found.fits, found.cells[:cells]), protocol


def write_cells(store: Store, chosen: plan.Plan, windows: int) -> None:
    """Store a table of random values for each cell."""
    known = pd.read_parquet(REFERENCE / "records.parquet")
    known = known[known["metric"].ne("") & ~known["metric"].str.startswith(DERIVED)]
    metrics = known.groupby(["model", "inference", "mechanism"])["metric"].unique().to_dict()
    share = known.groupby(["mechanism", "level"])["share"].mean().to_dict()
    rng = np.random.default_rng(0)
    source = np.arange(windows) % RECORDINGS
    index = {
        "window": [f"recording{one}@{5 * row}" for row, one in enumerate(source)],
        "source": [f"recording{one}" for one in source],
        "subject": [f"person{one % SUBJECTS}" for one in source],
        "action": "walk",
    }
    for cell in chosen.cells:
        names = metrics.get((cell.model, cell.inference, cell.mechanism), ["mse", "mpjpe"])
        scale = rng.lognormal(3, 1)
        values = {name: scale * rng.lognormal(0, 0.5, windows) for name in names}
        shares = dict.fromkeys(
            ("share", *records.SHARES), share.get((cell.mechanism, cell.level), 0.0)
        )
        store.save_cell(cell.key, pd.DataFrame({**index, **shares, **values}))


def aggregate(
    chosen: plan.Plan, protocol: object, store: Store, folder: Path
) -> dict[str, NDArray[np.float64]]:
    """Make a run's folder of the store; return the seconds of each stage.

    Those of the clock, and of this process's processor.
    """
    at, seconds, stage = _now(), {}, "reading the store"

    def enter(following: str) -> None:
        nonlocal at, stage
        seconds[stage] = _now() - at
        at, stage = _now(), following

    values = records.windows(chosen, store, "made")
    statuses = [Status(one.key, one.title, "done") for one in (*chosen.fits, *chosen.cells)]
    facts = json.loads((REFERENCE / "provenance.json").read_text())
    contents = run_folder.Contents(Run(protocol, values, facts), chosen, statuses)
    run_folder.write(contents, folder, lambda _: None, enter)
    enter("")
    return seconds


def _now() -> NDArray[np.float64]:
    return np.array([time.perf_counter(), time.process_time()])


def main() -> None:
    """Measure each number of cells."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, nargs="+", default=[2000, 20000])
    parser.add_argument("--windows", type=int, default=80)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    for count in options.cells:
        chosen, protocol = planned(count)
        with tempfile.TemporaryDirectory() as place:
            store = Store(Path(place) / "store")
            write_cells(store, chosen, options.windows)
            profile = cProfile.Profile()
            if options.profile:
                profile.enable()
            seconds = aggregate(chosen, protocol, store, Path(place) / "results")
            profile.disable()
        for stage, (clock, own) in {**seconds, "in all": sum(seconds.values())}.items():
            title = f"{len(chosen.cells):6d} cells: {stage:24s}"
            print(f"{title} {clock:7.1f} s, processor {own:7.1f} s", flush=True)
        if options.profile:
            pstats.Stats(profile).sort_stats("cumtime").print_stats(45)


if __name__ == "__main__":
    main()
