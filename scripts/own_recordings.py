"""How much of an error is for want of knowing the person: spectral Gaussians with and without.

    python scripts/own_recordings.py --data-root DIR [--windows 40]

Valid windows of CMU are completed by Gaussians that were fitted to the train people, and by ones
that were fitted to other recordings of the same person too, half of them at a time. The second is
no fair imputer: it says what knowing the person would be worth. MSE over hidden values, mm squared,
of the best of three drifts.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from bench.datasets.build import load
from bench.datasets.cmu import CMU
from bench.motion import Windows, derive_seed
from bench.motion.mechanisms.base import Level, Mechanism
from bench.motion.mechanisms.features import Features
from bench.motion.mechanisms.frames import Frames
from bench.motion.mechanisms.future import Future
from bench.motion.mechanisms.gaps import Gaps
from bench.motion.mechanisms.inbetween import Inbetween
from bench.motion.mechanisms.joints import Joints
from bench.motion.mechanisms.limb_gaps import LimbGaps
from bench.motion.mechanisms.limbs import Limbs
from models.spectral_gaussian import SpectralGaussian

DRIFTS = (0.1, 10.0, 100.0)
CONDITIONS: tuple[tuple[type[Mechanism], str], ...] = (
    (Features, "50%"),
    (Joints, "4"),
    (Limbs, "1"),
    (Gaps, "500 ms"),
    (Gaps, "1000 ms"),
    (LimbGaps, "500 ms"),
    (LimbGaps, "1000 ms"),
    (Frames, "400 ms"),
    (Frames, "800 ms"),
    (Future, "600 ms"),
    (Inbetween, "400 ms"),
)


def joined(one: Windows, other: Windows) -> Windows:
    """Return the windows of both."""
    motion = np.concatenate([one.motion[:], other.motion[:]])
    index = pd.concat([one.index, other.index], ignore_index=True)
    return Windows(motion, index, one.fps, one.skeleton)


def errors(train: Windows, test: Windows) -> dict[str, torch.Tensor]:
    """Return the sums over test windows of their errors by each drift, by condition."""
    model = SpectralGaussian(train.spec)
    model.estimate(train)
    motion, found = test.tensor().double(), {}
    for cls, level in CONDITIONS:
        mechanism, total = cls(level=Level.parse(level)), torch.zeros(len(DRIFTS))
        for row, window in enumerate(motion):
            name = f"{test.index['source'].iloc[row]}@{test.index['start'].iloc[row]}"
            generator = np.random.default_rng(derive_seed("own", cls.name, level, name))
            hidden = mechanism.hide(train.spec, generator, window.float().numpy())
            mask = torch.from_numpy(hidden).flatten()
            values = window.flatten()[None]
            for number, drift in enumerate(DRIFTS):
                filled = model.gaussian(drift).given(mask).mean(values)
                total[number] += (filled - values[:, mask]).square().mean()
        found[f"{cls.name} {level}"] = total
    return found


def main() -> None:
    """Print a row for each condition."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--windows", type=int, default=40)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        splits = load(CMU(), asked.data_root, Path(folder)).splits
        train, valid = splits["train"], splits["valid"]
        source, person = (valid.index[name].to_numpy(str) for name in ("source", "subject"))
        others: dict[str, torch.Tensor] = {}
        own: dict[str, torch.Tensor] = {}
        tested = 0
        for name in sorted(set(person)):
            recordings = np.unique(source[person == name])
            if len(recordings) < 2:
                continue
            for half in (0, 1):
                some = np.isin(source, recordings[half::2])
                rest = np.isin(source, recordings[1 - half :: 2])
                test = valid.take(some).thin(asked.windows // 4)
                known = joined(train, valid.take(rest))
                tested += len(test)
                for total, fitted in ((others, train), (own, known)):
                    for condition, error in errors(fitted, test).items():
                        total[condition] = total.get(condition, torch.zeros(len(DRIFTS))) + error
    print(f"{tested} windows\n{'hidden':<18} {'others':>8} {'own too':>8} {'ratio':>6}")
    for condition in others:
        before, after = (float(one[condition].min()) / tested for one in (others, own))
        print(f"{condition:<18} {before:8.0f} {after:8.0f} {after / before:6.2f}")


if __name__ == "__main__":
    main()
