"""A train step of the paper-size HG-VAE in fewer digits, beside the same in float32.

On a GPU where torch sees one, else on the CPU.
"""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from bench.fitting.precision import Precision
from bench.protocol.listing import PAPER_SPEC
from bench.speed.hgvae import PUBLISHED, WINDOWS
from bench.speed.measure import Result, Setup, against_gemm, gemm_rate, in_turns
from bench.speed.published import PublishedHGVAE
from bench.speed.work import of_windows, train_step, windows
from models.hgvae import HGVAE

FEW: dict[str, tuple[Precision, ...]] = {"cpu": ("bf16",), "cuda": ("tf32", "bf16")}
BATCHES = {"cpu": (WINDOWS,), "cuda": (WINDOWS, 4096)}
GPU_SHARE = 0.4
"""Of the bf16 rate, wanted of the largest batch on a GPU."""
GPU_RATIO = 5.0
"""Wanted of a GPU beside the published code there, which computes in float32."""


def precision(setup: Setup) -> list[Result]:
    """Time train steps of each precision beside float32, the GEMM rate, and published code."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    setup = replace(setup, device=device)
    rows: list[Result] = []
    for count in BATCHES[device]:
        motion = windows(count, device=device)
        for few in FEW[device]:
            rows += _beside_float32(setup, motion, few)
    if device == "cuda" and "hgvae" in setup.against:
        rows.append(_beside_published(setup))
    return rows


def _model(device: str, few: Precision, **settings: object) -> HGVAE:
    chosen = HGVAE.Settings(**{"precision": few, **settings})
    return HGVAE(PAPER_SPEC, chosen).to(device)


def _beside_float32(setup: Setup, motion: Tensor, few: Precision) -> list[Result]:
    model = _model(setup.device, few)
    what = f"HG-VAE train step in {few} on {setup.device}, {len(motion)} windows"
    gemm = partial(gemm_rate, setup.device, torch.bfloat16 if few == "bf16" else torch.float32)
    whole = train_step(_model(setup.device, "float32"), motion)
    (mine, other), rates = in_turns(setup.rounds, what, train_step(model, motion), whole, gemm=gemm)
    count = of_windows(partial(train_step, model), motion)
    beside_gemm = against_gemm("precision", what, mine, count, rates, setup.malloc)
    largest = setup.device == "cuda" and len(motion) == max(BATCHES["cuda"])
    wanted = GPU_SHARE if few == "bf16" and largest else None
    return [
        Result("precision", what, mine, "float32", other, None, "s", count, count, setup.malloc),
        replace(beside_gemm, wanted=wanted, against=f"GEMM in {few}"),
    ]


def _beside_published(setup: Setup) -> Result:
    """Time a bf16 step beside the published network's own, on a GPU."""
    motion = windows(WINDOWS, device=setup.device)
    theirs = PublishedHGVAE(setup.against["hgvae"], setup.device)
    theirs.network.to(setup.device)
    ours = _model(setup.device, "bf16", **HGVAE.presets["published_code"])
    what = f"HG-VAE train step in bf16 on {setup.device}, {WINDOWS} windows"
    step = train_step(ours, motion)
    (mine, other), _ = in_turns(setup.rounds, what, step, lambda: theirs.train_step(motion))
    return Result("precision", what, mine, PUBLISHED, other, GPU_RATIO, malloc=setup.malloc)
