"""Allocators of child processes, counted operations, ratios by round and the JSON file."""

import json
import os
from pathlib import Path

import pytest
import torch

from bench.speed import measure, report
from bench.speed.measure import MALLOC, Result, Setup, compare_with_gemm, gflop, in_child, in_turns


def _allocator(setup: Setup) -> dict[str, str]:
    return {name: os.environ[name] for name in MALLOC["tuned"] if name in os.environ}


def test_a_child_process_has_the_requested_allocator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TOP_PAD_", "7")
    assert in_child(_allocator, Setup(threads=1, malloc="tuned")) == MALLOC["tuned"]
    assert os.environ["MALLOC_TOP_PAD_"] == "7"


def test_operations_of_matrix_products_are_counted() -> None:
    left, right = torch.ones(30, 40), torch.ones(40, 50)
    assert gflop(lambda: left @ right) == pytest.approx(2 * 30 * 40 * 50 / 1e9)


def test_ratios_are_those_of_alternating_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "GEMM_SIZE", 64)
    order: list[str] = []
    times, rates = in_turns(2, "both", lambda: order.append("a"), lambda: order.append("b"))
    assert order == ["a", "b", "a", "b"]
    assert [len(one) for one in (*times, rates)] == [2, 2, 2]
    result = Result("row", "what", (1.0, 2.0, 4.0), "other", (2.0, 6.0, 4.0), wanted=2.0)
    assert result.ratios == (2.0, 3.0, 1.0)
    assert (result.ratio, result.met) == (2.0, True)


def test_the_gemm_reference_uses_the_rate_of_each_round() -> None:
    result = compare_with_gemm(
        "row", "what", (2.0, 1.0), gflop=10.0, rates=[1e10, 2e10], malloc="tuned"
    )
    assert result.ratios == (0.5, 0.5)
    assert result.met is False


def test_results_are_written_as_json(tmp_path: Path) -> None:
    report.write([Result("row", "what", (1.0, 3.0), "other", (4.0, 6.0), 2.0)], tmp_path / "a.json")
    content = json.loads((tmp_path / "a.json").read_text())
    (row,) = content["rows"]
    assert (row["median"], row["ratio"], row["met"]) == (2.0, 3.0, True)
    assert content["hardware"]["threads"] >= 1
