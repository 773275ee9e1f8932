"""Protocols found by name."""

from pathlib import Path

import pytest

from bench.core.errors import InputError
from bench.protocol.resolving import load
from bench.protocol.shipped import locate, shipped
from tests.conftest import PROJECT, Bench


def test_every_protocol_of_the_project_is_found_and_resolves() -> None:
    assert shipped() == {path.stem: path for path in sorted(PROJECT.glob("protocols/*.yaml"))}
    for name in shipped():
        assert load(locate(Path(name))).name == name


def test_names_work_from_any_folder(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = bench("validate", "occlusion")
    assert ended.code == 0, ended.err
    assert ended.out == bench("validate", PROJECT / "protocols" / "occlusion.yaml").out
    assert "occlusion" in bench("list", "protocols").out


def test_a_file_of_ones_own_comes_before_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "occlusion").write_text("mine")
    assert locate(Path("occlusion")) == Path("occlusion")
    assert locate(Path("nowhere/occlusion")) == Path("nowhere/occlusion")
    assert locate(Path("occlusion.yaml")) == Path("occlusion.yaml")


def test_a_slip_is_answered_with_the_nearest_name(bench: Bench) -> None:
    with pytest.raises(InputError, match="did you mean 'occlusion'"):
        locate(Path("oclusion"))
    ended = bench("run", "oclusion")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
