"""Whatever a command inherits, it ends the same; nothing printed can fail."""

import io
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.provenance import commit
from bench.core.surroundings import Steady, degraded
from tests.conftest import PROJECT

SMALL = {
    "name": "small",
    "dataset": {"name": "synthetic", "subjects": 4, "seconds": 3.5, "stride": 10},
    "models": {"mean": {}, "linear": {}},
    "occlusion": {"features": {"levels": [3]}},
    "scale": {"train": 10, "valid": 4, "test": 4},
}
HOSTILE = {
    "PYTHONIOENCODING": "ascii",
    "MPLBACKEND": "module://nothing.there",
    "PYTHONWARNINGS": "error",
    "RAY_ADDRESS": "ray://nowhere.invalid:1",
    "GIT_DIR": "/nowhere",
    "GIT_WORK_TREE": "/nowhere",
    "OMP_NUM_THREADS": "many",
}


def _bench(*arguments: object, shell: str = "") -> tuple[int, str, str]:
    """Run a command in hostile surroundings, in a process of its own.

    Args:
        arguments: of the command.
        shell: what follows in the pipeline.

    Returns:
        The command's exit code, and what the pipeline printed.
    """
    script = f'"$@" {shell}; exit "${{PIPESTATUS[0]}}"'
    command = ["bash", "-c", script, "bash", sys.executable, "-m", "bench", *map(str, arguments)]
    environment = os.environ | HOSTILE
    ended = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, check=False)
    return ended.returncode, ended.stdout.decode("latin-1"), ended.stderr.decode("latin-1")


def test_a_run_whose_reader_leaves_ends_as_any(tmp_path: Path) -> None:
    protocol = tmp_path / "small.yaml"
    protocol.write_text(yaml.safe_dump(SMALL))
    results = tmp_path / "results"
    options = ("--executor", "local", "--results", results)
    code, out, err = _bench("run", protocol, *options, shell="| head -1")
    assert code == 0, err
    assert len(out.splitlines()) == 1
    assert "Traceback" not in err
    assert (results / "small" / "latest" / "report.html").is_file()
    code, out, err = _bench("show", results / "small" / "latest")
    assert code == 0, err
    assert out.isascii()
    assert "mm^2" in out


@settings(max_examples=40, deadline=None)
@given(st.text(), st.sampled_from(["ascii", "iso8859-1", "iso8859-2", "cp1252", "utf-8", "none"]))
def test_any_text_can_be_written_in_any_encoding(text: str, encoding: str) -> None:
    shown = degraded(text, encoding)
    shown.encode("ascii" if encoding == "none" else encoding)
    if text.isascii():
        assert shown == text


def test_what_reads_alike_stands_for_what_is_missing() -> None:
    assert degraded("12 mm² ± 3", "ascii") == "12 mm^2 +- 3"
    assert degraded("12 mm² ± 3", "iso8859-1") == "12 mm² ± 3"
    assert degraded("┏━┳┓ │x│ └─┘", "iso8859-2") == "+-++ |x| +-+"
    assert degraded("Müller, Łódź, 日本", "ascii") == "Muller, ?odz, ??"


def test_a_stream_that_fails_is_let_go() -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

        def flush(self) -> None:
            raise OSError("no space left on device")

    stream = Steady(Broken())
    assert stream.write("text") == 4
    stream.flush()
    closed = io.StringIO()
    closed.close()
    assert Steady(closed).write("text") == 4


def test_the_commit_is_this_codes_in_a_hook_too(monkeypatch: pytest.MonkeyPatch) -> None:
    before = commit()
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere/index")
    assert commit() == before


def test_a_figure_of_one_level_has_a_width() -> None:
    from matplotlib.figure import Figure

    from bench.report.figures import _by_share

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        axis = Figure().subplots()
        axis.plot([10], [3], "o")
        _by_share(axis, title="one")
        Figure().savefig(io.BytesIO())
    least, most = axis.get_xlim()
    assert least < 10 < most
