"""Adapters that make a checkout of published code do the same work as ours.

The published code is not part of this project: it is imported from a folder that the user names
and runs unchanged, except that progress bars and log writers are replaced by stubs.
"""

import importlib
import io
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from bench.core.errors import InputError
from models.gaussian import Gaussian
from models.graph import GCB, GCL
from models.hgvae import HGVAE

KINDS = {
    "hgvae": ("bouracha/generative_imputation", "models/HGVAE.py", "train.py"),
    "ltd": ("wei-mao-2019/LearnTrajDep", "utils/model.py", "utils/data_utils.py"),
    "hisrep": ("wei-mao-2019/HisRepItself", "model/AttModel.py", "model/GCN.py"),
    "simlpe": ("dulucas/siMLPe", "exps/baseline_h36m/model.py", "exps/baseline_h36m/mlp.py"),
}
"""Supported published code by name: its repository, then files that identify a checkout."""


def kind(path: Path) -> str:
    """Return which published code a folder contains, a key of ``KINDS``.

    Raises:
        InputError: the folder contains none of them.
    """
    for name, (_, *files) in KINDS.items():
        if all((path / file).is_file() for file in files):
            return name
    known = ", ".join(repository for repository, *_ in KINDS.values())
    raise InputError(f"--against {path}: no checkout of supported published code ({known})")


def modules(path: Path, *names: str, stubs: dict[str, Any] | None = None) -> list[Any]:
    """Import modules of a checkout by their own names, even where ours have the same names.

    Args:
        path: folder of the checkout.
        names: names of the modules.
        stubs: modules by name that replace packages which the work does not need.

    Returns:
        The modules, in the order of ``names``.

    Raises:
        InputError: a package that the code needs is not installed.
    """
    with _isolated(path, stubs or {}), redirect_stdout(io.StringIO()):
        try:
            return [importlib.import_module(name) for name in names]
        except ImportError as error:
            raise InputError(f"--against {path}: its code cannot be imported: {error}") from None


@contextmanager
def _isolated(path: Path, stubs: dict[str, Any]) -> Iterator[None]:
    """Import a folder's modules before any others, and restore ``sys.modules`` afterwards."""
    packages = {folder.name: _package(folder) for folder in path.iterdir() if folder.is_dir()}
    own = {*packages, *(file.stem for file in path.glob("*.py"))}
    with (
        mock.patch.dict(sys.modules, packages | stubs),
        mock.patch.object(sys, "path", [str(path), *sys.path]),
    ):
        for name in set(sys.modules) - packages.keys():
            if name.partition(".")[0] in own:
                del sys.modules[name]
        before = set(sys.modules)
        yield
        others = {
            name: module
            for name, module in sys.modules.items()
            if name not in before and name.partition(".")[0] not in own
        }
    # Third-party imports stay: some packages cannot be imported twice.
    sys.modules.update(others)


def _package(folder: Path) -> types.ModuleType:
    """Return a folder as a package, so that it precedes others of the same name."""
    package = types.ModuleType(folder.name)
    package.__path__ = [str(folder)]
    return package


class _NoLog:
    """A log writer that writes nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def add_scalar(self, *_: Any) -> None:
        """Write nothing."""


def _stubs() -> dict[str, Any]:
    bars, logs = types.ModuleType("tqdm.auto"), types.ModuleType("torch.utils.tensorboard")
    bars.tqdm = lambda loader: loader  # type: ignore[attr-defined]
    logs.SummaryWriter = _NoLog  # type: ignore[attr-defined]
    return {"tqdm": bars, "tqdm.auto": bars, "torch.utils.tensorboard": logs}


class PublishedHGVAE:
    """The published HG-VAE with its own train step and its own MAP.

    Weights are initialised by the published code; those that our network lacks are then set so
    that they have no effect. In MAP, latents are their means, as in ours, in place of draws, and
    the ascent starts at the given motion in place of noise.

    Args:
        path: folder of the checkout.
        device: device of the network, cpu or cuda.

    Raises:
        InputError: a package that the code needs is not installed.
    """

    def __init__(self, path: Path, device: str = "cpu") -> None:
        names = ("models.HGVAE", "models.utils", "models.layers", "train")
        self._model, self._utils, self._layers, self._train = modules(path, *names, stubs=_stubs())
        with redirect_stdout(io.StringIO()):
            self.network = self._model.HGVAE(
                input_n=[54, 50], variational=True, output_variance=True, device=device
            )
        network = self.network
        network.optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, weight_decay=1e-4)
        network.writer, network.clipping_value = _NoLog(), 100.0
        network.epoch_cur = network.warmup_time = 1
        network.beta = network.beta_final = 1.0
        self._representable()

    def train_step(self, motion: Tensor) -> None:
        """Take a train step on ``(window, frame, joint, 3)``, mm, as an epoch of one batch."""
        self._train.train_motion_epoch(self.network, [_nodes(motion)], use_dct=True)

    def losses(self, motion: Tensor, noise: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the negative ELBO and the KL term of each latent, with given noise.

        Args:
            motion: ``(window, frame, joint, 3)``, mm.
            noise: ``(node, window, feature)`` per latent, top first.
        """
        x, draws = _nodes(motion), iter(noise)

        def draw(mean: Tensor, log_var: Tensor, _: str) -> Tensor:
            return mean + torch.exp(log_var / 2) * next(draws).transpose(0, 1)

        with mock.patch.object(self._utils, "reparametisation_trick", draw):
            mean, log_var, _, rates = self.network(self._utils.dct(self.network, x))
        flat = [
            part.flatten(1)
            for part in (x, self._utils.dct(self.network, mean, inverse=True), log_var)
        ]
        loss = self.network.cal_loss(*flat, rates, "gaussian")
        return loss, torch.stack(list(rates.values()))

    def ascend(self, motion: Tensor, occluded: Tensor) -> tuple[Tensor, Tensor]:
        """Complete windows with the published MAP.

        Args:
            motion: ``(window, frame, joint, 3)``, mm, with hidden entries filled in.
            occluded: bool, of the same shape, True where hidden.

        Returns:
            The completed windows, and the log posterior of each without z3, ``(window,)``.
        """
        model, layers = self._model, self._layers

        class StartAtInputs(layers.ParametiseInputs):  # type: ignore[name-defined]
            def __init__(self, inputs: Tensor) -> None:
                super().__init__(inputs)
                self.inputs_as_parameters.data.copy_(inputs)

        with (
            mock.patch.object(model, "ParametiseInputs", StartAtInputs),
            mock.patch.object(
                self._utils, "reparametisation_trick", lambda mean, log_var, device: mean
            ),
        ):
            filled, (_, posterior) = self.network.gradient_ascent_on_posterior(
                _nodes(motion), _nodes(occluded).float()
            )
        for parameter in self.network.parameters():
            parameter.requires_grad = True
        return filled.reshape(motion.shape), posterior

    @torch.no_grad()
    def _representable(self) -> None:
        """Set the weights that our network lacks to the constants that it has in their place."""
        for residual, weight in zip(
            self.network.encoder.graphconv_residual_reductions,
            self.network.encoder.rezeros,
            strict=True,
        ):
            residual.weight.zero_()
            residual.bias.zero_()
            weight.resweight.fill_(1.0)
        decoder = self.network.decoder
        heads = [decoder.reparametisation_latent_0, decoder.reparametisation_output]
        for unit in decoder.decoder_units:
            heads += [unit["reparametisation_posterior"], unit["reparametisation_prior"]]
        for head in heads:
            head.z_log_var_graphconv.att.copy_(head.z_mu_graphconv.att)
            # Both networks limit log variances to a range, but not to the same.
            head.z_log_var_graphconv.weight.mul_(0.05)
        # Log variances are per coefficient but errors per frame: consistent if all are equal.
        deviation = decoder.reparametisation_output.z_log_var_graphconv
        deviation.weight.copy_(deviation.weight[:, :1].expand_as(deviation.weight))
        deviation.bias.copy_(deviation.bias[:1].expand_as(deviation.bias))
        # At zero, the initial value, blocks and latents would have no effect.
        for module in self.network.modules():
            if isinstance(module, self._layers.ReZero) and not module.resweight:
                module.resweight.fill_(0.3)

    @torch.no_grad()
    def copy_weights_to(self, ours: HGVAE) -> None:
        """Copy the weights to our network, so that both are the same function.

        Ours has one more block at the top and one before the output; both become the identity.
        The published code multiplies the path by 1 + a weight at each level, so the weights of ours
        are divided by the product of these factors.
        """
        encoder, decoder = self.network.encoder, self.network.decoder
        levels = zip(
            ours.encoder, encoder.graphconv_reductions, encoder.graphconv_blocks, strict=True
        )
        for level, resize, block in levels:
            _copy_layer(level.resize, resize)  # type: ignore[arg-type]
            _copy_block(level.block, block)  # type: ignore[arg-type]
        ours.top_block.alpha.zero_()
        ours.output_block.alpha.zero_()
        _copy_head(ours.top, decoder.reparametisation_latent_0)
        _copy_layer(ours.join_top, decoder.resize_conv_0)
        stretch, before = 1.0, ours.block_top
        for layer, unit in zip(ours.layers, decoder.decoder_units, strict=True):
            weight = float(unit["rezero1"].resweight)
            _copy_block(before, unit["decoder_block"], stretch, weight / (1 + weight))
            stretch *= 1 + weight
            _copy_block(layer.prior_block, unit["prior_decoder_block"], stretch)
            _copy_head(layer.prior, unit["reparametisation_prior"], stretch)
            _copy_layer(layer.reduce, unit["posterior_decoder_resize"], stretch)
            _copy_block(layer.posterior_block, unit["posterior_decoder_block"])
            _copy_head(layer.posterior, unit["reparametisation_posterior"])
            _copy_layer(layer.join, unit["reshape_z"])
            layer.prior_weight.copy_(unit["rezero2"].resweight[0])
            layer.latent_weight.copy_(unit["rezero3"].resweight[0] / stretch)
            before = layer.block
        _copy_block(before, decoder.decoder_block_final, stretch)
        _copy_head(ours.output, decoder.reparametisation_output, stretch)

    @torch.no_grad()
    def mute_z3(self) -> None:
        """Make z3's posterior and prior constant, since the published MAP leaves z3 out."""
        unit = self.network.decoder.decoder_units[-1]
        for name in ("reparametisation_posterior", "reparametisation_prior"):
            for layer in (unit[name].z_mu_graphconv, unit[name].z_log_var_graphconv):
                layer.weight.zero_()


def fixed_noise(noise: list[Tensor]) -> Any:
    """Patch the sampling of our latents to use given noise.

    Args:
        noise: ``(node, window, feature)`` per latent, top first.
    """
    draws = iter(noise)

    def sample(gaussian: Gaussian) -> Tensor:
        return gaussian.mean + torch.exp(0.5 * gaussian.log_var) * next(draws)

    return mock.patch.object(Gaussian, "sample", sample)


def _nodes(motion: Tensor) -> Tensor:
    """Return windows in the layout of the published code, ``(window, 54, 50)``."""
    return motion.reshape(len(motion), 54, 50)


def _copy_layer(ours: GCL, theirs: Any, stretch: float = 1.0) -> None:
    ours.S.copy_(theirs.att)
    ours.W.copy_(stretch * theirs.weight)
    ours.b.copy_(theirs.bias[None])


def _copy_head(ours: GCL, theirs: Any, stretch: float = 1.0) -> None:
    mean, log_var = theirs.z_mu_graphconv, theirs.z_log_var_graphconv
    ours.S.copy_(mean.att)
    ours.W.copy_(stretch * torch.cat([mean.weight, log_var.weight], dim=1))
    ours.b.copy_(torch.cat([mean.bias, log_var.bias])[None])


def _copy_block(ours: GCB, theirs: Any, stretch: float = 1.0, share: float = 1.0) -> None:
    _copy_layer(ours.first, theirs.gc1, stretch)
    _copy_layer(ours.second, theirs.gc2)
    ours.alpha.copy_(theirs.rezero.resweight[0] * share / stretch)
