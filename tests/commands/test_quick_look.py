"""Quick looks: reduced as requested, marked as such everywhere, apart from whole runs."""

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from matplotlib.figure import Figure

from bench.protocol import resolving
from bench.protocol.resolving import LIMITED, resolve
from tests.conftest import PROJECT, TINY, Bench, run_of

PROTOCOL: dict[str, Any] = {
    "name": "small",
    "dataset": {"name": "synthetic", "subjects": 4, "seconds": 3.5, "stride": 10},
    "models": {
        "mean": {},
        "linear": {},
        "zero": {},
        "vae": {"hidden": [8], "latent": 2, "epochs": 3},
    },
    "predictors": {"zero_velocity": {}},
    "inference": {"map": {"steps": 10}},
    "occlusion": {"features": {"levels": ["10%", "50%"]}},
    "show": [{"model": "linear", "mechanism": "features", "level": "10%"}],
    "seeds": [0, 1],
    "scale": {"train": 30, "valid": 8, "test": 12, "samples": 3},
}
STAMP = "smoke run, limit 4: not a result"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quick")


def run(results: Path, bench: Bench, *more: str) -> tuple[str, Path]:
    """Run the protocol; return what was printed and the folder of its runs."""
    ended = bench(*run_of(PROTOCOL, results), *more)
    assert ended.code == 0, ended.err
    return ended.out, results / "results"


def test_a_limit_caps_windows_draws_and_epochs() -> None:
    whole, quick = resolve(TINY), resolve(TINY | {"limit": 5})
    assert (quick.scale.train, quick.scale.valid, quick.scale.test) == (5, 5, 5)
    assert quick.scale.samples == 5
    assert resolve(TINY | {"limit": 10}).scale.valid == 8  # no more than the protocol has
    unlimited = resolve(TINY | {"scale": {}, "limit": 7})
    assert (unlimited.scale.train, unlimited.scale.samples) == (7, 7)
    entries = {**whole.learners}
    for label, entry in quick.learners.items():
        epochs = getattr(entries[label].settings, "epochs", None)
        assert getattr(entry.settings, "epochs", None) == (
            epochs and min(epochs, LIMITED["epochs"])
        )
    more = resolve(TINY | {"limit": 5, "models": {**TINY["models"], "stacked": {}}})
    assert more.models["stacked"].settings.masks == LIMITED["masks"]
    assert (whole.limit, quick.limit) == (None, 5)
    assert (whole.folder, quick.folder) == ("tiny", "tiny-limit-5")


@pytest.mark.parametrize(
    "file", sorted((PROJECT / "protocols").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_protocol_resolves_with_a_limit(file: Path) -> None:
    quick = resolving.load(file, ["limit=20"])
    assert resolve(quick.to_dict()) == quick
    assert quick.scale.test is not None
    assert quick.scale.test <= 20


def test_every_output_of_a_quick_look_is_marked(
    results: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[str, str]] = []
    moving: list[str] = []

    def save(figure: Figure, path: Path, **_: Any) -> None:
        titles = [figure.get_suptitle(), *(text.get_text() for text in figure.texts)]
        drawn.append((" ".join(" ".join(titles).split()), figure.get_supxlabel()))
        path.touch()

    def animate(panels: Any, skeleton: Any, path: Path, fps: float, title: str) -> None:
        moving.append(title)

    monkeypatch.setattr(Figure, "savefig", save)
    monkeypatch.setattr("bench.report.poses.animate", animate)
    out, folder = run(results, bench, "--limit", "4")
    latest = folder / "small-limit-4" / "latest"
    assert not (folder / "small").exists()
    flat = " ".join(out.split())
    # The line of the plan, and the summary with its windows, recordings and seeds.
    assert flat.count(STAMP) == 2
    counted = rf"\({STAMP}\); \d windows of \d recordings?, 2 seeds"
    assert len(re.findall(counted, flat)) == 1
    shown = " ".join(bench("show", latest).out.split())
    assert shown.count(STAMP) == shown.count("synthetic (synthetic motion)")
    assert len(re.findall(counted, shown)) > 7
    tables = [path for path in latest.iterdir() if path.suffix in (".csv", ".md", ".tex")]
    assert len(tables) > 15
    for path in tables:
        assert STAMP in path.read_text(), path.name
        if path.suffix == ".csv":
            table = pd.read_csv(path)
            assert table["dataset"].str.contains(STAMP, regex=False).all(), path.name
            columns = {"n", "recordings", "seeds"} <= set(table.columns)
            assert columns or path.name in ("times.csv", "jobs.csv"), path.name
        elif path.suffix == ".md":
            assert re.search(r"\d windows of \d recording", path.read_text()), path.name
    for name in ("records.parquet", "windows.parquet"):
        assert pd.read_parquet(latest / name)["dataset"].str.contains(STAMP, regex=False).all()
    assert len(drawn) >= 8
    for title, basis in drawn:
        assert STAMP in title
        assert f"({STAMP}); 4 windows of" in basis or title.strip() in moving
    assert len(moving) == 1
    assert STAMP in moving[0]
    page = (latest / "report.html").read_text()
    assert "Smoke run, limit 4: not a result." in page
    for part in re.split(r"<(?=h2|figcaption)", page):
        if "<table" in part or part.startswith("figcaption"):
            assert STAMP in part or 'id="failures"' in part
    assert page.count("<figure ") == len(list(latest.glob("*.png")))
    assert json.loads((latest / "provenance.json").read_text())["smoke_run"] is True
    assert yaml.safe_load((latest / "protocol.yaml").read_text())["limit"] == 4
    verdicts = pd.read_csv(latest / "claims.csv")["verdict"]
    assert set(verdicts) <= {"withheld", "not tested"}
    # Recomputed from its folder, the verdicts stay withheld.
    again = bench("claims", latest)
    assert STAMP in " ".join(again.out.split())
    pd.testing.assert_series_equal(pd.read_csv(latest / "claims.csv")["verdict"], verdicts)


def test_a_quick_look_is_never_taken_for_a_whole_run(
    results: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.report.figures.begin_all", lambda *_: list)
    run(results, bench, "--limit", "4")
    whole, _ = run(results, bench, "--dry-run")
    assert "smoke" not in whole
    assert "windows train 30, valid 8, test 12" in whole
    assert ", 0 cells already done" in whole
    # The quick look's own fits and cells are all done.
    again, _ = run(results, bench, "--limit", "4", "--dry-run")
    assert "windows train 4, valid 4, test 4" in again
    assert "0 fits and 0 cells to do" in again


@pytest.mark.parametrize("limit", ["0", "-3", "many"])
def test_an_invalid_limit_is_refused(limit: str, tiny: Path, tmp_path: Path, bench: Bench) -> None:
    ended = bench("run", tiny, "--results", tmp_path / "results", "--limit", limit)
    assert ended.code == 2
    assert not (tmp_path / "results").exists()
