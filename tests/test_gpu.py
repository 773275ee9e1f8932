"""Models on a GPU: float32 results equal those of the CPU; fits and runs succeed."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.core.registry import INFERENCES, MODELS
from bench.fitting.training import FitContext
from models.base import Imputer
from tests.conftest import TINY, Bench, run_of, walk
from tests.predictors.helpers import SMALL as PREDICTORS
from tests.predictors.helpers import build, perturb, windows_with_future

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU"),
]
SMALL: dict[str, dict[str, Any]] = {
    "hgvae": {"latents": [[1, 8], [4, 4]], "width": 16},
    "vae": {"hidden": [16, 8], "latent": 4},
    "hmvae": {"latents": [[18, 8], [54, 4]], "width": 16},
}
TRAIN, TEST = walk(64, seed=3), walk(16, seed=4)
OCCLUDED = torch.rand(TEST.motion.shape, generator=torch.Generator().manual_seed(0)) < 0.2


def fitted(name: str, device: str, **settings: Any) -> Any:
    """Return a model fitted for three epochs on a device, and its loss history."""
    cls = MODELS.get(name)
    chosen = {"epochs": 3, "batch_size": 16, "learning_rate": 1e-3, **SMALL[name], **settings}
    torch.manual_seed(0)
    model = cls(TRAIN.spec, cls.Settings(**chosen))
    context = FitContext(seed=1, device=device)
    model.fit(TRAIN, TEST, context)
    return model, context.history


def both(function: Any, model: Any, *tensors: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values of a function of a model and tensors on the CPU and on the GPU."""
    here = function(model.cpu(), *tensors)
    there = function(model.cuda(), *(tensor.cuda() for tensor in tensors))
    return here, there.cpu()


@pytest.mark.parametrize("name", SMALL)
def test_scores_on_a_gpu_equal_those_on_the_cpu(name: str) -> None:
    model = perturb(fitted(name, "cpu")[0]).eval()
    motion = TEST.tensor()
    for function in (
        lambda model, motion: model.log_posterior(motion),
        lambda model, motion: model.elbo(motion),
        lambda model, motion: model.reconstruct(motion),
    ):
        with torch.no_grad():
            torch.testing.assert_close(*both(function, model, motion), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("name", SMALL)
def test_completions_on_a_gpu_equal_those_on_the_cpu(name: str) -> None:
    model, _ = fitted(name, "cpu")

    def complete(model: Imputer, motion: Tensor, occluded: Tensor) -> Tensor:
        model.inference = INFERENCES.get("map")(steps=5)
        return model.impute(motion, occluded).motion

    torch.testing.assert_close(*both(complete, model, TEST.tensor(), OCCLUDED), rtol=0, atol=0.5)


@pytest.mark.parametrize("name", PREDICTORS)
def test_predictions_on_a_gpu_equal_those_on_the_cpu(name: str) -> None:
    windows = windows_with_future(6)
    predictor = build(name, windows, **PREDICTORS[name])
    with torch.no_grad():
        predicted = both(lambda model, past: model.extrapolate(past), predictor, windows.tensor())
    torch.testing.assert_close(*predicted, rtol=1e-3, atol=0.5)


@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
@pytest.mark.parametrize("name", SMALL)
def test_losses_of_a_fit_on_a_gpu_are_near_those_on_the_cpu(name: str, precision: str) -> None:
    """Random numbers differ between devices, so losses are near each other, not equal."""
    _, here = fitted(name, "cpu")
    model, there = fitted(name, "cuda", precision=precision)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert [row["loss"] for row in there] == pytest.approx([row["loss"] for row in here], rel=0.05)


def test_a_resumed_fit_on_a_gpu_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    ended = []
    for folder, stop in ((tmp_path / "whole", None), (tmp_path / "stopped", 2)):
        torch.manual_seed(0)
        cls = MODELS.get("hgvae")
        settings = cls.Settings(epochs=4, batch_size=16, **SMALL["hgvae"])
        for at in filter(None, (stop, 5)):
            model = cls(TRAIN.spec, settings)

            def report(progress: Any, at: int = at) -> None:
                if progress.epoch == at:
                    raise KeyboardInterrupt

            context = FitContext(seed=1, device="cuda", folder=folder, report=report)
            folder.mkdir(exist_ok=True)
            try:
                model.fit(TRAIN, TEST, context)
            except KeyboardInterrupt:
                torch.manual_seed(0)
                continue
        ended.append([row["valid_loss"] for row in context.history])
    assert ended[1] == pytest.approx(ended[0], rel=1e-4)


def test_a_run_on_a_gpu_records_the_device(tmp_path: Path, bench: Bench, undrawn: None) -> None:
    protocol = TINY | {"resources": {"device": "cuda"}, "seeds": [0]}
    ended = bench(*run_of(protocol, tmp_path))
    assert ended.code == 0, ended.err
    facts = json.loads((tmp_path / "results/tiny/latest/provenance.json").read_text())
    assert {fit["device"] for fit in facts["fits"].values()} == {"cuda"}
    assert torch.cuda.get_device_name() in json.dumps(facts)
