"""What ``--json`` prints is JSON by the schemas in docs, and says what the tables say."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pandas as pd
import pytest

from tests.commands.test_compare import PROTOCOL
from tests.conftest import PROJECT, Bench, Ended, run_of

SCHEMAS = PROJECT / "docs" / "schemas"


def checked(ended: Ended, schema: str, code: int = 0) -> Any:
    """Return what a command printed, after checking it by its schema."""
    assert ended.code == code, ended.err
    found = json.loads(ended.out)
    rules = json.loads((SCHEMAS / f"{schema}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(rules)
    jsonschema.validate(found, rules)
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("json")


@pytest.fixture
def latest(place: Path, bench: Bench, undrawn: None) -> Path:
    folder = place / "results" / "small" / "latest"
    if not folder.exists():
        assert bench(*run_of(PROTOCOL, place, place / "results")).code == 0
    return folder


def test_results_of_a_run(latest: Path, bench: Bench) -> None:
    shown = checked(bench("show", latest, "--json"), "show")
    csv = pd.read_csv(latest / "imputation.csv", keep_default_na=False)
    rows = shown["tables"]["imputation"]
    assert [row["model"] for row in rows] == list(csv["model"])
    assert [row["value"] for row in rows] == pytest.approx(csv["value"].astype(float))
    one = checked(bench("show", latest, "imputation", "--json"), "show")
    assert list(one["tables"]) == ["imputation"]
    assert one["claims"] == []
    claims = checked(bench("claims", latest, "--json"), "claims")
    assert claims["claims"] == shown["claims"]
    same = checked(bench("compare", latest, latest, "--json"), "compare")
    assert same["identical"]
    assert same["cells"] == []


def test_committed_results_and_a_difference(latest: Path, bench: Bench) -> None:
    reference = PROJECT / "results" / "reference" / "occlusion"
    assert checked(bench("show", reference, "--json"), "show")["claims"]
    other = checked(bench("compare", reference, latest, "--json"), "compare", code=1)
    assert not other["identical"]
    assert other["settings"]


def test_status(latest: Path, bench: Bench) -> None:
    (execution,) = checked(bench("status", latest.parent, "--json"), "status")["executions"]
    assert execution["cells"]["done"] > 0
    assert execution["jobs"] == []
    assert execution["ended"] == "finished"
    finished = checked(bench("status", latest, "--json"), "status")["executions"]
    assert finished[0]["cells"] == execution["cells"]


def test_lists_and_data_sets(bench: Bench, tmp_path: Path) -> None:
    listed = checked(bench("list", "mechanisms", "--json"), "list")
    (table,) = listed["tables"]
    assert {"gaps", "joints"} <= {row["name"] for row in table["rows"]}
    settings = (
        "--set",
        "subjects=4",
        "--set",
        "seconds=3.5",
        "--set",
        "stride=40",
        "--results",
        tmp_path,
    )
    described = checked(bench("data", "describe", "synthetic", *settings, "--json"), "describe")
    assert described["left_out"] == []
    assert Path(described["written"][0]).is_file()


def test_the_doctor(bench: Bench, tmp_path: Path) -> None:
    ended = bench("doctor", "--results", tmp_path / "not yet", "--json")
    found = checked(ended, "doctor", code=ended.code)
    states = {one["what"]: one["state"] for one in found["findings"]}
    assert {"versions", "threads", "GPU", "Ray", "disk", "results"} <= states.keys()
    assert states["results"] == "well"
    assert ended.code == int("wrong" in states.values())
    assert all(one["mend"] for one in found["findings"] if one["state"] == "wrong")


def test_the_doctor_says_how_to_mend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from bench.commands import doctor

    monkeypatch.setattr(doctor, "LEAST_FREE", 1e9)
    monkeypatch.setattr("tempfile.TemporaryFile", _refused)
    found = {one.what: one for one in doctor.examine(tmp_path, tmp_path)}
    assert found["disk"].state == found["results"].state == "wrong"
    assert "--results" in found["disk"].mend
    assert "permissions" in found["results"].mend


def _refused(**_: Any) -> Any:
    raise PermissionError(13, "Permission denied")


def test_shells_can_complete(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_BENCH_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "bench do")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert "doctor" in bench().out
