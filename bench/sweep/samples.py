"""Sample cells: draw windows from a model, and judge drawn and real windows alike."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from bench import metrics
from bench.metrics import judging
from bench.motion import Windows, derive_seed
from bench.protocol.schema import Protocol
from bench.sweep.cell_result import CellResult, check_shape, window_table
from models.base import Classifier, ConditionalImputer, GenerativeImputer

BATCH = 1600
"""Windows that a judge sees at a time."""


@dataclass(frozen=True)
class Samples:
    """Windows drawn from models, compared with the test windows.

    Attributes:
        protocol: how many to draw, and of which actions.
        train: the windows that models were fitted on.
        test: the real windows to compare with.
        device: where to compute.
    """

    protocol: Protocol
    train: Windows
    test: Windows
    device: str

    @torch.no_grad()
    def draw(self, model: GenerativeImputer, seed: int, judge: Classifier | None) -> CellResult:
        """Draw windows from a model; return what their bones and the judge say of them.

        Raises:
            FloatingPointError: a drawn window is not finite.
        """
        actions = self._actions()
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed("sample", seed))
            if isinstance(model, ConditionalImputer):
                drawn = model.sample_actions(actions)
            else:
                # It takes no action: how often it does as asked is the rate of ignoring it.
                drawn = model.sample(len(actions))
        table = self._bones(drawn, actions)
        if not np.isfinite(table["bone_excess"]).all():
            raise FloatingPointError(f"{model.name} drew windows with values not finite")
        if judge is not None:
            table = self._judged(table, drawn, judge)
        return CellResult(table, drawn.cpu().numpy())

    def rescore(self, drawn: torch.Tensor) -> pd.DataFrame:
        """Return what the bones of kept windows say of them.

        Raises:
            ValueError: the windows are not of the shape that this protocol draws.
        """
        actions = self._actions()
        check_shape(drawn, (len(actions), *self.test.motion.shape[1:]))
        return self._bones(drawn, actions)

    @torch.no_grad()
    def judge_real(self, judge: Classifier) -> pd.DataFrame:
        """Judge real test windows as drawn ones are, and train windows as if drawn from them."""
        table = self._judged(window_table(self.test), self.test.tensor(), judge)
        counts = judging.shares(
            judge.spec.actions, self.test.index["action"], self.protocol.scale.samples
        )
        drawn = self.train.take(judging.matching_windows(self.train.index["action"], counts))
        train = self._seen_by(judge, drawn.tensor(), drawn.index["action"])
        whole = table["window"] == judging.SET
        table.loc[whole, "frechet"] = judging.frechet(
            train.features, self._real_as_seen_by(judge).features
        )
        return table

    def _actions(self) -> list[str]:
        """Return the action to draw for each window; empty where models take none."""
        count = self.protocol.scale.samples
        if not self.protocol.actions:
            return [""] * count
        return judging.shares(self.protocol.actions, self.test.index["action"], count)

    def _bones(self, drawn: torch.Tensor, actions: list[str]) -> pd.DataFrame:
        """Compare the bone lengths of drawn windows with those of real ones."""
        bones = self.protocol.spec.skeleton.bones
        real = metrics.bone_lengths(self.test.tensor().to(self.device), bones)
        share, excess = metrics.bones_in_range(metrics.bone_lengths(drawn, bones), real)
        names = [f"sample@{number}" for number in range(len(drawn))]
        labels = {"window": names, "source": names, "action": actions, "share": 0.0}
        return pd.DataFrame(
            {**labels, "bones_in_range": share.cpu().numpy(), "bone_excess": excess.cpu().numpy()}
        )

    def _judged(self, table: pd.DataFrame, motion: torch.Tensor, judge: Classifier) -> pd.DataFrame:
        """Return a table of windows with what a judge says of each, and a row for all of them."""
        windows = self._seen_by(judge, motion, table["action"])
        judged = table.assign(action_told=windows.right)
        names = self.protocol.spec.skeleton.names
        if {"left_foot", "right_foot"} <= set(names):
            feet = names.index("left_foot"), names.index("right_foot")
            skate = metrics.foot_skate(motion, feet, self.protocol.spec.fps)
            judged["foot_skate"] = skate.cpu().numpy()
        labels = {"window": judging.SET, "source": judging.SET, "action": "", "share": 0.0}
        whole = pd.DataFrame([labels | judging.set_metrics(windows, self._real_as_seen_by(judge))])
        return pd.concat([judged, whole], ignore_index=True)

    def _real_as_seen_by(self, judge: Classifier) -> judging.Judged:
        """Return the real test windows of known actions as a judge sees them."""
        known = self.test.take(self.test.index["action"].isin(judge.spec.actions).to_numpy())
        return self._seen_by(judge, known.tensor(), known.index["action"])

    def _seen_by(
        self, judge: Classifier, motion: torch.Tensor, actions: Iterable[str]
    ) -> judging.Judged:
        """Return windows as a judge sees them; an action that it does not know counts as none."""
        known = np.array(judge.spec.actions, dtype=object)
        features = batched(judge.features, motion.to(self.device))
        labels = judge.scores(features).argmax(dim=1).cpu().numpy()
        named = [action if action in judge.spec.actions else "" for action in actions]
        return judging.Judged(
            features.double().cpu().numpy(), np.array(named, dtype=object), known[labels]
        )


def batched(function: Callable[[torch.Tensor], Any], motion: torch.Tensor) -> torch.Tensor:
    """Return what a function makes of every window, ``BATCH`` windows at a time."""
    return torch.cat([function(part) for part in motion.split(BATCH)])
