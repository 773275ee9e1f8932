"""What cells of imputers report of a predictive distribution, and what has no value."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench import metrics
from bench.analysis import records
from bench.core.registry import MODELS
from bench.motion.mechanisms.base import Level
from bench.motion.mechanisms.gaps import Gaps
from bench.protocol.resolving import resolve
from bench.sweep.cell_result import CellResult
from bench.sweep.cells import Evaluator
from bench.sweep.jobs import DEGRADED, Cell
from models.base import Imputation, Imputer, Model
from tests.conftest import changed, walk

OCCLUSION = {
    "features": {"levels": [3]},
    "gaps": {"levels": ["800 ms", "2000 ms"]},
    "frames": {"levels": ["400 ms"]},
}
PROTOCOL = resolve(changed("occlusion", OCCLUSION))
DISTRIBUTION = {"coverage90", "sharpness", "pit_0", "pit_9"}
SAMPLES = {"energy_score", "best_of_10", "sample_distance"}


class Unsure(Imputer):
    """Fills with the mean, and says how unsure it is of it."""

    name = "unsure"
    gives: tuple[str, ...] = ()

    def complete(self, motion: Tensor, occluded: Tensor) -> Imputation:
        given: dict[str, Any] = {
            "sigma": torch.full_like(motion, 70.0),
            "samples": motion + 70 * torch.randn(20, *motion.shape),
        }
        return Imputation(motion, **{name: given[name] for name in self.gives})


def evaluated(model: Model, mechanism: str, level: str, inference: str = "") -> CellResult:
    windows = walk()
    model.fit(windows, windows, None)
    cell = Cell("key", "", "mean", 0, "impute", inference, mechanism, level)
    return Evaluator(PROTOCOL, windows, windows, {}, "cpu").evaluate(cell, model)


def unsure(*gives: str) -> Unsure:
    model = Unsure(walk().spec)
    model.gives = gives
    return model


def test_a_cell_has_the_scores_of_the_distribution_that_the_imputer_gives() -> None:
    point, sigma, samples = (
        set(evaluated(unsure(*gives), "gaps", "800 ms").table.columns)
        for gives in ((), ("sigma",), ("samples",))
    )
    assert "crps" in point
    assert not (DISTRIBUTION | SAMPLES) & point
    assert sigma - point > DISTRIBUTION
    assert not SAMPLES & sigma
    assert samples - sigma == SAMPLES


def test_scores_of_a_cell_are_those_of_its_imputation() -> None:
    table = evaluated(unsure("sigma"), "gaps", "800 ms").table
    windows = walk()
    hidden = torch.from_numpy(Gaps(level=Level.parse("800 ms"), seed=0).occluded(windows))
    imputation = MODELS.get("mean")(windows.spec)
    imputation.fit(windows, windows, None)
    mean = torch.where(hidden, imputation.mean, windows.tensor())
    expected = metrics.probabilistic_scores(
        mean, windows.tensor(), hidden, torch.full_like(mean, 70.0)
    )
    for name, values in expected.items():
        np.testing.assert_array_equal(table[name], values.numpy(), err_msg=name)
    assert table["mae"].gt(table["crps"]).all()


def test_a_point_has_its_absolute_error_as_crps_and_a_degraded_window_no_error() -> None:
    model = MODELS.get("linear")(walk().spec)
    table = evaluated(model, "gaps", "800 ms").table
    np.testing.assert_array_equal(table["crps"], table["mae"])
    detector = MODELS.get("pca_error")(walk().spec)
    found = evaluated(detector, "gaps", "800 ms", DEGRADED)
    assert not {"mse", "mae", "crps"} & set(found.table.columns)


def test_a_metric_has_rows_only_for_windows_it_applies_to() -> None:
    """A joint hidden throughout has no gap with a border; a gap of joints hides no whole frame."""
    model = MODELS.get("linear")(walk().spec)
    cells = [
        Cell(level, "", "linear", 0, "impute", "", mechanism, level)
        for mechanism, level in (("gaps", "800 ms"), ("gaps", "2000 ms"), ("frames", "400 ms"))
    ]
    found = [(cell, evaluated(model, cell.mechanism, cell.level).table) for cell in cells]
    table = records.long(found, "motion")
    assert table["value"].notna().all()
    counts = table.groupby(["mechanism", "level", "metric"]).size().unstack().fillna(0)
    assert (counts[["mse", "mae", "crps"]] == 6).all(axis=None)
    assert counts["border_jump"].to_dict() == {
        ("frames", "400 ms"): 6,
        ("gaps", "2000 ms"): 0,
        ("gaps", "800 ms"): 6,
    }
    for metric in ("npss", "l2p"):
        assert counts[metric].tolist() == [6, 0, 0]
    means = records.summarise(table, ["mechanism", "level"])
    assert means["value"].notna().all()
