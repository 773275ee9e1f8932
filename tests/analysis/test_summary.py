"""A run in one screen, against hand-computed ratios."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pytest

from bench.analysis import summary
from bench.protocol.resolving import resolve
from tests.conftest import TINY

PROTOCOL = resolve(TINY).only(["mean", "linear", "zero"])


def table(errors: Mapping[str, Sequence[float]], **more: Any) -> pd.DataFrame:
    """Return an imputation table of ``features`` at levels 3, 10 % and 50 %."""
    rows = [
        {"model": model, "inference": "", "mechanism": "features", "level": level, "value": value}
        for model, values in errors.items()
        for level, value in zip(("3", "10%", "50%"), values, strict=True)
    ]
    return pd.DataFrame(rows).assign(metric="mse", status="done", **more)


def test_changes_are_geometric_means_over_levels_against_the_mean() -> None:
    found = summary.by_mechanism(
        table({"mean": [100, 200, 50], "linear": [10, 2, 50], "zero": [400, 200, 50]}), PROTOCOL
    )
    change = found.set_index("model")["change"]
    assert list(found["model"]) == ["linear", "mean", "zero"]
    assert change["linear"] == pytest.approx(100 * ((0.1 * 0.01 * 1) ** (1 / 3) - 1))
    assert change["mean"] == pytest.approx(0)
    assert change["zero"] == pytest.approx(100 * (4 ** (1 / 3) - 1))
    assert found.set_index("model")["wins"].to_dict() == {"linear": 3, "mean": 1, "zero": 1}
    assert found.set_index("model")["control"].to_dict() == {
        "linear": False, "mean": False, "zero": True,
    }  # fmt: skip


def test_without_mean_imputation_the_best_of_each_level_is_the_reference() -> None:
    found = summary.by_mechanism(table({"linear": [1, 4, 9], "zero": [2, 2, 9]}), PROTOCOL)
    change = found.set_index("model")["change"]
    assert change["linear"] == pytest.approx(100 * (2 ** (1 / 3) - 1))
    assert change["zero"] == pytest.approx(100 * (2 ** (1 / 3) - 1))


def test_an_imputer_that_lacks_a_level_is_left_out() -> None:
    whole = table({"mean": [1, 1, 1], "linear": [1, 1, 1]})
    failed = whole["model"].eq("linear") & whole["level"].eq("3")
    whole["value"] = whole["value"].mask(failed)
    whole["status"] = whole["status"].mask(failed, "failed")
    assert list(summary.by_mechanism(whole, PROTOCOL)["model"]) == ["mean"]


def test_a_control_that_beats_an_imputer_is_reported_but_not_for_beating_the_mean() -> None:
    better = {"mean": [100, 100, 100], "linear": [90, 90, 90], "zero": [80, 80, 80]}
    (line,) = summary.suspicious(summary.by_mechanism(table(better), PROTOCOL))
    assert "control zero (-20 %) completes better than linear" in line
    worse = {"mean": [100, 100, 100], "linear": [10, 10, 10], "zero": [80, 80, 80]}
    assert not summary.suspicious(summary.by_mechanism(table(worse), PROTOCOL))


def test_the_winners_are_named_with_their_changes() -> None:
    found = summary.by_mechanism(table({"mean": [4, 4, 4], "linear": [1, 1, 1]}), PROTOCOL)
    text = summary.winners(found, PROTOCOL)
    assert text.loc["features", "best"] == "linear -75 %"
    assert text.loc["features", "second"] == "mean +0 %"
    assert text.loc["features", "best control"] == ""
    assert text.loc["features", "levels"] == "3 to 50%"
