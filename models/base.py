"""What a model is: something that completes windows, tells odd ones from usual ones, or both.

A new one is a new file in this folder with a subclass of ``Imputer``, ``GenerativeImputer`` or
``Detector`` that has a ``name``; nothing else has to know of it.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from bench.fitting.learner import Learner

SCORE_BATCH = 100


@dataclass(frozen=True)
class Imputation:
    """A completed batch.

    Attributes:
        motion: ``(window, frame, joint, 3)``, mm; observed entries exactly as they were given.
    """

    motion: Tensor


class Model(Learner):
    """What completes windows, or scores them, or both."""


class Imputer(Model):
    """Completes windows; a subclass implements ``complete``."""

    def impute(self, motion: Tensor, occluded: Tensor) -> Imputation:
        """Complete a batch.

        Args:
            motion: ``(window, frame, joint, 3)``, mm. What it holds where ``occluded`` is True is
                never looked at.
            occluded: bool, the same shape, True where the value is hidden.

        Returns:
            The completion, observed entries bit for bit as given.

        Raises:
            FloatingPointError: the model completed with a value that is not finite.
        """
        filled = torch.where(occluded, self.mean, motion)
        completed = torch.where(occluded, self.complete(filled, occluded), motion)
        if not torch.isfinite(completed).all():
            raise FloatingPointError(f"{self.name} completed windows with values not finite")
        return Imputation(completed)

    @abstractmethod
    def complete(self, motion: Tensor, occluded: Tensor) -> Tensor:
        """Return ``motion`` completed; hidden entries arrive holding the train mean."""


class Detector(Model):
    """Tells windows unlike the train windows; a subclass implements ``score``."""

    @abstractmethod
    def score(self, motion: Tensor) -> dict[str, Tensor]:
        """Return ``(window,)`` scores by name; the larger, the less like the train windows.

        A window's scores depend on no other window of ``motion``, ``(window, frame, joint, 3)``.
        """

    def embed(self, motion: Tensor) -> Tensor | None:
        """Return ``(window, feature)`` what stands for a whole window; None where nothing does."""
        return None


class Completion(Protocol):
    """How a generative model completes a window; ``models.inference`` has them."""

    def complete(self, model: "GenerativeImputer", motion: Tensor, occluded: Tensor) -> Tensor:
        """Return ``motion`` completed; hidden entries arrive holding the train mean."""
        ...


class GenerativeImputer(Imputer, Detector):
    """An imputer with a density over windows: it also scores and samples.

    A subclass implements ``log_posterior``, ``elbo``, ``reconstruct`` and ``sample``. Completion
    is left to ``inference``, which varies independently of the model and is to be set before
    ``impute`` is called, as in ``model.inference = Map(steps=10)``.
    """

    map_rate: ClassVar[float] = 1.0
    """Step of MAP ascent, mm, unless the protocol gives another (the paper's, sec. 6.3)."""

    inference: Completion | None = None

    def complete(self, motion: Tensor, occluded: Tensor) -> Tensor:
        """Complete by the chosen inference; raises RuntimeError if none was chosen."""
        if self.inference is None:
            raise RuntimeError(f"set {self.name}.inference, for instance to models.inference.Map()")
        return self.inference.complete(self, motion, occluded)

    @abstractmethod
    def log_posterior(self, motion: Tensor) -> Tensor:
        """Return ``(window, level)`` log posterior densities in nats, with gradients."""

    @abstractmethod
    def elbo(self, motion: Tensor) -> Tensor:
        """Return ``(window,)`` lower bounds of the log density of motion in mm, with gradients.

        In nats, so that models that scale their input differently can be compared. The same
        window has the same bound whatever it is batched with and whenever it is asked for.
        """

    @abstractmethod
    def reconstruct(self, motion: Tensor) -> Tensor:
        """Return the motion that the latents inferred from ``motion`` stand for, mm."""

    @abstractmethod
    def sample(self, count: int) -> Tensor:
        """Return ``(count, frame, joint, 3)`` windows drawn from the model, mm."""

    @torch.no_grad()
    def score(self, motion: Tensor) -> dict[str, Tensor]:
        """Return the negative log posterior, in sum and by level, and the negative ELBO, nats."""
        batches = motion.split(SCORE_BATCH)
        levels = -torch.cat([self.log_posterior(batch) for batch in batches])
        scores = {"nlp": levels.sum(dim=1)}
        if levels.shape[1] > 1:
            scores |= {f"nlp_z{number}": level for number, level in enumerate(levels.T)}
        return scores | {"negative_elbo": -torch.cat([self.elbo(batch) for batch in batches])}


class ConditionalImputer(GenerativeImputer):
    """A generative imputer that can be told what is done; it knows the actions of its ``spec``."""

    @abstractmethod
    def sample(self, count: int, action: str | None = None) -> Tensor:
        """Return ``(count, frame, joint, 3)`` windows of an action, or of none in particular, mm.

        Raises:
            ValueError: the action is not one of ``spec.actions``.
        """

    @abstractmethod
    def sample_actions(self, actions: Sequence[str]) -> Tensor:
        """Return ``(len(actions), frame, joint, 3)`` windows, one of each action asked for, mm."""


class Classifier(Model):
    """Tells what is done in a window, as one of the actions of its ``spec``.

    It judges what generative models draw; a subclass implements ``features`` and ``scores``.
    """

    @abstractmethod
    def features(self, motion: Tensor) -> Tensor:
        """Return ``(window, feature)`` what it judges by."""

    @abstractmethod
    def scores(self, features: Tensor) -> Tensor:
        """Return ``(window, action)`` scores; the highest is what it takes the action to be."""
