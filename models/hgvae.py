"""HG-VAE, the hierarchical graph-convolutional VAE (the paper's secs. 4.3 and 5).

A window is a graph of 54 nodes, each with the DCT coefficients of one coordinate's trajectory. A
bottom-up pass shrinks the graph level by level; a top-down pass draws z0 (one node: the whole
motion) to z3 (54 nodes), each of which is added to a deterministic path of 54 nodes.

The paper specifies a stochastic layer in a figure only. Here, each level has: a posterior block and
head on the path and that level's bottom-up features (the top level has no path yet); a prior block
and head on the path, where the block's output is also added to the path; the latent, added to the
path; and a final block. The likelihood has its own block and head. What is added to the path is
multiplied by a learnable scalar, initially 0. ``docs/hgvae.md`` counts the parameters of this and
of other readings.

Not in the paper, and each a setting: coefficients are centred on the train mean and divided by
their root mean square over the train set, one number per frequency; the likelihood's standard
deviation has a floor; posteriors start narrow. Square adjacency matrices start near the identity.
"""

from typing import Any, ClassVar, Literal, NamedTuple, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from bench.fitting.moments import summed
from bench.fitting.precision import float32_matmul
from bench.fitting.training import FitContext, VariationalSettings, train
from bench.motion import MotionSpec, Windows, dct_matrix, from_nodes, to_nodes
from models.base import GenerativeImputer
from models.decoded import Decoded
from models.gaussian import Chain, Draw, Gaussian, Given, SharedNoise
from models.graph import GCB, GCL, Bias, Residual, Style, weighted_sum


class HGVAE(GenerativeImputer):
    """HG-VAE: four levels of graph latents; imputes by ascent on its posterior."""

    name: ClassVar[str] = "hgvae"
    trained: ClassVar[bool] = True
    paper_parameters: ClassVar[float | None] = 3.21e6

    class Settings(VariationalSettings):
        """Latent graphs from the top down, the path's width, and how to fit."""

        latents: tuple[tuple[int, int], ...] = Field(
            ((1, 256), (8, 128), (24, 128), (54, 128)),
            min_length=1,
            description="(nodes, features) of each latent, top first",
        )
        width: int = Field(256, ge=1, description="features of the deterministic path")
        residual: Residual = Field("input", description="which term of eq. 3 alpha multiplies")
        bias: Bias = Field("node", description="b per node and feature, or per feature")
        activation: bool = Field(True, description="whether GCLs outside blocks have the gelu")
        layout: Literal["transposed", "scrambled"] = Field(
            "transposed", description="scrambled reshapes frames and coordinates into each other"
        )
        dct: Literal["forward", "inverse"] = Field(
            "forward", description="inverse applies the inverse DCT where the DCT belongs"
        )
        normalise: Literal["frequency", "none"] = Field(
            "frequency", description="centre and scale coefficients by frequency, or neither"
        )
        sigma_floor: float = Field(
            1.0, ge=0, description="smallest standard deviation of a coefficient, mm"
        )
        sigma_floor_share: float = Field(
            2.0,
            gt=0,
            description="or this multiple of its frequency's scale, where that is less",
        )
        posterior_log_var: float = Field(
            -4.0, description="log variance of posteriors before training"
        )

        @model_validator(mode="after")
        def _positive(self) -> "HGVAE.Settings":
            if any(size < 1 for latent in self.latents for size in latent):
                raise ValueError("latents need at least one node and one feature each")
            return self

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper_recipe": {"normalise": "none", "sigma_floor": 0.0, "posterior_log_var": 0.0},
        "published_code": {
            "normalise": "none",
            "sigma_floor": 0.0,
            "posterior_log_var": 0.0,
            "layout": "scrambled",
            "dct": "inverse",
            "bias": "feature",
            "activation": False,
            "residual": "branch",
            "weight_decay": 1e-4,
            "kl_start": 1e-4,
            "precision": "float32",
        },
    }

    settings: Settings
    scale: Tensor
    dct: Tensor

    def __init__(self, spec: MotionSpec, settings: Settings | None = None) -> None:
        super().__init__(spec, settings)
        # Coefficients are divided by their root mean square over the train set, by frequency.
        self.register_buffer("scale", torch.ones(spec.frames))
        basis = torch.tensor(dct_matrix(spec.frames), dtype=torch.float32)
        self.register_buffer("dct", basis, persistent=False)
        options = self.settings
        style = Style(options.residual, options.bias, options.activation)
        bottom_up = options.latents[::-1]
        sizes = zip(((spec.nodes, spec.frames), *bottom_up[:-1]), bottom_up, strict=True)
        self.encoder = nn.ModuleList(
            _Encoder(below, above, style, self.adjacency(below[0], above[0]))
            for below, above in sizes
        )
        (nodes, features), *lower = options.latents
        self.top_block = GCB(nodes, features, style)
        self.top = _posterior_head(nodes, features, features, style, options.posterior_log_var)
        self.join_top = GCL(
            (nodes, spec.nodes),
            (features + self.condition_size, options.width),
            style,
            S=self.adjacency(nodes, spec.nodes),
        )
        self.block_top = GCB(spec.nodes, options.width, style)
        self.lower = nn.ModuleList(
            _StochasticLayer(self, latent, spec.nodes, style) for latent in lower
        )
        self.output_block = GCB(spec.nodes, options.width, style)
        self.output = GCL(
            (spec.nodes, spec.nodes), (options.width, 2 * spec.frames), style, head=True
        )

    def adjacency(self, nodes_in: int, nodes_out: int) -> Tensor | None:
        """Return ``(out, in)`` the fixed S of a layer that resizes the graph; None to learn it."""
        return None

    @property
    def condition_size(self) -> int:
        """Features of a condition that are appended to z0; none here."""
        return 0

    @property
    def layers(self) -> "list[_StochasticLayer]":
        """The stochastic layers below the top, from the top down."""
        return cast("list[_StochasticLayer]", list(self.lower))

    def fit(
        self, train_windows: Windows, valid: Windows, context: FitContext | None = None
    ) -> None:
        """Maximise the ELBO."""
        self.measure(train_windows, valid)
        train(self, train_windows, valid, self.settings, context or FitContext())

    def measure(self, train_windows: Windows, valid: Windows) -> None:
        """Compute the train set's mean and the scale of each frequency."""
        super().fit(train_windows, valid)
        if self.settings.normalise == "frequency":
            squares = summed(train_windows, self._squares)
            self.scale.copy_((squares / len(train_windows)).sqrt().clamp(min=1e-3))

    def _squares(self, motion: Tensor) -> Tensor:
        """Return each frequency's mean square over nodes, summed over windows."""
        return self._coefficients(motion.float()).double().square().mean(dim=0).sum(dim=0)

    def losses(
        self, motion: Tensor, kl_weight: float, condition: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the negative ELBO (eq. 1) and its terms, averaged over windows, in nats.

        Args:
            motion: ``(window, frame, joint, 3)``, mm.
            kl_weight: factor on the KL terms in ``loss``.
            condition: ``(window, condition_size)``, appended to z0; None for zeros.

        Returns:
            ``loss``, ``distortion`` (negative log likelihood) and ``kl_z0``, ``kl_z1``, ...
        """
        x = self._scaled(motion)
        features = self._bottom_up(x)
        path, posteriors, priors = self._top_down(features, Gaussian.sample, condition=condition)
        distortion = -self._likelihood(path).log_prob(x).mean()
        rates = [q.kl(p).mean() for q, p in zip(posteriors, priors, strict=True)]
        clamped = [rate.clamp(min=self.settings.free_bits) for rate in rates]
        rate = torch.stack(clamped if self.training else rates).sum()
        parts = {f"kl_z{level}": value for level, value in enumerate(rates)}
        loss = distortion + self.settings.beta * kl_weight * rate
        return {"loss": loss, "distortion": distortion, **parts}

    def log_posterior(self, motion: Tensor) -> Tensor:
        """Return ``(window, level)`` log densities of each posterior's mean under its prior, nats.

        This is what the paper calls the log posterior and what its published code computes, with
        two differences: all levels count, and each latent of the top-down pass is its posterior's
        mean rather than a sample, so that a window's score is deterministic.
        """
        features = self._bottom_up(self._scaled(motion))
        _, posteriors, priors = self._top_down(features, Gaussian.centre, complete_path=False)
        levels = [p.log_prob(q.mean) for q, p in zip(posteriors, priors, strict=True)]
        return torch.stack(levels, dim=1)

    def elbo(self, motion: Tensor) -> Tensor:
        """Return the ELBO (eq. 1) with one draw of the latents, the same noise for all windows."""
        x = self._scaled(motion)
        path, posteriors, priors = self._top_down(self._bottom_up(x), SharedNoise())
        rates = [q.kl(p) for q, p in zip(posteriors, priors, strict=True)]
        likelihood = self._likelihood(path).log_prob(x)
        # Change of variables: the DCT is orthonormal, dividing by the scale is not.
        volume = self.spec.nodes * torch.log(self.scale).sum()
        return likelihood - torch.stack(rates).sum(dim=0) - volume

    @torch.no_grad()
    def reconstruct(self, motion: Tensor) -> Tensor:
        """Return the likelihood's mean given the posteriors' means, ``motion``'s shape, mm."""
        path, _, _ = self._top_down(self._bottom_up(self._scaled(motion)), Gaussian.centre)
        return self._motion(self._likelihood(path).mean)

    @torch.no_grad()
    def sample(self, count: int) -> Tensor:
        """Return the likelihood's mean given latents drawn from the prior, ``(count, ...)``, mm."""
        return self._draw(count, None)

    def _draw(self, count: int, condition: Tensor | None) -> Tensor:
        """Return ``count`` windows from the prior, given a condition."""
        path = self._from_prior(Gaussian.sample, count, condition)
        return self._motion(self._likelihood(path).mean)

    def infer(self, motion: Tensor) -> Chain:
        """Return q(z | motion): each level's posterior depends on the latents above it."""
        features = self._bottom_up(self._scaled(motion))
        return Chain(lambda draw: self._top_down(features, draw))

    def decode(self, z: Tensor) -> Decoded:
        """Return p(x | z), DCT coefficients independent, and p(z)."""
        given = Given(z)
        likelihood = self._likelihood(self._from_prior(given, len(z), None))
        return Decoded(
            self._rows(self._motion(likelihood.mean)),
            torch.exp(0.5 * likelihood.log_var) * self.scale,
            self._basis.to(z),
            self._rows,
            self._unrows,
            given.log_prob,
        )

    @torch.no_grad()
    def embed(self, motion: Tensor) -> Tensor:
        """Return the mean of z0's posterior, ``(window, node * feature)``."""
        mean = self._top(self._bottom_up(self._scaled(motion))[0]).mean
        return mean.permute(1, 0, 2).flatten(1)

    def latent_shapes(self) -> list[tuple[int, int]]:
        """Return (nodes, features) of z0, z1, ..., measured on an empty window."""
        blank = torch.zeros(
            1, self.spec.frames, len(self.spec.skeleton), 3, device=self.mean.device
        )
        _, posteriors, _ = self._top_down(self._bottom_up(self._scaled(blank)), Gaussian.centre)
        return [(q.mean.shape[0], q.mean.shape[2]) for q in posteriors]

    def _scaled(self, motion: Tensor) -> Tensor:
        """Return the network's input: scaled coefficients ``(node, window, frequency)``."""
        return self._coefficients(motion) / self.scale

    def _coefficients(self, motion: Tensor) -> Tensor:
        """Return DCT coefficients of motion, mm: ``(node, window, frequency)``."""
        return float32_matmul(self._rows(motion - self._origin), self._basis)

    def _motion(self, scaled: Tensor) -> Tensor:
        """Invert ``_scaled``."""
        return self._unrows(float32_matmul(scaled * self.scale, self._basis.T)) + self._origin

    @property
    def _basis(self) -> Tensor:
        """``(value, coefficient)``, orthonormal: what rows are multiplied by."""
        return self.dct.T if self.settings.dct == "forward" else self.dct

    def _rows(self, motion: Tensor) -> Tensor:
        """Lay out motion as ``(node, window, frame)``."""
        if self.settings.layout == "scrambled":
            shape = (len(motion), self.spec.nodes, self.spec.frames)
            return motion.reshape(shape).transpose(0, 1)
        return to_nodes(motion)

    def _unrows(self, rows: Tensor) -> Tensor:
        """Undo ``_rows``."""
        if self.settings.layout == "scrambled":
            return rows.transpose(0, 1).reshape(-1, *self.mean.shape)
        return from_nodes(rows)

    @property
    def _origin(self) -> Tensor | float:
        return self.mean if self.settings.normalise == "frequency" else 0.0

    def _bottom_up(self, x: Tensor) -> list[Tensor]:
        """Return the bottom-up features of every level, top first."""
        features = []
        for level in self.encoder:
            x = level(x)
            features.append(x)
        return features[::-1]

    def _top(self, feature: Tensor) -> Gaussian:
        """Return z0's posterior."""
        return Gaussian.from_head(self.top(self.top_block(feature)))

    def _start_path(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """Return the path after z0, with the condition appended to each of z0's nodes."""
        if self.condition_size:
            if condition is None:
                condition = z.new_zeros(z.shape[1], self.condition_size)
            z = torch.cat([z, condition.expand(len(z), -1, -1)], dim=-1)
        return self.block_top(self.join_top(z))

    def _top_down(
        self,
        features: list[Tensor],
        draw: Draw,
        complete_path: bool = True,
        condition: Tensor | None = None,
    ) -> tuple[Tensor, list[Gaussian], list[Gaussian]]:
        """Return the end of the path, and every level's posterior and prior, top first.

        Args:
            features: bottom-up features of every level, top first.
            draw: chooses each latent from its posterior.
            complete_path: whether to add the lowest latent to the path; only the likelihood needs
                it.
            condition: ``(window, condition_size)``, appended to z0; None for zeros.
        """
        posterior = self._top(features[0])
        posteriors, priors = [posterior], [Gaussian.standard(posterior.mean)]
        path = self._start_path(draw(posterior), condition)
        for number, (layer, feature) in enumerate(zip(self.layers, features[1:], strict=True), 1):
            step = layer(path, feature)
            posteriors.append(step.posterior)
            priors.append(step.prior)
            if complete_path or number < len(self.layers):
                path = layer.join_path(step, draw(step.posterior))
        return path, posteriors, priors

    def _from_prior(self, draw: Draw, count: int, condition: Tensor | None) -> Tensor:
        """Return the end of the path of ``count`` windows, each latent chosen from its prior."""
        nodes, features = self.settings.latents[0]
        blank = self.mean.new_zeros(nodes, count, features)
        path = self._start_path(draw(Gaussian.standard(blank)), condition)
        for layer in self.layers:
            step = layer(path, None)
            path = layer.join_path(step, draw(step.prior))
        return path

    def _likelihood(self, path: Tensor) -> Gaussian:
        """Return p(x | z) over scaled coefficients, its standard deviation above the floor."""
        floor = self.settings.sigma_floor / self.scale
        if self.settings.normalise == "frequency":
            floor = floor.clamp(max=self.settings.sigma_floor_share)
        return Gaussian.likelihood(self.output(self.output_block(path)), floor)


def _posterior_head(nodes: int, width: int, features: int, style: Style, log_var: float) -> GCL:
    """Return a fused head for mean and log variance, the latter initially ``log_var``."""
    head = GCL((nodes, nodes), (width, 2 * features), style, head=True)
    nn.init.constant_(head.b[:, features:], log_var)
    return head


class _Encoder(nn.Module):
    """One level of the bottom-up pass: a layer that resizes the graph, then a block."""

    def __init__(
        self, below: tuple[int, int], above: tuple[int, int], style: Style, S: Tensor | None
    ) -> None:
        super().__init__()
        self.resize = GCL((below[0], above[0]), (below[1], above[1]), style, S=S)
        self.block = GCB(*above, style)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(self.resize(x))


class _StochasticLayer(nn.Module):
    """One stochastic layer of the top-down pass below the top (the paper's Fig. 2)."""

    def __init__(self, model: HGVAE, latent: tuple[int, int], nodes: int, style: Style) -> None:
        super().__init__()
        inner, features = latent
        width = model.settings.width
        smaller, larger = model.adjacency(nodes, inner), model.adjacency(inner, nodes)
        self.prior_block = GCB(nodes, width, style)
        self.prior = GCL((nodes, inner), (width, 2 * features), style, head=True, S=smaller)
        self.reduce = GCL((nodes, inner), (width, features), style, S=smaller)
        self.posterior_block = GCB(inner, 2 * features, style)
        log_var = model.settings.posterior_log_var
        self.posterior = _posterior_head(inner, 2 * features, features, style, log_var)
        self.join = GCL((inner, nodes), (features, width), style, S=larger)
        self.block = GCB(nodes, width, style)
        self.prior_weight = nn.Parameter(torch.zeros(()))
        self.latent_weight = nn.Parameter(torch.zeros(()))

    def forward(self, path: Tensor, feature: Tensor | None) -> "_Step":
        """Return this level's prior and posterior; without ``feature``, both are the prior."""
        context = self.prior_block(path)
        prior = posterior = Gaussian.from_head(self.prior(context))
        if feature is not None:
            joined = torch.cat([self.reduce(path), feature], dim=-1)
            posterior = Gaussian.from_head(self.posterior(self.posterior_block(joined)))
        return _Step(path, context, posterior, prior)

    def join_path(self, step: "_Step", z: Tensor) -> Tensor:
        """Return the path after adding the prior block's output and the latent."""
        path = weighted_sum(step.path, self.prior_weight, step.context)
        return self.block(weighted_sum(path, self.latent_weight, self.join(z)))


class _Step(NamedTuple):
    """Outputs of a stochastic layer before its latent is drawn."""

    path: Tensor
    context: Tensor
    posterior: Gaussian
    prior: Gaussian
