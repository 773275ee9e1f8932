"""The nets of PyPOTS against PyPOTS itself; and what happens without it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.core.errors import InputError
from bench.fitting.training import FitContext, Progress, TrainingError
from bench.motion import Windows
from bench.motion.mechanisms.base import Level
from bench.motion.mechanisms.features import Features
from bench.motion.mechanisms.joints import Joints
from bench.motion.mechanisms.sampler import MaskSampler
from bench.protocol.resolving import resolve
from models.pypots import NETS, PyPOTS, _since
from tests.conftest import PROJECT, TINY, Bench, changed, run_of, walk
from tests.runs.conftest import latest

installed = pytest.mark.skipif(
    PyPOTS.unavailable() is not None, reason="PyPOTS is not installed: pip install -e '.[pypots]'"
)
SMALL: dict[str, Any] = {
    "width": 8,
    "heads": 2,
    "layers": 1,
    "epochs": 2,
    "batch_size": 6,
    "samples": 2,
    "diffusion_steps": 3,
}
TRAIN = walk(13, 10, seed=1)
TEST = walk(7, 10, seed=2)
DRAWING = {"CSDI", "GPVAE"}
JOINTS = MaskSampler({"joints": (Joints(level=Level.parse("3")),)})


def fitted(net: str, masks: str, context: FitContext | None = None, **more: Any) -> PyPOTS:
    torch.manual_seed(0)
    model = PyPOTS(TRAIN.spec, PyPOTS.Settings(net=net, masks=masks, **{**SMALL, **more}))
    model.fit(TRAIN, TEST, context)
    return model


def numpy_state() -> Any:
    """Return the state of numpy's global generator, which PyPOTS draws from."""
    return np.random.get_state(legacy=False)["state"]["key"].copy()


def masked(windows: Windows) -> tuple[torch.Tensor, torch.Tensor]:
    hidden = Features(level=Level.parse("30%")).occluded(windows)
    return windows.tensor(), torch.from_numpy(hidden)


@pytest.mark.usefixtures("undrawn")
def test_what_a_machine_cannot_run_is_skipped_with_the_reason(
    tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PyPOTS, "unavailable", classmethod(lambda cls: "there is no such library"))
    protocol = {
        "name": "lacking",
        "dataset": TINY["dataset"],
        "models": {"mean": {}, "saits": {"model": "pypots"}},
        "occlusion": {"features": {"levels": [3]}},
        "scale": {"train": 40, "valid": 8, "test": 12},
    }
    for _ in range(2):  # a second run tries again, and skips again
        ended = bench(*run_of(protocol, tmp_path))
        assert ended.code == 1
        assert "skipped saits (seed 0): there is no such library" in ended.out
        assert "Traceback" not in ended.out + ended.err
        folder = tmp_path / "results" / "lacking" / "latest"
        jobs = pd.read_csv(folder / "jobs.csv").set_index("title")
        assert set(jobs.filter(like="saits", axis=0)["status"]) == {"skipped"}
        assert set(jobs.filter(like="saits", axis=0)["error"]) == {"there is no such library"}
        assert set(jobs.filter(like="mean", axis=0)["status"]) == {"done"}
        assert not (folder / "failures.txt").exists()
        table = latest(tmp_path / "results", "imputation.csv", "lacking")
        assert set(table[table["model"] == "saits"]["status"]) == {"skipped"}
        assert set(table[table["model"] == "mean"]["status"]) == {"done"}


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"net": "SAITZ"}, "SAITS"),
        ({"width": 10, "heads": 4}, "width 10 must be even and a multiple of the 4 heads"),
        ({"masks": "stock", "ema": 0.9}, "ema has no effect with masks: stock"),
    ],
)
def test_settings_that_no_net_can_have_are_refused(stated: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        resolve(changed("models/saits", {"model": "pypots", **stated}))


@given(st.lists(st.booleans(), min_size=1, max_size=12))
@settings(max_examples=30)
def test_time_since_a_feature_was_seen_is_counted_in_frames(seen: list[bool]) -> None:
    found = _since(torch.tensor(seen, dtype=torch.float32)[None, :, None])[0, :, 0]
    before = [[frame for frame in range(now) if seen[frame]] for now in range(len(seen))]
    expected = [now - max(frames, default=0) for now, frames in enumerate(before)]
    assert found.tolist() == expected


@installed
def test_models_are_listed_without_importing_pypots() -> None:
    code = (
        "import sys; from bench.core.registry import MODELS; MODELS.get('pypots').Settings(); "
        "assert not [name for name in sys.modules if name.split('.')[0] == 'pypots']"
    )
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=True)


@installed
@pytest.mark.parametrize("net", NETS)
def test_a_net_completes_as_pypots_does(net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted(net, "ours")
    truth, hidden = masked(TEST)
    imputer = model._imputer("cpu", batch_size=SMALL["batch_size"])
    imputer.model.load_state_dict(model.net.state_dict())
    lost = torch.where(hidden, torch.nan, (truth - model.mean) / model.deviation)
    how = {"n_sampling_times": 2} if net in DRAWING else {}
    # PyPOTS' loader draws a number of its own, so that noise would not be the same.
    monkeypatch.setattr(torch, "randn_like", torch.ones_like)
    theirs = torch.as_tensor(imputer.predict({"X": lost.flatten(2).numpy()}, **how)["imputation"])
    if net in DRAWING:  # GP-VAE's are all the same
        theirs = theirs.mean(dim=1)
    expected = theirs.view_as(truth) * model.deviation + model.mean
    ours = model.impute(truth, hidden)
    torch.testing.assert_close(ours.motion, expected.where(hidden, truth), atol=1e-2, rtol=1e-4)
    assert (ours.samples is not None) == (net in DRAWING)
    monkeypatch.undo()
    samples = model.impute(truth, hidden).samples
    if samples is not None:
        assert samples.shape == (2, *truth.shape)
        assert (samples[0] != samples[1])[hidden].float().mean() > 0.99
    if net not in DRAWING:
        apart = torch.cat([model.impute(truth[i : i + 1], hidden[i : i + 1]).motion for i in (2,)])
        torch.testing.assert_close(apart, ours.motion[2:3], atol=1e-2, rtol=1e-5)


@installed
@pytest.mark.parametrize("masks", ["stock", "ours"])
@pytest.mark.parametrize("net", NETS)
def test_a_fit_is_decided_by_its_seed(net: str, masks: str) -> None:
    before = numpy_state()
    first, again, other = (fitted(net, masks, FitContext(seed=seed)) for seed in (2**62, 2**62, 2))
    np.testing.assert_array_equal(before, numpy_state())
    states = [model.state_dict() for model in (first, again, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])
    assert not first.training


@installed
def test_our_masks_are_those_of_the_protocol_and_the_loss_is_over_what_they_hide() -> None:
    model = fitted("SAITS", "ours", FitContext(masks=JOINTS))
    motion = TEST.tensor()
    model.eval()
    torch.manual_seed(3)
    found = float(model.losses(motion)["loss"].detach())
    torch.manual_seed(3)
    generator = np.random.default_rng(int(torch.randint(2**62, ())))
    hidden = torch.from_numpy(JOINTS.draw(TEST.spec, generator, np.asarray(TEST.motion)))
    error = (model.impute(motion, hidden).motion - motion) / model.deviation
    assert found == pytest.approx(float(error[hidden].square().mean()), rel=1e-3)


class BrokenError(Exception):
    pass


@pytest.fixture
def _broken_after(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a net raise an exception in one of its forward passes."""
    error, passes = request.param
    imputer_of = PyPOTS._imputer

    def imputer(self: PyPOTS, device: str, **more: Any) -> Any:
        made, left = imputer_of(self, device, **more), iter(range(passes))

        def fail(module: Any, inputs: Any) -> None:
            if next(left, None) is None:
                raise error

        made.model.register_forward_pre_hook(fail)
        return made

    monkeypatch.setattr(PyPOTS, "_imputer", imputer)


@installed
@pytest.mark.parametrize("_broken_after", [(KeyboardInterrupt(), 6)], indirect=True)
@pytest.mark.usefixtures("_broken_after")
def test_an_interruption_that_pypots_swallows_ends_the_fit() -> None:
    with pytest.raises(KeyboardInterrupt):
        fitted("SAITS", "stock")


@installed
@pytest.mark.parametrize("_broken_after", [(BrokenError("out of order"), 6)], indirect=True)
@pytest.mark.usefixtures("_broken_after")
def test_an_error_that_pypots_swallows_fails_the_fit() -> None:
    with pytest.raises(TrainingError, match=r"PyPOTS: .*out of order"):
        fitted("SAITS", "stock")


@installed
def test_a_stock_fit_reports_its_epochs_and_stops_when_asked_to() -> None:
    reported: list[Progress] = []
    fitted("SAITS", "stock", FitContext(report=reported.append), epochs=3)
    assert [one.epoch for one in reported] == [1, 2, 3]

    def stop(progress: Progress) -> None:
        if progress.epoch == 2:
            raise KeyboardInterrupt("stopped")

    with pytest.raises(KeyboardInterrupt, match="stopped"):
        fitted("SAITS", "stock", FitContext(report=stop), epochs=3)


@installed
@pytest.mark.usefixtures("undrawn")
def test_both_kinds_of_masks_have_rows_in_the_table_of_a_run(tmp_path: Path, bench: Bench) -> None:
    tiny = SMALL | {"model": "pypots", "net": "SAITS"}
    protocol = {
        "name": "nets",
        "dataset": TINY["dataset"],
        "models": {"mean": {}, "stock": tiny | {"masks": "stock"}, "ours": tiny},
        "occlusion": {"features": {"levels": [3]}},
        "scale": {"train": 40, "valid": 8, "test": 12},
    }
    ended = bench(*run_of(protocol, tmp_path))
    assert ended.code == 0, ended.out + ended.err
    table = latest(tmp_path / "results", "imputation.csv", "nets")
    mse = table[table["metric"] == "mse"].set_index("model")
    assert set(mse.index) == {"mean", "stock", "ours"}
    assert set(mse["status"]) == {"done"}
    assert mse["value"].nunique() == 3
