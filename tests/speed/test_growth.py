"""Exponents of cost are recovered from synthetic points, and drawn."""

from pathlib import Path

import pandas as pd
import pytest

from bench.speed.growth import Point, draw, exponents, measure_point
from bench.speed.measure import Setup, in_child


@pytest.fixture
def points() -> pd.DataFrame:
    points = [
        Point(grows, size, 3 * size**power, 0.5 * size, 7.0 * size**2)
        for grows, power in (("batch", 1.5), ("joints", 0.9))
        for size in (2, 4, 8)
    ]
    return pd.DataFrame(map(vars, points))


def test_exponents_are_recovered(points: pd.DataFrame) -> None:
    found = exponents(points).set_index("grows")
    assert found["seconds"].to_dict() == pytest.approx({"batch": 1.5, "joints": 0.9})
    assert found["gb"].to_list() == pytest.approx([1, 1])
    assert found["gflop"].to_list() == pytest.approx([2, 2])


def test_the_figure_is_written(points: pd.DataFrame, tmp_path: Path) -> None:
    assert draw(points, tmp_path) == tmp_path / "growth.png"
    assert {path.suffix for path in tmp_path.iterdir()} == {".png", ".pdf", ".svg"}


def test_operations_of_a_train_step_are_proportional_to_the_batch() -> None:
    setup = Setup(rounds=1, threads=1)
    two, four = (in_child(measure_point, setup, "batch", size) for size in (2, 4))
    assert four.gflop == pytest.approx(2 * two.gflop, rel=1e-3)
    assert min(two.seconds, two.gb) > 0
