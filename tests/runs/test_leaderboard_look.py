"""The leaderboard's quick look, as a contributor and CI run it, on real motion."""

import zipfile
from pathlib import Path

import pandas as pd
import pytest

from bench.protocol.resolving import load
from bench.protocol.shipped import locate
from tests.conftest import Bench

CMU = {"02_01", "16_15", "29_01", "35_01", "49_01", "60_01"}
CLIPS = 3
"""Clips of each of HDM05's actors."""
LEFT_OUT = {
    # A fit of the Gaussians of windows takes 8 s and more whatever the windows, the cells of the
    # graph networks a third of a second each. Their own tests run them.
    *("window_gaussian", "ppca", "gaussian_mixture", "kalman", "kernel"),
    *("spectral_gaussian", "stacked", "stacked_vae"),
    *("hgvae", "hmvae", "untrained"),
}


@pytest.fixture(scope="module")
def few(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few recordings of CMU's subjects and of HDM05's actors, as their owners publish them."""
    root = tmp_path_factory.mktemp("few")
    for name in ("cmu_asfamc.zip", "hdm05_asfamc.zip"):
        if not (real_data / name).is_file():
            pytest.skip(f"{real_data / name} is missing")
    with zipfile.ZipFile(real_data / "cmu_asfamc.zip") as archive:
        chosen = [n for n in archive.namelist() if n.endswith(".amc") and Path(n).stem in CMU]
        subjects = {Path(name).parent for name in chosen}
        skeletons = [n for n in archive.namelist() if n.endswith(".asf")]
        archive.extractall(root, [*chosen, *(n for n in skeletons if Path(n).parent in subjects)])
    with zipfile.ZipFile(real_data / "hdm05_asfamc.zip") as archive:
        clips = sorted(name for name in archive.namelist() if name.endswith(".amc"))
        actors = sorted({Path(name).parent for name in clips})
        # The longest ones: short clips yield no window.
        size = {name: archive.getinfo(name).file_size for name in clips}
        for actor in actors:
            mine = sorted((n for n in clips if Path(n).parent == actor), key=lambda n: -size[n])
            skeletons = [n for n in archive.namelist() if n.endswith(".asf")]
            archive.extractall(
                root, mine[:CLIPS] + [n for n in skeletons if Path(n).parent == actor]
            )
    return root


@pytest.mark.usefixtures("undrawn")
def test_a_look_at_the_leaderboard_has_every_mechanism(
    few: Path, tmp_path: Path, bench: Bench
) -> None:
    whole = load(locate(Path("leaderboard")))
    models = [label for label in whole.models if label not in LEFT_OUT]
    assert len(models) > 12
    ended = bench(
        *("run", "leaderboard", "--limit", "4", "--only", ",".join(models)),
        *("--set", "seeds=[0]", "--data-root", few, "--results", tmp_path, "--executor", "local"),
    )
    assert ended.code == 0, ended.out + ended.err
    run = tmp_path / "leaderboard-limit-4" / "latest"
    records = pd.read_parquet(run / "records.parquet")
    assert set(records["status"]) == {"done"}
    errors = records[(records["metric"] == "mse") & (records["n"] > 0)]
    found = errors.groupby("model")["mechanism"].unique().map(set)
    assert set(found.index) == set(models)
    assert all(mechanisms == set(whole.occlusion) for mechanisms in found)
    assert {"hdm05"} <= set(records["mechanism"])
    assert set(pd.read_csv(run / "costs.csv")["model"]) == set(models)
    assert "not a result" in (run / "imputation.md").read_text()
