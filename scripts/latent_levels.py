"""What each level of latents of a run's masked VAE carries, and what is lost without it.

    python scripts/latent_levels.py RUN [--imputer masked_vae] [--data-root DIR]

Of the run's valid windows, all seen and with an arm or leg hidden: the KL of each level's posterior
from its prior, and the errors of reconstruction and of completion when latents are the mean of
their prior, given those above, in place of what the encoder infers.
"""

import argparse
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from bench.datasets.build import load as load_data
from bench.fill.run_imputer import load
from bench.motion.mechanisms.base import Level
from bench.motion.mechanisms.limbs import Limbs
from models.gaussian import Gaussian
from models.masked_vae import UPPER, MaskedVAE

WINDOWS = 400


@torch.no_grad()
def rates(model: MaskedVAE, motion: Tensor, hidden: Tensor) -> list[float]:
    """Return the KL of each level, nats, mean over windows; latents are posteriors' means."""
    _, posteriors, priors = model._top_down(model._encoded(motion, hidden), Gaussian.centre)
    return [float(q.kl(p).mean()) for q, p in zip(posteriors, priors, strict=True)]


@torch.no_grad()
def completed(model: MaskedVAE, motion: Tensor, hidden: Tensor, without: set[int]) -> Tensor:
    """Return what is decoded where nothing is hidden, else the completion, without some levels."""
    latents: list[Tensor] = []

    def inferred(posterior: Gaussian) -> Tensor:
        latents.append(posterior.mean)
        return posterior.mean

    model._top_down(model._encoded(motion, hidden), inferred)
    chosen: list[Tensor] = []

    def replaced(prior: Gaussian) -> Tensor:
        level = len(chosen)
        chosen.append(prior.mean if level in without else latents[level])
        return chosen[-1]

    model._top_down(None, replaced, len(motion))
    decoded = model.decode(torch.cat([one.transpose(0, 1).flatten(1) for one in chosen], dim=1))
    if not hidden.any():
        return decoded.motion(decoded.mean)
    return decoded.given(motion, hidden).fill(Gaussian.centre)


def table(model: MaskedVAE, motion: Tensor, hidden: Tensor) -> pd.DataFrame:
    """Return a row for each set of levels that is replaced."""
    seen = torch.zeros_like(hidden)
    levels = range(len(model.settings.latents))
    names = [f"z{level}" for level in levels]
    sets: dict[str, set[int]] = {"none": set(), **{names[level]: {level} for level in levels}}
    sets[" and ".join(names[:UPPER])] = set(range(UPPER))
    whole, limbs = rates(model, motion, seen), rates(model, motion, hidden)
    rows = []
    for name, without in sets.items():
        decoded = completed(model, motion, seen, without)
        filled = completed(model, motion, hidden, without)
        rows.append(
            {
                "replaced": name,
                "kl_nats": sum(whole[level] for level in without) or None,
                "kl_limbs_nats": sum(limbs[level] for level in without) or None,
                "reconstruction_rmse_mm": float((decoded - motion).square().mean().sqrt()),
                "limbs_mse_mm2": float((filled - motion)[hidden].square().mean()),
            }
        )
    return pd.DataFrame(rows).round(1)


def main() -> None:
    """Print the table of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--imputer", default="masked_vae")
    parser.add_argument("--data-root", type=Path)
    asked = parser.parse_args()
    found = load(asked.run, asked.imputer)
    assert isinstance(found.model, MaskedVAE), f"{asked.imputer} is no masked_vae"
    store = next(one / ".store" for one in asked.run.resolve().parents if (one / ".store").is_dir())
    data = load_data(found.protocol.dataset, asked.data_root, store / "windows")
    valid = data.splits["valid"].thin(WINDOWS)
    motion = valid.tensor()
    hidden = torch.from_numpy(Limbs(level=Level.parse("1")).occluded(valid))
    print(table(found.model, motion, hidden).to_string(index=False))


if __name__ == "__main__":
    main()
