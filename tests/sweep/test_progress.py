"""How a sweep shows its progress where there is no terminal."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from bench.fitting.training import Progress
from bench.sweep import progress
from bench.sweep.jobs import Fit
from bench.sweep.progress import ProgressDisplay, ProgressLines
from bench.sweep.status import Status, Statuses
from tests.conftest import TINY, Bench, run_of


def at(epoch: int, epochs: int = 10) -> Progress:
    return Progress(epoch, epochs, {"loss": 2.0, "valid_loss": 3.0, "kl_z0": 1.5}, 100.0, 61.0)


def test_a_subject_has_a_line_a_minute_and_a_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    written: list[str] = []
    lines = ProgressLines(written.append)
    for second in range(125):
        now[0] = 1000.0 + second
        lines.line("one", str(second))
        lines.line("other", str(second))
    lines.line("one", "end", always=True)
    assert written == [
        *("one: 0", "other: 0", "one: 60", "other: 60", "one: 120", "other: 120", "one: end")
    ]


def test_a_fit_is_a_plain_line_without_a_terminal() -> None:
    out = io.StringIO()
    with ProgressDisplay(3, Console(file=out, width=160)) as display:
        display.fit(Fit("key", "hgvae", 0), at(1))
        display.fit(Fit("key", "hgvae", 0), at(2))
        display.fit(Fit("key", "hgvae", 0), at(10))
    first, last = out.getvalue().splitlines()
    assert first == (
        "hgvae (seed 0): epoch 1/10, loss 2, valid 3, KL 1.5, 100 windows/s, 1:01 left"
    )
    assert last.startswith("hgvae (seed 0): epoch 10/10")


def test_a_fits_progress_is_kept_while_it_runs_and_gone_when_it_ends(tmp_path: Path) -> None:
    statuses = Statuses(tmp_path)
    assert statuses.read_progress("key") is None
    statuses.write(Status("key", "a fit", "running"))
    statuses.write_progress("key", vars(at(4)))
    found = statuses.read_progress("key")
    assert found is not None
    assert Progress(**found) == at(4)
    statuses.write(Status("key", "a fit", "done"))
    assert statuses.read_progress("key") is None


@pytest.mark.ray
def test_on_ray_lines_have_no_prefix_and_no_colours(
    bench: Bench, tmp_path: Path, undrawn: None
) -> None:
    models = {"mean": {}, "vae": TINY["models"]["vae"]}
    protocol = TINY | {"models": models, "predictors": {}, "comparisons": {}}
    arguments = [str(one) for one in run_of(protocol, tmp_path, tmp_path / "results")]
    place = arguments.index("--executor")
    ended = bench(*arguments[:place], *arguments[place + 2 :])
    assert ended.code == 0, ended.err + ended.out
    assert "pid=" not in ended.out
    assert "\x1b" not in ended.out
    assert "all cells have ended; making tables and figures\n" in ended.out
    assert not list((tmp_path / "results" / ".store" / "status").glob("*.progress"))
