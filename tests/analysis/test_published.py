"""Published errors of imputers next to a run's, on markers with masks that come with them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.core.errors import InputError
from bench.protocol.resolving import resolve
from tests.conftest import TINY, Bench, run_of
from tests.datasets.c3d_files import write_c3d

POINTS = [f"m{number}" for number in range(7)]
PROTOCOL: dict[str, Any] = {
    "name": "small",
    "dataset": {
        "name": "markers",
        "points": POINTS,
        "frames": 20,
        "fps": 100,
        "train": [
            {"file": "take.c3d", "frames": [0, 20], "action": "leak"},
            {"file": "take.c3d", "frames": [30, 60], "action": "apart"},
        ],
        "valid": [{"file": "take.c3d", "frames": [40, 60], "action": "apart"}],
        "test": [{"file": "take.c3d", "frames": [10, 30]}],
        "masks": "masks.npz",
    },
    "models": {
        "linear": {},
        "mean": {"train_on": ["apart"]},
        "mean_leak": {"model": "mean"},
        "vae": {"hidden": [8], "latent": 2, "epochs": 1, "inference": ["map"]},
    },
    "inference": {"map": {"steps": 1}},
    "occlusion": {"markers": {"mechanism": "own_gaps", "masks": "published", "levels": [2, 3]}},
    "published_imputation": [
        {
            "imputer": "theirs",
            "source": "a paper",
            "occlusion": "markers",
            "errors": {2: 2.25, 3: 3.5},
        }
    ],
    "references": ["linear"],
    "seeds": [0, 1],
    "scale": {"samples": 2},
}


def masks(level: int) -> np.ndarray:
    """Return ``(mask, frame, 21)``, 1 where known: two masks of so many markers."""
    rng = np.random.default_rng(level)
    known = np.ones((2, 20, 7, 3), dtype=np.uint8)
    for mask in known:
        mask[2:18, rng.choice(7, level, replace=False)] = 0
    return known.reshape(2, 20, 21)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "markers"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    motion = rng.normal(1000, 200, (1, 7, 3)) + rng.normal(0, 5, (60, 7, 3)).cumsum(axis=0)
    write_c3d(folder / "take.c3d", motion, POINTS)
    np.savez(folder / "masks.npz", some_2=masks(2), some_3=masks(3))
    return tmp_path / "data"


def test_a_run_prints_published_errors_beside_its_own(
    root: Path, tmp_path: Path, bench: Bench, undrawn: None
) -> None:
    """Checked against linear interpolation and the train means, computed here by numpy."""
    ended = bench(*run_of(PROTOCOL, tmp_path), "--data-root", root)
    assert ended.code == 0, ended.err + ended.out
    assert "theirs, published" in ended.out
    assert "5 fits and" in ended.out  # one for both seeds, but for the VAE
    run = tmp_path / "results" / "small" / "latest"
    table = pd.read_csv(run / "published.csv")
    assert set(table["published"].unique()) == {2.25, 3.5}
    assert set(table["seeds"]) == {2}
    index = table.assign(inference=table["inference"].fillna(""))
    value = index.set_index(["model", "inference", "level"])["value"]

    from bench.datasets.archive import File
    from bench.datasets.points import read_points

    motion = read_points(File(root / "markers" / "take.c3d")).positions
    test, frames = motion[10:30].reshape(20, 21), np.arange(20)
    blocks = np.stack([motion[start : start + 20] for start in (0, *range(30, 45, 5))])
    for level in (2, 3):
        line: list[float] = []
        apart: list[float] = []
        all_of_it: list[float] = []
        for known in masks(level).astype(bool):
            hidden = ~known
            filled = test.copy()
            for column in np.flatnonzero(hidden.any(axis=0)):
                seen = known[:, column]
                filled[:, column] = np.interp(frames, frames[seen], test[seen, column])
            line.append(np.abs(filled - test)[hidden].mean())
            for errors, rows in ((apart, blocks[1:]), (all_of_it, blocks)):
                errors.append(np.abs(rows.mean(0).reshape(20, 21) - test)[hidden].mean())
        assert value["linear", "", level] == pytest.approx(np.mean(line), rel=1e-4)
        assert value["mean", "", level] == pytest.approx(np.mean(apart), rel=1e-4)
        assert value["mean_leak", "", level] == pytest.approx(np.mean(all_of_it), rel=1e-4)
    metrics = set(pd.read_csv(run / "imputation.csv")["metric"])
    assert not {"bone_error", "bones_in_range"} & metrics
    assert {"mae", "mpjpe", "border_jump"} <= metrics
    overlap = "train take[0:20] of action 'leak' overlaps the test"
    assert overlap in (run / "published.md").read_text()
    shown = bench("show", run, "published")
    assert shown.code == 0
    assert "theirs, published" in shown.out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": [0, 2]}, "occlusion.markers: the data come with 2 masks of level 2, so seeds"),
        (
            {"occlusion": {"markers": {**PROTOCOL["occlusion"]["markers"], "levels": [2, 3, 4]}}},
            "occlusion.markers: the data come with no masks of level 4; of level 2, 3",
        ),
    ],
)
def test_masks_that_do_not_exist_are_named_before_anything_runs(
    root: Path, tmp_path: Path, bench: Bench, change: dict[str, Any], message: str
) -> None:
    ended = bench(*run_of(PROTOCOL | change, tmp_path), "--data-root", root)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert message in ended.err
    assert not (tmp_path / "results" / "small").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"occlusion": "featuers"}, "published_imputation.0.occlusion: no entry 'featuers'"),
        ({"errors": {4: 1}}, "errors: occlusion.features has no level 4; it has 3, 10%, 50%"),
        ({"errors": {}}, "published_imputation.0.errors"),
        ({"errors": {3: -1}}, "published_imputation.0.errors"),
        ({"metric": "bone_error"}, "published_imputation.0.metric"),
    ],
)
def test_published_errors_belong_to_a_level(change: dict[str, Any], message: str) -> None:
    entry = {"imputer": "theirs", "source": "me", "occlusion": "features", "errors": {"10%": 1}}
    assert resolve({**TINY, "published_imputation": [entry]}).published_imputation
    with pytest.raises(InputError) as refused:
        resolve({**TINY, "published_imputation": [entry | change]})
    assert message in str(refused.value)
