"""How the error of a protocol's predictors falls while they are fitted.

    python scripts/prediction_curves.py fit PROTOCOL OUT.csv --data-root DIR [--only LABEL ...]
        [--set KEY=VALUE ...] [--name NAME] [--work FOLDER]
    python scripts/prediction_curves.py draw OUT.csv [OUT.png]

``fit`` appends a row for each epoch: the mean error over the future of test windows and of train
windows, of the weights that the epoch ended with, not averaged by ``ema``, mm. The fit is the one
that ``bench run`` would make of the first seed, and goes on from FOLDER where it was interrupted;
predictors that are fitted on occluded pasts are left out. ``draw`` draws the rows of the file.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from bench.datasets.build import load
from bench.fitting.training import FitContext, Progress
from bench.metrics import forecast_error
from bench.motion import Windows, derive_seed
from bench.protocol.resolving import load as load_protocol
from bench.protocol.schema import Protocol
from predictors.base import Predictor

TRAIN_WINDOWS = 1000
"""Train windows whose error is measured, evenly spaced."""
BATCH = 200


@dataclass(frozen=True)
class Sets:
    """The windows of a protocol that have a future, by what they are used for."""

    train: Windows
    valid: Windows
    test: Windows

    @classmethod
    def of(cls, protocol: Protocol, root: Path | None, cache: Path) -> "Sets":
        """Return a protocol's windows, thinned to its scale."""
        splits = load(protocol.dataset, root, cache).splits
        scale = protocol.scale
        sizes = {"train": scale.train, "valid": scale.valid, "test": scale.test}
        return cls(**{split: splits[split].thin(count) for split, count in sizes.items()})


def errors(predictor: Predictor, windows: Windows, weights: torch.Tensor) -> torch.Tensor:
    """Return the error of predictions, ``(window, future frame)``, mm."""
    windows = windows.take(windows.continued)
    found = []
    for start in range(0, len(windows), BATCH):
        part = windows.take(np.arange(start, min(start + BATCH, len(windows))))
        found.append(forecast_error(predictor.predict(part.tensor()), _future(part), weights))
    return torch.cat(found)


def _future(windows: Windows) -> torch.Tensor:
    assert windows.future is not None
    return torch.from_numpy(np.array(windows.future))


def measured(predictor: Predictor, sets: Sets, protocol: Protocol) -> dict[str, float]:
    """Return the mean error over all frames and at each horizon, mm, of test and train windows."""
    weights = torch.from_numpy(protocol.dataset.joint_weights)
    training = predictor.training
    predictor.eval()
    test = errors(predictor, sets.test, weights).mean(dim=0)
    train = errors(predictor, sets.train.thin(TRAIN_WINDOWS), weights)
    predictor.train(training)
    horizons = {f"test_{ms}": float(test[frame]) for ms, frame in protocol.horizons.items()}
    return {"train": float(train.mean()), "test": float(test.mean()), **horizons}


def fit(protocol: Protocol, label: str, name: str, sets: Sets, folder: Path, out: Path) -> None:
    """Fit a predictor as ``bench run`` does, and append a row to ``out`` after each epoch."""
    entry, seed = protocol.predictors[label], protocol.seeds[0]
    torch.manual_seed(derive_seed("init", seed))
    predictor: Predictor = entry.cls(protocol.spec, entry.settings)
    count = int(sets.train.continued.sum())

    def report(progress: Progress) -> None:
        row = {
            "fit": name,
            "epoch": progress.epoch,
            "windows": progress.epoch * count,
            "loss": progress.losses["loss"],
            **measured(predictor, sets, protocol),
        }
        table = pd.DataFrame([row])
        print(table.to_string(index=False, float_format="{:.4g}".format), flush=True)
        table.to_csv(out, mode="a", header=not out.exists(), index=False, float_format="%.4g")

    folder.mkdir(parents=True, exist_ok=True)
    predictor.fit(
        sets.train,
        sets.valid,
        FitContext(seed=derive_seed("fit", seed), folder=folder, report=report),
    )


def draw(table: pd.DataFrame, path: Path) -> None:
    """Draw the error of test windows, and dashed that of train windows, by windows seen."""
    figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
    for name, rows in table.groupby("fit", sort=False):
        rows = rows.drop_duplicates("epoch", keep="last")
        (line,) = axis.plot(rows["windows"] / 1000, rows["test"], label=str(name))
        axis.plot(rows["windows"] / 1000, rows["train"], "--", color=line.get_color())
    axis.set(xlabel="train windows seen, thousands", ylabel="error, mm; dashed: of train windows")
    axis.set(xscale="log")
    axis.legend(fontsize=8)
    figure.savefig(path, dpi=150)


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit or draw, as the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, dest="command")
    fitting, drawing = commands.add_parser("fit"), commands.add_parser("draw")
    fitting.add_argument("protocol", type=Path)
    fitting.add_argument("out", type=Path)
    fitting.add_argument("--data-root", type=Path)
    fitting.add_argument("--only", nargs="+")
    fitting.add_argument("--set", nargs="+", default=[])
    fitting.add_argument("--name", help="of the fits in the file; default: the predictor's label")
    fitting.add_argument("--work", type=Path, default=Path("results/prediction_curves"))
    drawing.add_argument("table", type=Path)
    drawing.add_argument("figure", type=Path, nargs="?")
    chosen = parser.parse_args(arguments)
    if chosen.command == "draw":
        draw(pd.read_csv(chosen.table), chosen.figure or chosen.table.with_suffix(".png"))
        return
    protocol = load_protocol(chosen.protocol, chosen.set)
    sets = Sets.of(protocol, chosen.data_root, chosen.work / "windows")
    fits = [
        one for one in chosen.only or protocol.predictors if not protocol.predictors[one].degraded
    ]
    if chosen.name and len(fits) > 1:
        parser.error("--name is of one fit: choose it by --only")
    for label in fits:
        name = chosen.name or label
        fit(protocol, label, name, sets, chosen.work / name, chosen.out)


if __name__ == "__main__":
    main()
