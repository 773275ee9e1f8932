"""Gaps of a body's joints, filled by an imputer of a run."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from bench.datasets.synthetic import SKELETON
from bench.motion.body import JOINTS
from tests.conftest import Bench, run_of

FPS = 100.0
NAMES = tuple(JOINTS)


def body(frames: int = 300) -> NDArray[np.float64]:
    """Return a stiff body of 22 joints that walks a curve and turns, ``(frame, joint, 3)``, mm."""
    rest = np.random.default_rng(0).normal(0, 100, (len(NAMES), 3))
    rest[[NAMES.index(name) for name in SKELETON.names]] = SKELETON.rest
    rest[0], rest[1], rest[2], rest[3] = (0, 0, 0), (90, -50, 0), (-90, -50, 0), (0, 110, 0)
    time = np.arange(frames)[:, None] / FPS
    turn = Rotation.from_rotvec(time * [0.3, 2.0, 0.1]).as_matrix()
    path = np.concatenate([800 * np.sin(time), 900 + 30 * np.cos(7 * time), 900 * time], axis=1)
    return np.einsum("fij,pj->fpi", turn, rest) + path[:, None]


@pytest.fixture
def run(tmp_path: Path, bench: Bench, undrawn: None) -> Path:
    protocol = {
        "name": "small",
        "dataset": {"name": "synthetic", "subjects": 4, "seconds": 3.5, "stride": 10},
        "models": {"linear": {}, "vae": {"hidden": [8], "latent": 2, "epochs": 1}},
        "inference": {"map": {"steps": 1}},
        "occlusion": {"features": {"levels": [3]}},
        "seeds": [0],
        "scale": {"train": 8, "valid": 2, "test": 2},
    }
    ended = bench(*run_of(protocol, tmp_path))
    assert ended.code == 0, ended.err
    return tmp_path / "results" / "small" / "latest"


def test_a_stiff_body_is_completed_in_its_own_axes(run: Path, tmp_path: Path, bench: Bench) -> None:
    truth = body()
    given = truth.copy()
    wrist, head = NAMES.index("left_wrist"), NAMES.index("head")
    given[100:160, wrist] = np.nan
    given[200:230, head] = np.nan
    given[40:60, NAMES.index("left_hip")] = np.nan
    np.savez(tmp_path / "walk.npz", positions=given, fps=FPS, names=np.array(NAMES))
    to = tmp_path / "filled.npz"
    command = "fill", tmp_path / "walk.npz", "-o", to, "--run", run
    ended = bench(*command, "--imputer", "linear")
    assert ended.code == 0, ended.err
    filled = np.load(to)["positions"]
    seen = np.isfinite(given)
    assert filled[seen].tobytes() == given[seen].tobytes()
    error = np.linalg.norm(filled - truth, axis=-1)
    # Interpolated in the laboratory, the wrist would be off by many centimetres.
    assert error[100:160, wrist].max() < 3
    assert error[200:230, head].max() < 3
    account = (tmp_path / "filled.npz.gaps.csv").read_text()
    assert account.count("linear") == 2  # the hip is no joint of the run
    assert error[40:60].max() < 30
    assert bench(*command, "--imputer", "vae/map").code == 0
    assert "vae/map" in (tmp_path / "filled.npz.gaps.csv").read_text()
    ended = bench(*command, "--imputer", "magic")
    assert (ended.code, "no imputer 'magic'" in ended.err) == (2, True)
    assert bench(*command).code == 2


def test_a_joint_that_is_never_seen_is_filled_by_an_imputer_alone(
    run: Path, tmp_path: Path, bench: Bench
) -> None:
    given = body()
    wrist, hip = NAMES.index("left_wrist"), NAMES.index("left_hip")
    given[:, wrist] = np.nan
    given[40:60, hip] = np.nan
    np.savez(tmp_path / "walk.npz", positions=given, fps=FPS, names=np.array(NAMES))
    to = tmp_path / "filled.npz"
    command = "fill", tmp_path / "walk.npz", "-o", to
    by_imputer = *command, "--run", run, "--imputer", "linear"

    def filled(*arguments: object) -> NDArray[np.float64]:
        ended = bench(*arguments)
        assert ended.code == 0, ended.err
        found = np.load(to)["positions"]
        assert np.isfinite(found[40:60, hip]).all()
        return found[:, wrist]

    assert np.isnan(filled(*command)).all()
    assert np.isnan(filled(*by_imputer, "--max-gap", "1000")).all()
    # Linear interpolation knows no more of it than the train people's mean, in the body's axes.
    truth = body()
    found = filled(*by_imputer)
    assert np.linalg.norm(found - truth[:, wrist], axis=1).max() < 700
    assert "never,filled,linear" in (tmp_path / "filled.npz.gaps.csv").read_text()


def test_an_exported_imputer_fills_as_that_of_its_run_does(
    run: Path, tmp_path: Path, bench: Bench
) -> None:
    given = body()
    given[100:160, NAMES.index("left_wrist")] = np.nan
    np.savez(tmp_path / "walk.npz", positions=given, fps=FPS, names=np.array(NAMES))
    command = "fill", tmp_path / "walk.npz"
    for imputer, label in (("linear", "linear"), ("vae/map", "vae")):
        file = tmp_path / f"{label}.safetensors"
        ended = bench("export", run, label, "-o", file)
        assert (ended.code, "written" in ended.out) == (0, True), ended.err
        outcomes = []
        for number, source in enumerate((run, file)):
            to = tmp_path / f"{label}{number}.npz"
            assert bench(*command, "-o", to, "--run", source, "--imputer", imputer).code == 0
            outcomes.append(np.load(to)["positions"])
        assert bench(*command, "-o", tmp_path / f"{label}.npz", "--run", file).code == 0
        outcomes.append(np.load(tmp_path / f"{label}.npz")["positions"])
        np.testing.assert_array_equal(outcomes[0], outcomes[1])
        np.testing.assert_array_equal(outcomes[0], outcomes[2])
    ended = bench("export", run, "vae", "-o", tmp_path / "vae.safetensors")
    assert (ended.code, "exists" in ended.err) == (2, True)
    for arguments, reason in (
        ((run, "magic", "-o", tmp_path / "x.safetensors"), "no imputer 'magic'"),
        ((run, "vae/map", "-o", tmp_path / "x.safetensors"), "give vae"),
        ((run, "vae", "-o", tmp_path / "x.pt"), "rename it"),
    ):
        ended = bench("export", *arguments)
        assert (ended.code, reason in ended.err) == (2, True), ended.err
        assert not Path(arguments[-1]).exists()
    for place, reason in (
        (run, "which imputer? give --imputer with one of linear, vae"),
        (tmp_path, f"no run but exported imputers; give --run {tmp_path / 'linear.safetensors'}"),
    ):
        ended = bench(*command, "-o", tmp_path / "z.npz", "--run", place)
        assert (ended.code, reason in ended.err) == (2, True), ended.err
        assert not (tmp_path / "z.npz").exists()
    np.savez(tmp_path / "metres.npz", positions=given / 1000, fps=FPS, names=np.array(NAMES))
    metres = "fill", tmp_path / "metres.npz", "-o", tmp_path / "z.npz", "--run", file
    ended = bench(*metres)
    assert (ended.code, "give --units" in ended.err) == (2, True), ended.err
    assert not (tmp_path / "z.npz").exists()
    assert bench(*metres, "--units", "m").code == 0
    np.testing.assert_allclose(np.load(tmp_path / "z.npz")["positions"] * 1000, outcomes[0], atol=1)
    ended = bench(*command, "-o", "y.npz", "--run", file, "--imputer", "linear")
    assert (ended.code, "holds the imputer 'vae'" in ended.err) == (2, True)
