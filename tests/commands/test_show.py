"""``bench show``, and what a run prints at its end, as a user sees them."""

import shutil
from pathlib import Path

import pytest

from tests.commands.test_compare import PROTOCOL
from tests.conftest import PROJECT, Bench, run_of

REFERENCE = PROJECT / "results" / "reference" / "occlusion"
TABLES = ("imputation", "ranks", "ood", "claims", "forecasting")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shown")


@pytest.fixture
def latest(place: Path, bench: Bench) -> Path:
    folder = place / "results" / "small" / "latest"
    if not folder.exists():
        ended = bench(*run_of(PROTOCOL, place, place / "results"))
        assert ended.code == 0, ended.err
        (place / "out.txt").write_text(ended.out)
    return folder


def test_a_run_ends_with_one_screen(latest: Path, place: Path) -> None:
    out = (place / "out.txt").read_text()
    assert len(out.splitlines()) < 40
    assert "linear -" in out
    assert "prediction from the true past, mean error in mm: zero_velocity" in out
    assert f"report: {latest.resolve()}/report.html" in out.replace(
        str(latest.parent), str(latest.resolve().parent)
    )
    assert "bench show" in out


def test_all_tables_or_one_of_them(latest: Path, bench: Bench) -> None:
    whole = bench("show", latest)
    assert whole.code == 0, whole.err
    one = bench("show", latest, "imputation")
    assert one.code == 0
    assert "Mean squared error over hidden features" in one.out
    assert "The paper's claims" not in one.out
    assert one.out in whole.out
    assert "The paper's claims" in whole.out


def test_committed_results_have_tables_too(bench: Bench, tmp_path: Path) -> None:
    """They have no per-window values; numbers are those of their CSV files."""
    copy = tmp_path / "copied"
    shutil.copytree(REFERENCE, copy)
    for table in TABLES:
        ended = bench("show", copy, table)
        assert ended.code == 0, ended.err
        assert "synthetic" in ended.out
    printed = bench("show", copy, "imputation").out
    (row,) = [line for line in printed.splitlines() if line.startswith("│ linear")][:1]
    markdown = (copy / "imputation.md").read_text()
    first = next(line for line in markdown.splitlines() if line.startswith("| linear"))
    leaders = bench("show", PROJECT / "results" / "reference" / "leaderboard", "ranks")
    assert "│ window_gaussian  " in leaders.out
    # The same number, without its interval.
    assert first.split("|")[2].split("[")[0].strip() == row.split("│")[2].strip()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((REFERENCE, "clams"), "has no table 'clams' (did you mean 'claims'?)"),
        ((PROJECT / "docs",), "not the folder of a run"),
        ((PROJECT / "nowhere",), "no such folder"),
    ],
)
def test_what_is_not_there_gets_one_line(
    arguments: tuple[object, ...], message: str, bench: Bench
) -> None:
    ended = bench("show", *arguments)
    assert ended.code == 2
    assert message in ended.err
    assert ended.err.count("\n") == 1
