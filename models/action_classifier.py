"""Action recognition: the classifier that evaluates samples of conditional models.

A small temporal convolutional network, since it only has to distinguish actions and its train sets
are small. Evaluating samples by the accuracy of a classifier fitted to real motion and by distances
between its features follows Guo et al., Action2Motion (2020); their classifier is recurrent.
"""

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.fitting.training import FitContext, TrainSettings, train
from bench.motion import MotionSpec, Windows
from models.base import Classifier

KERNEL = 5
"""Frames of a convolution's kernel."""


class ActionClassifier(Classifier):
    """Temporal convolutions that classify a window's action; evaluates samples, completes none."""

    name = "action_classifier"
    trained = True

    class Settings(TrainSettings):
        """The network, and how to fit."""

        width: int = Field(64, ge=1, description="channels of each layer")
        layers: int = Field(3, ge=1)
        features: int = Field(32, ge=2, description="size of the last hidden layer")
        dropout: float = Field(0.3, ge=0, lt=1)
        epochs: int = Field(30, ge=1)
        batch_size: int = Field(64, ge=1)
        learning_rate: float = Field(1e-3, gt=0)
        weight_decay: float = Field(1e-4, ge=0)
        noise: float = Field(10.0, ge=0, description="of Gaussian noise on train windows, mm")

    settings: Settings
    weights: Tensor

    def __init__(self, spec: MotionSpec, settings: Settings | None = None) -> None:
        if len(spec.actions) < 2:
            raise ValueError(
                "name two or more actions to classify: actions at the top of the protocol"
            )
        super().__init__(spec, settings)
        options = self.settings
        widths = (spec.nodes, *(options.width,) * options.layers)
        self.convolutions = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv1d(below, options.width, KERNEL, padding=KERNEL // 2),
                    nn.GELU(),
                    nn.Dropout(options.dropout),
                )
                for below in widths[:-1]
            )
        )
        self.register_buffer("weights", torch.ones(len(spec.actions)))
        self.pooled = nn.Linear(2 * options.width, options.features)
        self.output = nn.Linear(options.features, len(spec.actions))

    def fit(
        self, train_windows: Windows, valid: Windows, context: FitContext | None = None
    ) -> None:
        """Minimise the cross entropy of the actions, ignoring windows of other actions.

        Raises:
            ValueError: no train window, or no validation window, has one of the actions.
        """
        super().fit(train_windows, valid)
        known = _of_actions(train_windows, self.spec.actions)
        times = known.labels(self.spec.actions).bincount(minlength=len(self.spec.actions))
        # Equal weight per action; otherwise actions of long recordings would dominate the loss and
        # the choice of the best epoch.
        self.weights.copy_(len(known) / times.clamp(min=1) / len(times))
        unseen = _of_actions(valid, self.spec.actions)
        train(self, known, unseen, self.settings, context or FitContext())

    def loss_inputs(self, windows: Windows) -> dict[str, Tensor]:
        """Return ``action``, ``(window,)`` the index of each window's action; -1 if unknown."""
        return {"action": windows.labels(self.spec.actions)}

    def losses(self, motion: Tensor, action: Tensor) -> dict[str, Tensor]:
        """Return the cross entropy in nats, weighted per action, and the accuracy (``right``)."""
        if self.training:
            motion = motion + self.settings.noise * torch.randn_like(motion)
        scores = self.scores(self.features(motion))
        right = (scores.argmax(dim=1) == action).float().mean()
        return {"loss": cross_entropy(scores, action, self.weights), "right": right}

    def features(self, motion: Tensor) -> Tensor:
        """Return ``(window, feature)``, from each channel's mean and maximum over time."""
        # One scale for all coordinates: those that hardly move must not be amplified.
        scaled = (motion - self.mean.mean(dim=0)) / self.deviation.square().mean().sqrt()
        channels = self.convolutions(scaled.flatten(2).transpose(1, 2))
        return self.pooled(torch.cat([channels.mean(dim=2), channels.amax(dim=2)], dim=1))

    def scores(self, features: Tensor) -> Tensor:
        """Return ``(window, action)`` logits."""
        return self.output(features)


def _of_actions(windows: Windows, actions: tuple[str, ...]) -> Windows:
    known = (windows.labels(actions) >= 0).numpy()
    if not known.any():
        raise ValueError(f"no window has one of the actions {', '.join(actions)}")
    return windows.take(known)
