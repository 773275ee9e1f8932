"""The paper-size HG-VAE: times of a train step, MAP and an epoch; peak memory of a step."""

import functools
from collections.abc import Callable

import pandas as pd
import torch
from torch import Tensor

from bench.fitting.training import FitContext, train
from bench.motion import Windows
from bench.protocol.listing import PAPER_SPEC
from bench.speed.measure import (
    Result,
    Setup,
    compare_with_gemm,
    in_child,
    in_turns,
    peak_memory,
    progress,
    seconds,
)
from bench.speed.published import PublishedHGVAE, fixed_noise
from bench.speed.work import batch_gflop, hide, relative, train_step, windows
from models.hgvae import HGVAE
from models.inference.map import Map

WINDOWS = 800
STEPS = 10
CHECKED = 100
"""Windows on which the agreement of both networks is checked."""
MAP_ROUNDS = 2
EPOCH = 2
"""Batches per epoch."""
VALID = 0.1
"""Validation windows per train window."""
RATES = (1.0, 3.0, 10.0, 30.0)
"""Step sizes of Adam, mm, that are tried to reach a posterior in the fewest steps."""
PUBLISHED = "published"


def ascent(model: HGVAE, motion: Tensor, inference: Map) -> Callable[[], Tensor]:
    """Return a function that hides entries of a batch and completes them from the train mean.

    Args:
        model: the network.
        motion: ``(window, frame, joint, 3)``, mm.
        inference: MAP with its steps.
    """
    occluded = hide(motion)
    filled = torch.where(occluded, model.mean, motion)
    return lambda: inference.complete(model, filled, occluded)


def train_alone(setup: Setup) -> list[Result]:
    """Time a train step of the paper's network, compared with the machine's GEMM rate."""
    return [_alone("train", f"train step, {WINDOWS} windows", train_step, setup, setup.rounds)]


def map_alone(setup: Setup) -> list[Result]:
    """Time MAP with the paper's network, compared with the machine's GEMM rate."""
    work = functools.partial(ascent, inference=Map(steps=STEPS))
    rounds = min(setup.rounds, MAP_ROUNDS)
    return [_alone("map", f"MAP, {WINDOWS} windows, {STEPS} steps", work, setup, rounds)]


def _alone(
    row: str,
    what: str,
    work: Callable[[HGVAE, Tensor], Callable[[], object]],
    setup: Setup,
    rounds: int,
) -> Result:
    model = HGVAE(PAPER_SPEC, HGVAE.Settings(precision="float32"))
    motion = windows(WINDOWS)
    count = batch_gflop(functools.partial(work, model), motion)
    (ours,), rates = in_turns(rounds, f"HG-VAE {what}", work(model, motion))
    return compare_with_gemm(row, f"HG-VAE {what}", ours, count, rates, setup.malloc)


def _pair(setup: Setup, z3: bool = True) -> tuple[HGVAE, PublishedHGVAE]:
    """Return our network with the published settings and weights, and the published one."""
    ours = HGVAE(PAPER_SPEC, HGVAE.Settings(**HGVAE.presets["published_code"]))
    theirs = PublishedHGVAE(setup.against["hgvae"])
    if not z3:
        theirs.mute_z3()
    theirs.copy_weights_to(ours)
    return ours, theirs


def train_published(setup: Setup) -> list[Result]:
    """Time a train step of our network and of the published one, with equal weights."""
    ours, theirs = _pair(setup)
    motion = windows(WINDOWS)
    agreement = losses_agree(ours, theirs, motion[:CHECKED])
    step = functools.partial(train_step, ours)
    counts = batch_gflop(step, motion), batch_gflop(_curried(theirs.train_step), motion)
    what = f"HG-VAE train step, {WINDOWS} windows"
    (mine, other), rates = in_turns(
        setup.rounds, what, step(motion), lambda: theirs.train_step(motion)
    )
    note = f"losses and gradients agree to {agreement:.0e}"
    wanted = 2.5 if setup.malloc == "default" else 1.5
    return [
        Result("train", what, mine, PUBLISHED, other, wanted, "s", *counts, setup.malloc, note),
        compare_with_gemm("train", f"{what}, as published", mine, counts[0], rates, setup.malloc),
    ]


def map_published(setup: Setup) -> list[Result]:
    """Time MAP with our network and with the published one, with equal weights."""
    ours, theirs = _pair(setup, z3=False)
    motion = windows(WINDOWS)
    agreement = posteriors_agree(ours, theirs, motion[:CHECKED])
    inference = Map(steps=STEPS, accumulate=True)
    work = functools.partial(ascent, ours, inference=inference)
    reached: list[Tensor] = []

    def published(batch: Tensor) -> Callable[[], object]:
        occluded = hide(batch)
        filled = torch.where(occluded, ours.mean, batch)
        return lambda: reached.append(theirs.ascend(filled, occluded)[1])

    counts = batch_gflop(work, motion), batch_gflop(published, motion)
    what = f"HG-VAE MAP, {WINDOWS} windows, {STEPS} steps"
    rounds = min(setup.rounds, MAP_ROUNDS)
    (mine, other), rates = in_turns(rounds, what, work(motion), published(motion))
    rows = [
        Result(
            "map",
            what,
            mine,
            PUBLISHED,
            other,
            2.5 if setup.malloc == "default" else None,
            "s",
            *counts,
            setup.malloc,
            f"posteriors agree to {agreement:.0e}",
        ),
        compare_with_gemm("map", f"{what}, as published", mine, counts[0], rates, setup.malloc),
    ]
    return [*rows, _time_to_posterior(ours, motion, reached[-1], other, setup)]


def _time_to_posterior(
    ours: HGVAE, motion: Tensor, goal: Tensor, other: tuple[float, ...], setup: Setup
) -> Result:
    """Time the fewest MAP steps that reach the mean published log posterior.

    Step count and size are chosen on some of the windows, then timed on all.

    Args:
        ours: our network.
        motion: ``(window, frame, joint, 3)``, mm.
        goal: log posteriors that the published code reaches, ``(window,)``.
        other: seconds that it takes, by round.
        setup: how to measure.
    """
    candidates = [Map(steps=steps, rate=rate) for steps in range(1, STEPS + 1) for rate in RATES]
    few = motion[:CHECKED]
    best = next(
        (one for one in candidates if _reached(ours, few, one) >= goal[:CHECKED].mean()),
        candidates[-1],
    )
    while _reached(ours, motion, best) < goal.mean() and best.steps < 2 * STEPS:
        best = best.model_copy(update={"steps": best.steps + 1})
    what = f"HG-VAE MAP, to the posterior that {STEPS} published steps reach"
    mine = tuple(seconds(ascent(ours, motion, best)) for _ in other)
    progress(f"{what}: {mine[-1]:.2f} s")
    note = f"{best.steps} steps of {best.rate:g} mm"
    return Result("map", what, mine, PUBLISHED, other, 5.0, malloc=setup.malloc, note=note)


def _reached(model: HGVAE, motion: Tensor, inference: Map) -> Tensor:
    """Return the mean log posterior of z0 to z2 that a MAP ascent reaches."""
    return _posterior(model, ascent(model, motion, inference)()).mean()


@torch.no_grad()
def _posterior(model: HGVAE, motion: Tensor) -> Tensor:
    """Return the log posterior of z0 to z2, ``(window,)``; the published code leaves out z3."""
    parts = [model.log_posterior(batch)[:, :-1] for batch in motion.split(CHECKED)]
    return torch.cat(parts).sum(dim=1)


def losses_agree(ours: HGVAE, theirs: PublishedHGVAE, motion: Tensor) -> float:
    """Return the largest relative difference of loss, KL terms and gradient by the motion.

    Both networks get the same noise. See ``work.relative``.
    """
    generator = torch.Generator().manual_seed(0)
    noise = [
        torch.randn(nodes, len(motion), features, generator=generator)
        for nodes, features in ours.settings.latents
    ]
    mine, other = (motion.clone().requires_grad_() for _ in range(2))
    with fixed_noise(noise):
        losses = ours.losses(mine, kl_weight=1.0)
    loss, rates = theirs.losses(other, noise)
    (gradient,) = torch.autograd.grad(losses["loss"], mine)
    (other_gradient,) = torch.autograd.grad(loss, other)
    levels = torch.stack([losses[f"kl_z{number}"] for number in range(len(noise))])
    return max(
        relative(losses["loss"], loss), relative(levels, rates), relative(gradient, other_gradient)
    )


def posteriors_agree(ours: HGVAE, theirs: PublishedHGVAE, motion: Tensor) -> float:
    """Return the largest relative difference of the windows' log posteriors after MAP.

    The published code never evaluates its last step, so ours takes one step fewer here.
    """
    occluded = hide(motion)
    filled = torch.where(occluded, ours.mean, motion)
    _, posterior = theirs.ascend(filled, occluded)
    mine = ascent(ours, motion, Map(steps=STEPS - 1, accumulate=True))()
    return float(((_posterior(ours, mine) - posterior) / posterior).abs().max())


def epoch(setup: Setup) -> list[Result]:
    """Time an epoch of a fit, compared with its train steps alone.

    An epoch also loads and shuffles windows, checks losses, validates and saves the best weights.
    """
    motion = windows(EPOCH * WINDOWS)
    valid = motion[: int(VALID * len(motion))]
    model = HGVAE(PAPER_SPEC, HGVAE.Settings(precision="float32"))
    settings = model.settings.model_copy(update={"epochs": 1, "batch_size": WINDOWS})

    def fit() -> None:
        train(model, _split(motion), _split(valid), settings, FitContext())

    steps = [train_step(model, batch) for batch in motion.split(WINDOWS)]
    what = f"HG-VAE epoch, {len(motion)} windows, {len(valid)} to validate"
    (whole, bare), _ = in_turns(setup.rounds, what, fit, lambda: [step() for step in steps])
    return [Result("epoch", what, whole, "bare steps", bare, 1 / 1.05, malloc=setup.malloc)]


def _split(motion: Tensor) -> Windows:
    index = pd.DataFrame({"source": "synthetic", "start": range(len(motion))})
    return Windows(motion.numpy(), index, PAPER_SPEC.fps, PAPER_SPEC.skeleton)


def memory(setup: Setup) -> list[Result]:
    """Measure the peak memory of a train step of each network, in processes of their own."""
    ours = in_child(_peak_ours, setup)
    other = in_child(_peak_published, setup)
    what = f"peak memory of a HG-VAE train step, {WINDOWS} windows"
    return [Result("memory", what, (ours,), PUBLISHED, (other,), 4.0, "GB", malloc=setup.malloc)]


def _peak_ours(setup: Setup) -> float:
    model = HGVAE(PAPER_SPEC, HGVAE.Settings(**HGVAE.presets["published_code"]))
    return peak_memory(_twice(train_step(model, windows(WINDOWS))))


def _peak_published(setup: Setup) -> float:
    theirs = PublishedHGVAE(setup.against["hgvae"])
    motion = windows(WINDOWS)
    return peak_memory(_twice(lambda: theirs.train_step(motion)))


def _twice(step: Callable[[], object]) -> Callable[[], object]:
    """Return two steps in one: the peak then includes optimiser state and gradients."""
    return lambda: (step(), step())


def _curried(step: Callable[[Tensor], object]) -> Callable[[Tensor], Callable[[], object]]:
    return lambda motion: lambda: step(motion)
