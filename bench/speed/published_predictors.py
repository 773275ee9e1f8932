"""Published predictors with the same weights as ours.

They run unchanged, but on the CPU where they request CUDA. Their train loops are scripts for one
data set, so the step is written here in the same order: network, inverse DCT, mean distance,
gradient clipping, Adam.
"""

import types
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import torch
from torch import Tensor, nn

from bench.protocol.listing import PAPER_SPEC
from bench.speed.published import modules
from bench.speed.work import relative
from models.graph import Convolution
from predictors.base import METRE, TrainedPredictor
from predictors.gcn import Dropout, ResidualGCN
from predictors.hisrep import HisRepItself
from predictors.ltd import LTD
from predictors.simlpe import SiMLPe

FUTURE = 25
SPEC = replace(PAPER_SPEC, future=FUTURE)

Pairs = list[tuple[Tensor, Tensor]]
"""Weights of ours, and the published ones that they equal up to their shape."""


class Published(ABC):
    """A published predictor; our network gets its initial weights.

    Attributes:
        network: the published network.
        pairs: all weights but biases that a normalisation cancels.
        learning_rate: of its train loop, at the beginning.
        weight_decay: of its train loop.
        gradient_clip: norm to which its train loop clips gradients; None if it does not.
    """

    network: Any
    pairs: Pairs
    learning_rate: ClassVar[float] = 5e-4
    weight_decay: ClassVar[float] = 0.0
    gradient_clip: ClassVar[float | None] = None

    @abstractmethod
    def forward(self, motion: Tensor) -> Callable[[], tuple[Tensor, Tensor]]:
        """Return a function that gives the predicted and the true frames of windows.

        Both are ``(window, frame, joint, 3)``, mm: past frames that it reconstructs, if any, then
        the future. What a data loader would prepare is computed here, outside the function.

        Args:
            motion: past and future, ``(window, frame, joint, 3)``, mm.
        """

    def loss(self, predicted: Tensor, truth: Tensor) -> Tensor:
        """Return the loss of its train loop, for what ``forward`` gives."""
        return distance(predicted, truth)

    def optimizer(self) -> torch.optim.Optimizer:
        """Return the optimiser of its train loop."""
        parameters = self.network.parameters()
        return torch.optim.Adam(parameters, self.learning_rate, weight_decay=self.weight_decay)

    def train_step(
        self, motion: Tensor, optimizer: torch.optim.Optimizer | None = None
    ) -> Callable[[], Tensor]:
        """Return a function that takes a train step on ``(window, frame, joint, 3)``, mm.

        It returns the loss.
        """
        optimizer = optimizer or self.optimizer()
        forward = self.forward(motion)

        def step() -> Tensor:
            self.network.train()
            loss = self.loss(*forward())
            optimizer.zero_grad()
            loss.backward()
            if self.gradient_clip is not None:
                nn.utils.clip_grad_norm_(self.network.parameters(), self.gradient_clip)
            optimizer.step()
            return loss.detach()

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

    def __init__(self, checkout: Path, ours: LTD) -> None:
        model, self._data = modules(checkout, "utils.model", "utils.data_utils", stubs=_python2())
        options = ours.settings
        self.past, self.frames = ours.past, ours.past + ours.step
        self.network = model.GCN(
            self.frames, options.width, options.dropout, options.blocks, SPEC.nodes
        )
        self.pairs = _gcn_pairs(ours.gcn, self.network)
        _copy(self.pairs)

    def forward(self, motion: Tensor) -> Callable[[], tuple[Tensor, Tensor]]:
        """See ``Published.forward``."""
        truth = motion[:, SPEC.frames - self.past :].flatten(2)
        padded = torch.cat(
            [truth[:, : self.past], truth[:, self.past - 1 : self.past].expand(-1, FUTURE, -1)],
            dim=1,
        )
        forward = torch.from_numpy(self._data.get_dct_matrix(self.frames)[0]).to(motion)
        given = (forward @ padded).transpose(1, 2).contiguous()

        def work() -> tuple[Tensor, Tensor]:
            out = self.network(given)
            back = torch.from_numpy(self._data.get_dct_matrix(self.frames)[1]).to(motion)
            flat = (back @ out.reshape(-1, self.frames).T).T.contiguous()
            predicted = flat.view(len(motion), SPEC.nodes, self.frames).transpose(1, 2)
            return _joints(predicted), _joints(truth)

        return work


class PublishedHisRep(Published):
    """The network of HisRepItself, on all DCT coefficients of a sub-sequence."""

    gradient_clip = 1e4

    def __init__(self, checkout: Path, ours: HisRepItself) -> None:
        (model,) = modules(checkout, "model.AttModel")
        options = ours.settings
        self.overlap = ours.overlap
        self.network = model.AttModel(
            SPEC.nodes, options.kernel, options.width, options.blocks, ours.piece
        )
        self.pairs = _gcn_pairs(ours.gcn, self.network.gcn)
        for mine, other in ((ours.query, self.network.convQ), (ours.key, self.network.convK)):
            self.pairs += zip(mine.parameters(), other.parameters(), strict=True)
        _copy(self.pairs)

    def forward(self, motion: Tensor) -> Callable[[], tuple[Tensor, Tensor]]:
        """See ``Published.forward``."""
        flat = motion.flatten(2)

        def work() -> tuple[Tensor, Tensor]:
            with _on_cpu(motion.dtype):
                out = self.network(flat.clone(), output_n=FUTURE, input_n=SPEC.frames, itera=1)
            return _joints(out[:, :, 0]), _joints(flat[:, -FUTURE - self.overlap :])

        return work


class PublishedSiMLPe(Published):
    """The network of siMLPe as its command for Human3.6M sets it, in metres."""

    learning_rate = 3e-4
    weight_decay = 1e-4

    def __init__(self, checkout: Path, ours: SiMLPe) -> None:
        (model,) = modules(checkout / "exps" / "baseline_h36m", "model", stubs=_einops())
        self.network = model.siMLPe(_simlpe_config(ours))
        self.dct = ours.dct
        self.pairs = _simlpe_pairs(ours, self.network)
        _copy(self.pairs)

    def forward(self, motion: Tensor) -> Callable[[], tuple[Tensor, Tensor]]:
        """See ``Published.forward``."""
        flat = motion.flatten(2)
        past = flat[:, : SPEC.frames] / METRE
        dct = self.dct.to(motion)

        def work() -> tuple[Tensor, Tensor]:
            out = dct.T @ self.network(dct @ past)
            predicted = out[:, :FUTURE] + past[:, -1:]
            return _joints(predicted) * METRE, _joints(flat[:, SPEC.frames :])

        return work

    def loss(self, predicted: Tensor, truth: Tensor) -> Tensor:
        """Return the distance of positions plus that of their changes, in metres."""
        predicted, truth = predicted / METRE, truth / METRE
        velocities = (one[:, 1:] - one[:, :-1] for one in (predicted, truth))
        return distance(predicted, truth) + distance(*velocities)


ADAPTERS: dict[str, tuple[type[TrainedPredictor], Callable[[Path, Any], Published]]] = {
    "ltd": (LTD, PublishedLTD),
    "hisrep": (HisRepItself, PublishedHisRep),
    "simlpe": (SiMLPe, PublishedSiMLPe),
}
"""Our predictor and the published one, by the latter's key in ``published.KINDS``."""


def agreement(ours: TrainedPredictor, theirs: Published, motion: Tensor) -> tuple[float, float]:
    """Return the largest relative difference of the loss, and of a weight's gradient.

    Both without dropout.

    Args:
        ours: our predictor.
        theirs: the published network with the same weights.
        motion: past and future, ``(window, frame, joint, 3)``, mm.
    """
    for network in (ours, theirs.network):
        network.train()
    with without_dropout(ours), without_dropout(theirs.network):
        mine, other = ours.losses(motion)["loss"], theirs.loss(*theirs.forward(motion)())
        mine.backward()
        other.backward()
    gradients = [_relative(one.grad, two.grad) for one, two in theirs.pairs]
    for network in (ours, theirs.network):
        network.zero_grad()
    return relative(mine, other), max(gradients)


def _relative(mine: Tensor | None, other: Tensor | None) -> float:
    assert mine is not None
    assert other is not None
    return relative(mine.reshape(other.shape), other)


@contextmanager
def without_dropout(network: nn.Module) -> Iterator[None]:
    """Drop nothing while the block runs."""
    layers = [module for module in network.modules() if isinstance(module, (nn.Dropout, Dropout))]
    saved = [layer.p for layer in layers]
    for layer in layers:
        layer.p = 0.0
    try:
        yield
    finally:
        for layer, p in zip(layers, saved, strict=True):
            layer.p = p


def distance(predicted: Tensor, truth: Tensor) -> Tensor:
    """Return the mean distance of joints as the published code computes it."""
    return torch.mean(torch.norm(predicted.reshape(-1, 3) - truth.reshape(-1, 3), 2, 1))


def _python2() -> dict[str, Any]:
    six: Any = types.ModuleType("six.moves")
    six.xrange = range
    return {"six": six, "six.moves": six}


class _LastAxesSwapped(nn.Module):
    """The only rearrangement that siMLPe asks einops for."""

    def __init__(self, pattern: str) -> None:
        super().__init__()
        assert pattern in ("b n d -> b d n", "b d n -> b n d")

    def forward(self, x: Tensor) -> Tensor:
        """Exchange the last two axes."""
        return x.transpose(1, 2)


def _einops() -> dict[str, Any]:
    names = ("einops", "einops.layers", "einops.layers.torch")
    stubs: dict[str, Any] = {name: types.ModuleType(name) for name in names}
    stubs[names[-1]].Rearrange = _LastAxesSwapped
    return stubs


class _Config(dict[str, Any]):
    """A mapping whose keys are attributes, too, as easydict's."""

    def __init__(self, **values: Any) -> None:
        super().__init__(values)
        vars(self).update(values)


def _simlpe_config(ours: SiMLPe) -> Any:
    over_frames = _Config(temporal_fc=False)
    return _Config(
        motion=_Config(h36m_input_length_dct=ours.past, dim=SPEC.nodes),
        motion_mlp=_Config(
            hidden_dim=SPEC.nodes,
            seq_len=ours.past,
            num_layers=ours.settings.blocks,
            with_normalization=True,
            spatial_fc_only=False,
            norm_axis="spatial",
        ),
        motion_fc_in=over_frames,
        motion_fc_out=over_frames,
    )


def _simlpe_pairs(ours: SiMLPe, theirs: Any) -> Pairs:
    linear = [(ours.enter, theirs.motion_fc_in), (ours.leave, theirs.motion_fc_out)]
    pairs: Pairs = []
    blocks: Any = zip(ours.blocks, theirs.motion_mlp.mlps, strict=True)
    for mine, other in blocks:
        pairs.append((mine.over_frames.weight, other.fc0.fc.weight))
        pairs += [(mine.norm.weight, other.norm0.alpha), (mine.norm.bias, other.norm0.beta)]
    for one, two in linear:
        pairs += [(one.weight, two.weight), (one.bias, two.bias)]
    return pairs


def _joints(flat: Tensor) -> Tensor:
    return flat.reshape(*flat.shape[:2], -1, 3)


@contextmanager
def _on_cpu(dtype: torch.dtype) -> Iterator[None]:
    """Keep tensors on the CPU, and in a precision, where code asks for CUDA and float32."""
    with (
        mock.patch.object(Tensor, "cuda", lambda tensor, *_, **__: tensor),
        mock.patch.object(Tensor, "float", lambda tensor: tensor.to(dtype)),
    ):
        yield


@torch.no_grad()
def _gcn_pairs(ours: ResidualGCN, theirs: Any) -> Pairs:
    """Return the weights of a graph network; its batch statistics are made equal."""
    layers: list[tuple[Any, Any, Any]] = [(ours.enter, theirs.gc1, theirs.bn1)]
    blocks: Any = zip(ours.blocks, theirs.gcbs, strict=True)
    for (first, second), block in blocks:
        layers += [(first, block.gc1, block.bn1), (second, block.gc2, block.bn2)]
    pairs = [*_products(ours.leave, theirs.gc7), (ours.leave.b, theirs.gc7.bias)]
    for layer, convolution, norm in layers:
        pairs += _products(layer.convolution, convolution)
        pairs += zip(layer.norm.parameters(), norm.parameters(), strict=True)
        # Ours has no bias before batch normalisation; the running mean accounts for it.
        layer.norm.running_mean.copy_(norm.running_mean - convolution.bias.repeat(SPEC.nodes))
    return pairs


def _products(ours: Convolution, theirs: Any) -> Pairs:
    return [(ours.S, theirs.att), (ours.W, theirs.weight)]


@torch.no_grad()
def _copy(pairs: Pairs) -> None:
    """Copy published weights to ours."""
    for mine, other in pairs:
        mine.copy_(other.reshape(mine.shape))
