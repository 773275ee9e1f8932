"""LTD and HisRepItself compared with their published networks: a train step and prediction.

Both networks get the same weights. The published ones run unchanged, but on the CPU where they
request CUDA. Their train loops are scripts for one data set, so the step is written here in the
same order: network, inverse DCT, mean distance, gradient clipping, Adam.
"""

import types
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from bench.protocol.listing import PAPER_SPEC
from bench.speed.measure import Result, Setup, in_turns
from bench.speed.published import modules
from bench.speed.work import batch_gflop, relative, train_step, windows
from models.graph import Convolution
from predictors.base import TrainedPredictor
from predictors.gcn import Dropout, ResidualGCN
from predictors.hisrep import HisRepItself
from predictors.ltd import LTD

FUTURE = 25
SPEC = replace(PAPER_SPEC, future=FUTURE)
PREDICTED = 256
"""Windows that are predicted at once."""
CHECKED = 64
"""Windows on which the agreement of both networks is checked."""
WANTED = 1.5
"""Target speed-up over the published networks."""
STEPS = 4
"""Train steps per round; a single one is too short to time."""


class Published(ABC):
    """A published predictor with our network's weights.

    Attributes:
        network: the published network.
        gradient_clip: norm to which its train loop clips gradients.
    """

    network: Any
    gradient_clip: float

    @abstractmethod
    def forward(self, motion: Tensor) -> Callable[[], tuple[Tensor, Tensor]]:
        """Return a function that gives the predicted and the true frames of windows.

        Both are ``(window, frame, joint, 3)``, mm: the last past frames, then the future. What a
        data loader would prepare is computed here, outside the function.

        Args:
            motion: past and future, ``(window, frame, joint, 3)``, mm.
        """

    def train_step(self, motion: Tensor) -> Callable[[], None]:
        """Return a function that takes a train step on ``(window, frame, joint, 3)``, mm."""
        optimizer = torch.optim.Adam(self.network.parameters(), lr=5e-4)
        forward = self.forward(motion)

        def step() -> None:
            self.network.train()
            loss = distance(*forward())
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), self.gradient_clip)
            optimizer.step()

        return step

    def predict(self, motion: Tensor) -> Callable[[], Tensor]:
        """Return a function that predicts ``(window, future frame, joint, 3)``, mm."""
        forward = self.forward(motion)

        @torch.no_grad()
        def work() -> Tensor:
            self.network.eval()
            return forward()[0][:, -FUTURE:]

        return work


class PublishedLTD(Published):
    """The network of LearnTrajDep, on all DCT coefficients of ten past frames and the future."""

    gradient_clip = 1.0

    def __init__(self, setup: Setup, ours: LTD) -> None:
        names = ("utils.model", "utils.data_utils")
        model, self._data = modules(setup.against["ltd"], *names, stubs=_python2())
        options = ours.settings
        self.past, self.frames = ours.past, ours.past + ours.step
        self.network = model.GCN(
            self.frames, options.width, options.dropout, options.blocks, SPEC.nodes
        )
        _copy_weights(ours.gcn, self.network)

    def forward(self, motion: Tensor) -> Callable[[], tuple[Tensor, Tensor]]:
        """See ``Published.forward``."""
        truth = motion[:, SPEC.frames - self.past :].flatten(2)
        padded = torch.cat(
            [truth[:, : self.past], truth[:, self.past - 1 : self.past].expand(-1, FUTURE, -1)],
            dim=1,
        )
        forward = torch.from_numpy(self._data.get_dct_matrix(self.frames)[0]).float()
        given = (forward @ padded).transpose(1, 2).contiguous()

        def work() -> tuple[Tensor, Tensor]:
            out = self.network(given)
            back = torch.from_numpy(self._data.get_dct_matrix(self.frames)[1]).float()
            flat = (back @ out.reshape(-1, self.frames).T).T.contiguous()
            predicted = flat.view(len(motion), SPEC.nodes, self.frames).transpose(1, 2)
            return _joints(predicted), _joints(truth)

        return work


class PublishedHisRep(Published):
    """The network of HisRepItself, on all DCT coefficients of a sub-sequence."""

    gradient_clip = 1e4

    def __init__(self, setup: Setup, ours: HisRepItself) -> None:
        (model,) = modules(setup.against["hisrep"], "model.AttModel")
        options = ours.settings
        self.overlap = ours.overlap
        self.network = model.AttModel(
            SPEC.nodes, options.kernel, options.width, options.blocks, ours.piece
        )
        _copy_weights(ours.gcn, self.network.gcn)
        ours.query.load_state_dict(self.network.convQ.state_dict())
        ours.key.load_state_dict(self.network.convK.state_dict())

    def forward(self, motion: Tensor) -> Callable[[], tuple[Tensor, Tensor]]:
        """See ``Published.forward``."""
        flat = motion.flatten(2)

        def work() -> tuple[Tensor, Tensor]:
            with _on_cpu():
                out = self.network(flat.clone(), output_n=FUTURE, input_n=SPEC.frames, itera=1)
            return _joints(out[:, :, 0]), _joints(flat[:, -FUTURE - self.overlap :])

        return work


def ltd(setup: Setup) -> list[Result]:
    """Time LTD and the published network."""
    ours = LTD(SPEC)
    return _compare("ltd", "LTD", setup, ours, PublishedLTD(setup, ours))


def hisrep(setup: Setup) -> list[Result]:
    """Time HisRepItself and the published network."""
    ours = HisRepItself(SPEC)
    return _compare("hisrep", "HisRepItself", setup, ours, PublishedHisRep(setup, ours))


def _compare(
    row: str, name: str, setup: Setup, ours: TrainedPredictor, theirs: Published
) -> list[Result]:
    motion = windows(PREDICTED, SPEC.frames + FUTURE)
    note = f"losses and gradients agree to {agreement(ours, theirs, motion[:CHECKED]):.0e}"
    ours.eval()
    past = motion[:, : SPEC.frames]
    prediction = _row(
        row,
        f"{name} prediction, {PREDICTED} windows",
        setup,
        (lambda some: lambda: ours.predict(some[:, : SPEC.frames]), theirs.predict),
        motion,
        f"predictions agree to {relative(ours.predict(past), theirs.predict(motion)()):.0e}",
    )
    ours.train()
    batch = motion[: ours.settings.batch_size]
    works = tuple(
        _repeated(one) for one in (lambda some: train_step(ours, some), theirs.train_step)
    )
    what = f"{name} {STEPS} train steps, {len(batch)} windows"
    return [_row(row, what, setup, works, batch, note), prediction]


def _row(
    row: str,
    what: str,
    setup: Setup,
    works: tuple[Callable[[Tensor], Callable[[], object]], ...],
    motion: Tensor,
    note: str,
) -> Result:
    mine, other = (one(motion) for one in works)
    mine(), other()
    first, second = (batch_gflop(one, motion) for one in works)
    (ours, theirs), _ = in_turns(2 * setup.rounds, what, mine, other)
    return Result(
        row, what, ours, "published", theirs, WANTED, "s", first, second, setup.malloc, note
    )


def _repeated(
    work: Callable[[Tensor], Callable[[], object]],
) -> Callable[[Tensor], Callable[[], object]]:
    def steps(motion: Tensor) -> Callable[[], object]:
        step = work(motion)
        return lambda: [step() for _ in range(STEPS)]

    return steps


def agreement(ours: TrainedPredictor, theirs: Published, motion: Tensor) -> float:
    """Return the largest relative difference of loss and weight gradients, without dropout.

    Gradients of the first layer's weights and of the last layer's adjacency are compared.

    Args:
        ours: our predictor.
        theirs: the published network with the same weights.
        motion: past and future, ``(window, frame, joint, 3)``, mm.
    """
    for network in (ours, theirs.network):
        network.train()
    with _without_dropout(ours), _without_dropout(theirs.network):
        mine, other = ours.losses(motion)["loss"], distance(*theirs.forward(motion)())
        mine.backward()
        other.backward()
    pairs = [(_gcn(ours).enter.convolution.W, _gcn(theirs).gc1.weight)]
    pairs.append((_gcn(ours).leave.S, _gcn(theirs).gc7.att))
    found = [relative(one.grad, two.grad) for one, two in pairs]
    for network in (ours, theirs.network):
        network.zero_grad()
    return max(relative(mine, other), *found)


def _gcn(predictor: Any) -> Any:
    if isinstance(predictor, Published):
        return getattr(predictor.network, "gcn", predictor.network)
    return predictor.gcn


@contextmanager
def _without_dropout(network: nn.Module) -> Iterator[None]:
    layers = [module for module in network.modules() if isinstance(module, (nn.Dropout, Dropout))]
    saved = [layer.p for layer in layers]
    for layer in layers:
        layer.p = 0.0
    yield
    for layer, p in zip(layers, saved, strict=True):
        layer.p = p


def distance(predicted: Tensor, truth: Tensor) -> Tensor:
    """Return the mean distance of joints, mm, as the published code computes it."""
    return torch.mean(torch.norm(predicted.reshape(-1, 3) - truth.reshape(-1, 3), 2, 1))


def _python2() -> dict[str, Any]:
    six = types.ModuleType("six.moves")
    six.xrange = range  # type: ignore[attr-defined]
    return {"six": six, "six.moves": six}


def _joints(flat: Tensor) -> Tensor:
    return flat.reshape(*flat.shape[:2], -1, 3)


@contextmanager
def _on_cpu() -> Iterator[None]:
    with mock.patch.object(Tensor, "cuda", lambda tensor, *_, **__: tensor):
        yield


@torch.no_grad()
def _copy_weights(ours: ResidualGCN, theirs: Any) -> None:
    """Copy the weights of a published graph network to ours."""
    layers: list[tuple[Any, Any, Any]] = [(ours.enter, theirs.gc1, theirs.bn1)]
    pairs: Any = zip(ours.blocks, theirs.gcbs, strict=True)
    for (first, second), block in pairs:
        layers += [(first, block.gc1, block.bn1), (second, block.gc2, block.bn2)]
    for layer, convolution, norm in layers:
        _copy_products(layer.convolution, convolution)
        layer.norm.load_state_dict(norm.state_dict())
        # Ours has no bias before batch normalisation; the running mean accounts for it.
        layer.norm.running_mean -= convolution.bias.repeat(SPEC.nodes)
    _copy_products(ours.leave, theirs.gc7)
    ours.leave.b.copy_(theirs.gc7.bias[None])


def _copy_products(ours: Convolution, theirs: Any) -> None:
    ours.S.copy_(theirs.att)
    ours.W.copy_(theirs.weight)
