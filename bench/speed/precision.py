"""A train step of the paper-size HG-VAE in reduced precision, compared with float32.

On a GPU if one is available, else on the CPU.
"""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from bench.fitting.precision import Precision
from bench.protocol.listing import PAPER_SPEC
from bench.speed.hgvae import PUBLISHED, WINDOWS
from bench.speed.measure import Result, Setup, compare_with_gemm, gemm_rate, in_turns
from bench.speed.published import PublishedHGVAE
from bench.speed.work import batch_gflop, train_step, windows
from models.hgvae import HGVAE

REDUCED: dict[str, tuple[Precision, ...]] = {"cpu": ("bf16",), "cuda": ("tf32", "bf16")}
BATCHES = {"cpu": (WINDOWS,), "cuda": (WINDOWS, 4096)}
GPU_SHARE = 0.4
"""Target share of the bf16 GEMM rate, for the largest batch on a GPU."""
GPU_RATIO = 5.0
"""Target speed-up on a GPU over the published code, which computes in float32."""


def precision(setup: Setup) -> list[Result]:
    """Time train steps in each precision, compared with float32, GEMM and published code."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    setup = replace(setup, device=device)
    rows: list[Result] = []
    for count in BATCHES[device]:
        motion = windows(count, device=device)
        for reduced in REDUCED[device]:
            rows += _compare_with_float32(setup, motion, reduced)
    if device == "cuda" and "hgvae" in setup.against:
        rows.append(_compare_with_published(setup))
    return rows


def _model(device: str, products: Precision, **settings: object) -> HGVAE:
    chosen = HGVAE.Settings(**{"precision": products, **settings})
    return HGVAE(PAPER_SPEC, chosen).to(device)


def _compare_with_float32(setup: Setup, motion: Tensor, reduced: Precision) -> list[Result]:
    model = _model(setup.device, reduced)
    what = f"HG-VAE train step in {reduced} on {setup.device}, {len(motion)} windows"
    gemm = partial(gemm_rate, setup.device, torch.bfloat16 if reduced == "bf16" else torch.float32)
    full = train_step(_model(setup.device, "float32"), motion)
    (mine, other), rates = in_turns(setup.rounds, what, train_step(model, motion), full, gemm=gemm)
    count = batch_gflop(partial(train_step, model), motion)
    by_gemm = compare_with_gemm("precision", what, mine, count, rates, setup.malloc)
    largest = setup.device == "cuda" and len(motion) == max(BATCHES["cuda"])
    wanted = GPU_SHARE if reduced == "bf16" and largest else None
    return [
        Result("precision", what, mine, "float32", other, None, "s", count, count, setup.malloc),
        replace(by_gemm, wanted=wanted, against=f"GEMM in {reduced}"),
    ]


def _compare_with_published(setup: Setup) -> Result:
    """Time a bf16 train step and that of the published network, on a GPU."""
    motion = windows(WINDOWS, device=setup.device)
    theirs = PublishedHGVAE(setup.against["hgvae"], setup.device)
    theirs.network.to(setup.device)
    ours = _model(setup.device, "bf16", **HGVAE.presets["published_code"])
    what = f"HG-VAE train step in bf16 on {setup.device}, {WINDOWS} windows"
    step = train_step(ours, motion)
    (mine, other), _ = in_turns(setup.rounds, what, step, lambda: theirs.train_step(motion))
    return Result("precision", what, mine, PUBLISHED, other, GPU_RATIO, malloc=setup.malloc)
