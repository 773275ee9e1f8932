"""Sample cells: draw windows from a model; the judge scores drawn and real windows the same way."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
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
"""Windows that are passed to a model or judge at a time."""


@dataclass(frozen=True)
class Samples:
    """Windows drawn from models, compared with the test windows.

    Attributes:
        protocol: defines the number of windows to draw, and their actions.
        train: the windows that models were fitted on.
        test: the real windows to compare with.
        device: torch device to compute on.
    """

    protocol: Protocol
    train: Windows
    test: Windows
    device: str

    @torch.no_grad()
    def draw(self, model: GenerativeImputer, seed: int, judge: Classifier | None) -> CellResult:
        """Draw windows from a model, and score their bone lengths and the judge's features.

        Args:
            model: the fitted model.
            seed: of the draws.
            judge: the fitted classifier; None to score bone lengths alone.

        Raises:
            FloatingPointError: a drawn window is not finite.
        """
        actions = self._actions()
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed("sample", seed))
            if isinstance(model, ConditionalImputer):
                drawn = model.sample_actions(actions)
            else:
                # It takes no action: its accuracy shows what ignoring the action yields.
                drawn = model.sample(len(actions))
        table = self._bones(drawn, actions)
        if not torch.isfinite(drawn).all():
            raise FloatingPointError(f"{model.name} drew windows with values that are not finite")
        if judge is not None:
            table = self._with_scores(table, drawn, judge)
        return CellResult(table, drawn.cpu().numpy())

    def rescore(self, drawn: torch.Tensor) -> pd.DataFrame:
        """Return the bone-length scores of kept windows.

        Args:
            drawn: ``(window, frame, joint, 3)`` motion that ``draw`` returned, mm.

        Raises:
            ValueError: the motion does not have the shape that this protocol draws.
        """
        actions = self._actions()
        check_shape(drawn, (len(actions), *self.test.motion.shape[1:]))
        return self._bones(drawn, actions)

    @torch.no_grad()
    def judge_real(self, judge: Classifier) -> pd.DataFrame:
        """Judge the real test windows like drawn ones, as a reference for those of models.

        Their Fréchet distance is that of train windows, as many of each action as models draw.
        """
        table = self._with_scores(window_table(self.test), self.test.tensor(), judge)
        counts = judging.shares(
            judge.spec.actions, self.test.index["action"], self.protocol.scale.samples
        )
        drawn = self.train.take(judging.matching_windows(self.train.index["action"], counts))
        train = self._judge(judge, drawn.tensor(), drawn.index["action"])
        whole = table["window"] == judging.SET
        table.loc[whole, "frechet"] = judging.frechet(
            train.features, self._judged_real(judge).features
        )
        return table

    def _actions(self) -> list[str]:
        """Return the action to draw for each window; empty strings if the protocol has none."""
        count = self.protocol.scale.samples
        if not self.protocol.actions:
            return [""] * count
        return judging.shares(self.protocol.actions, self.test.index["action"], count)

    def _bones(self, drawn: torch.Tensor, actions: list[str]) -> pd.DataFrame:
        """Compare the bone lengths of drawn windows with those of real ones, if there are bones."""
        names = [f"sample@{number}" for number in range(len(drawn))]
        labels = {"window": names, "source": names, "subject": "", "action": actions, "share": 0.0}
        bones = self.protocol.spec.skeleton.bones
        if not bones:
            return pd.DataFrame(labels)
        lengths = partial(metrics.bone_lengths, bones=bones)
        real = batched_windows(lengths, self.test, self.device)
        share, excess = metrics.bones_in_range(metrics.bone_lengths(drawn, bones), real)
        return pd.DataFrame(
            {**labels, "bones_in_range": share.cpu().numpy(), "bone_excess": excess.cpu().numpy()}
        )

    def _with_scores(
        self, table: pd.DataFrame, motion: torch.Tensor, judge: Classifier
    ) -> pd.DataFrame:
        """Return a table with the judge's scores of each window, and a row for the whole set."""
        windows = self._judge(judge, motion, table["action"])
        judged = table.assign(action_told=windows.right)
        names = self.protocol.spec.skeleton.names
        if {"left_foot", "right_foot"} <= set(names):
            feet = names.index("left_foot"), names.index("right_foot")
            skate = metrics.foot_skate(motion, feet, self.protocol.spec.fps)
            judged["foot_skate"] = skate.cpu().numpy()
        named = {"window": judging.SET, "source": judging.SET, "subject": "", "action": ""}
        whole = pd.DataFrame(
            [named | {"share": 0.0} | judging.set_metrics(windows, self._judged_real(judge))]
        )
        return pd.concat([judged, whole], ignore_index=True)

    def _judged_real(self, judge: Classifier) -> judging.Judged:
        """Return the judge's features and labels of the real test windows with known actions."""
        known = self.test.take(self.test.index["action"].isin(judge.spec.actions).to_numpy())
        return self._judge(judge, known.tensor(), known.index["action"])

    def _judge(
        self, judge: Classifier, motion: torch.Tensor, actions: Iterable[str]
    ) -> judging.Judged:
        """Return a judge's features and labels of windows; an unknown action becomes empty."""
        known = np.array(judge.spec.actions, dtype=object)
        features = batched(judge.features, motion.to(self.device))
        labels = judge.scores(features).argmax(dim=1).cpu().numpy()
        named = [action if action in judge.spec.actions else "" for action in actions]
        return judging.Judged(
            features.double().cpu().numpy(), np.array(named, dtype=object), known[labels]
        )


def batched(function: Callable[[torch.Tensor], Any], motion: torch.Tensor) -> torch.Tensor:
    """Return a function's outputs for all windows, computed ``BATCH`` windows at a time."""
    return torch.cat([function(part) for part in motion.split(BATCH)])


def batched_windows(
    function: Callable[[torch.Tensor], Any], windows: Windows, device: str
) -> torch.Tensor:
    """Return a function's outputs for all windows, read and computed ``BATCH`` at a time."""
    return torch.cat([function(part.tensor().to(device)) for part in windows.parts(BATCH)])
