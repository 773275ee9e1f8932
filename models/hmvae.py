"""HM-VAE as the HG-VAE paper describes it (its sec. 6.2, after Li et al. 2021).

Two graph latents: one of the limbs, one of the joints. The graph is resized by pooling the joints
of a limb, which is not learnt. The KL terms have weight 0.003. All else is as in HG-VAE. The
published HM-VAE of Li et al. is another model: temporal convolutions on joint rotations, with
completion by optimising latents.
"""

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bench.motion import MotionSpec
from models.hgvae import HGVAE


class HMVAE(HGVAE):
    """HM-VAE as the paper describes it: latents of limbs and joints, joints pooled by limb."""

    name = "hmvae"
    paper_parameters: ClassVar[float | None] = None

    class Settings(HGVAE.Settings):
        """Those of HG-VAE with other defaults; node counts must match the skeleton."""

        latents: tuple[tuple[int, int], ...] = Field(
            ((18, 256), (54, 128)),
            min_length=2,
            max_length=2,
            description="(nodes, features) of the latents of limbs and of joints",
        )
        beta: float = Field(0.003, ge=0, description="weight of the KL terms")

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper_recipe": HGVAE.presets["paper_recipe"],
    }

    def __init__(self, spec: MotionSpec, settings: Settings | None = None) -> None:
        chosen = self.Settings() if settings is None else settings
        nodes = tuple(count for count, _ in chosen.latents)
        known = (3 * len(spec.skeleton.limbs), spec.nodes)
        if nodes != known:
            raise ValueError(
                f"hmvae's latents have {known[0]} nodes (coordinates of limbs) and {known[1]} "
                f"(coordinates of joints), not {nodes[0]} and {nodes[1]}"
            )
        super().__init__(spec, chosen)

    def adjacency(self, nodes_in: int, nodes_out: int) -> Tensor | None:
        """Return the pooling of joints by limb, or the unpooling that copies a limb's features."""
        if nodes_in == nodes_out:
            return None
        pool = _pooling(self.spec.skeleton.names, dict(self.spec.skeleton.limbs))
        return pool if nodes_out < nodes_in else (pool.T > 0) * 1.0


def _pooling(names: tuple[str, ...], limbs: dict[str, tuple[str, ...]]) -> Tensor:
    """Return ``(limb * 3, joint * 3)``, the mean of each coordinate over a limb's joints."""
    member = torch.tensor([[float(name in joints) for name in names] for joints in limbs.values()])
    return torch.kron(member / member.sum(dim=1, keepdim=True), torch.eye(3))
