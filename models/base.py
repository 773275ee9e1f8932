"""The interfaces of models: imputers complete windows, detectors score how unusual they are.

A new model is a new file in this folder with a subclass of ``Imputer``, ``GenerativeImputer``,
``Detector`` or ``Classifier`` that has a ``name``; nothing else has to be changed.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import torch
from torch import Tensor

from bench.fitting.learner import Learner

if TYPE_CHECKING:  # for annotations alone: models that have no density do not depend on these
    from models.decoded import Decoded
    from models.gaussian import Chain

SCORE_BATCH = 100
"""Windows that a generative model scores at a time."""


@dataclass(frozen=True)
class Imputation:
    """A completed batch, and what the imputer knows of its own error.

    Attributes:
        motion: ``(window, frame, joint, 3)``, mm; observed entries exactly as they were given.
        sigma: the same shape, mm: the standard deviation of a Gaussian around ``motion``, 0 where
            observed. None of an imputer that gives a point alone.
        samples: ``(sample, window, frame, joint, 3)``, mm: draws from the predictive distribution,
            observed entries as given. None of an imputer that draws none.
    """

    motion: Tensor
    sigma: Tensor | None = None
    samples: Tensor | None = None


class Model(Learner):
    """Base class of everything in this folder."""


class Imputer(Model):
    """Completes windows; a subclass implements ``complete``."""

    def impute(self, motion: Tensor, occluded: Tensor) -> Imputation:
        """Complete a batch.

        Args:
            motion: ``(window, frame, joint, 3)``, mm; ignored where ``occluded`` is True.
            occluded: bool, the same shape, True where the value is hidden.

        Returns:
            The completion, with observed entries bit for bit as given, in samples too.

        Raises:
            ValueError: these are no tensors, of other shapes, ``occluded`` is not bool, or a value
                that is seen is not finite.
            FloatingPointError: a completed value is not finite.
        """
        self._check(motion, occluded)
        completed = self.complete(torch.where(occluded, self.mean, motion), occluded)
        if isinstance(completed, Tensor):
            completed = Imputation(completed)
        imputation = Imputation(
            motion=torch.where(occluded, completed.motion, motion),
            sigma=_where(occluded, completed.sigma, torch.zeros_like(motion)),
            samples=_where(occluded, completed.samples, motion),
        )
        for part in (imputation.motion, imputation.sigma, imputation.samples):
            if part is not None and not torch.isfinite(part).all():
                raise FloatingPointError(f"{self.name} completed windows with values not finite")
        return imputation

    def _check(self, motion: Tensor, occluded: Tensor) -> None:
        """Raise ValueError for what cannot be completed."""
        if not (torch.is_tensor(motion) and torch.is_tensor(occluded)):
            raise ValueError("motion and occluded must be tensors: torch.from_numpy makes them")
        window, shape = tuple(self.mean.shape), tuple(motion.shape)
        if shape[1:] != window:
            expected = ", ".join(map(str, window))
            raise ValueError(f"{self.name} completes windows (window, {expected}), not {shape}")
        if occluded.dtype != torch.bool or occluded.shape != motion.shape:
            given = f"{occluded.dtype} of shape {tuple(occluded.shape)}"
            raise ValueError(f"occluded must be bool of the shape of motion, {shape}, not {given}")
        if unknown := int((~torch.isfinite(motion) & ~occluded).sum()):
            raise ValueError(f"{unknown} values that are not hidden are not finite: hide them too")

    @abstractmethod
    def complete(self, motion: Tensor, occluded: Tensor) -> Tensor | Imputation:
        """Return ``motion`` completed, or with it a standard deviation or samples.

        ``impute`` has set hidden entries to the train mean, and puts observed entries back.
        """


def _where(occluded: Tensor, hidden: Tensor | None, observed: Tensor) -> Tensor | None:
    return None if hidden is None else torch.where(occluded, hidden, observed)


class Detector(Model):
    """Scores how unlike the train windows a window is; a subclass implements ``score``."""

    @abstractmethod
    def score(self, motion: Tensor) -> dict[str, Tensor]:
        """Return ``(window,)`` scores by name; the larger, the less like the train windows.

        A window's scores do not depend on the other windows of ``motion``.

        Args:
            motion: ``(window, frame, joint, 3)``, mm.
        """

    def embed(self, motion: Tensor) -> Tensor | None:
        """Return one feature vector per window, ``(window, feature)``; None if there is none."""
        return None


class Completion(Protocol):
    """The interface of inferences, which ``models.inference`` implements."""

    def complete(
        self, model: "GenerativeImputer", motion: Tensor, occluded: Tensor
    ) -> Tensor | Imputation:
        """Return ``motion`` completed; hidden entries hold the train mean."""
        ...


class GenerativeImputer(Imputer, Detector):
    """An imputer with a density over windows: it also scores and samples.

    A subclass implements ``log_posterior``, ``elbo``, ``reconstruct`` and ``sample``, and, for the
    inferences that work on latents, ``infer`` and ``decode``. Completion is delegated to
    ``inference``, which varies independently of the model and must be set before ``impute`` is
    called, as in ``model.inference = Map(steps=10)``.
    """

    map_rate: ClassVar[float] = 1.0
    """Default learning rate of MAP inference, mm (sec. 6.3)."""

    inference: Completion | None = None

    def complete(self, motion: Tensor, occluded: Tensor) -> Tensor | Imputation:
        """Complete by ``inference``; raises RuntimeError if it is not set."""
        if self.inference is None:
            raise RuntimeError(f"set {self.name}.inference, for instance to models.inference.Map()")
        return self.inference.complete(self, motion, occluded)

    @abstractmethod
    def log_posterior(self, motion: Tensor) -> Tensor:
        """Return ``(window, level)`` log posterior densities in nats, differentiable."""

    @abstractmethod
    def elbo(self, motion: Tensor) -> Tensor:
        """Return ``(window,)`` lower bounds of the log density in nats, differentiable.

        The density is over motion in mm, so that models that scale their input differently can be
        compared. A window's bound depends neither on its batch nor on earlier calls.
        """

    @abstractmethod
    def reconstruct(self, motion: Tensor) -> Tensor:
        """Return the motion decoded from the latents inferred from ``motion``, same shape, mm."""

    @abstractmethod
    def sample(self, count: int) -> Tensor:
        """Return ``(count, frame, joint, 3)`` windows drawn from the model, mm."""

    def infer(self, motion: Tensor) -> "Chain":
        """Return q(z | motion), the approximate posterior of the latents of each window.

        Raises:
            NotImplementedError: the model does not implement it.
        """
        raise NotImplementedError(self._without("infer"))

    def infer_seen(self, motion: Tensor, occluded: Tensor) -> "Chain":
        """Return q(z | what is seen); of a model that knows no masks, q(z | motion as it is).

        Args:
            motion: ``(window, frame, joint, 3)``, mm; hidden entries hold the train mean.
            occluded: bool, the same shape, True where the value is hidden.

        Raises:
            NotImplementedError: the model does not implement ``infer``.
        """
        return self.infer(motion)

    def decode(self, z: Tensor) -> "Decoded":
        """Return p(x | z) over motion in mm and p(z), differentiable.

        Args:
            z: ``(window, latent)``, laid out as drawn from ``infer``.

        Raises:
            NotImplementedError: the model does not implement it.
        """
        raise NotImplementedError(self._without("decode"))

    def _without(self, method: str) -> str:
        return f"{self.name} does not implement {method}: choose an inference without latents"

    @torch.no_grad()
    def score(self, motion: Tensor) -> dict[str, Tensor]:
        """Return the negative log posterior, total and per level, and the negative ELBO, nats."""
        batches = motion.split(SCORE_BATCH)
        levels = -torch.cat([self.log_posterior(batch) for batch in batches])
        scores = {"nlp": levels.sum(dim=1)}
        if levels.shape[1] > 1:
            scores |= {f"nlp_z{number}": level for number, level in enumerate(levels.T)}
        return scores | {"negative_elbo": -torch.cat([self.elbo(batch) for batch in batches])}


class ConditionalImputer(GenerativeImputer):
    """A generative imputer that can be conditioned on an action, one of ``spec.actions``."""

    @abstractmethod
    def sample(self, count: int, action: str | None = None) -> Tensor:
        """Return ``(count, frame, joint, 3)`` windows given an action, or given none, mm.

        Raises:
            ValueError: the action is not one of ``spec.actions``.
        """

    @abstractmethod
    def sample_actions(self, actions: Sequence[str]) -> Tensor:
        """Return ``(len(actions), frame, joint, 3)`` windows, one per given action, mm.

        Raises:
            ValueError: an action is not one of ``spec.actions``.
        """


class Classifier(Model):
    """Classifies a window's action as one of ``spec.actions``, to evaluate drawn windows.

    A subclass implements ``features`` and ``scores``.
    """

    @abstractmethod
    def features(self, motion: Tensor) -> Tensor:
        """Return ``(window, feature)``, the features that it classifies by."""

    @abstractmethod
    def scores(self, features: Tensor) -> Tensor:
        """Return ``(window, action)`` scores; the highest is the predicted action."""
