"""What an imputation cell hides of its windows."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.motion import Windows
from bench.motion.mechanisms.base import Level
from bench.protocol.schema import Protocol
from bench.sweep.jobs import Cell


@dataclass(frozen=True)
class Occlusion:
    """Windows, and what of them is hidden; tensors are ``(window, frame, joint, 3)``.

    Attributes:
        truth: the windows, mm.
        observed: the windows as they are observed, mm; differs from ``truth`` where the mechanism
            adds noise.
        hidden: bool, True where a value is hidden from the imputer.
        judged: bool, True where errors count: hidden values, or all where there is noise.
    """

    truth: Tensor
    observed: Tensor
    hidden: Tensor
    judged: Tensor

    @property
    def shares(self) -> dict[str, Tensor]:
        """``(window,)`` realised shares in [0, 1], by column.

        ``share`` of features; ``hidden_joints`` of joint positions, of all joints and frames, with
        a hidden coordinate; ``hidden_frames`` of frames with one.
        """
        joints = self.hidden.any(dim=-1)
        return {
            "share": self.hidden.flatten(1).double().mean(dim=1),
            "hidden_joints": joints.flatten(1).double().mean(dim=1),
            "hidden_frames": joints.any(dim=-1).double().mean(dim=1),
        }


def occlude(protocol: Protocol, cell: Cell, windows: Windows, device: str) -> Occlusion:
    """Return what a cell hides of windows, on a device."""
    entry = protocol.occlusion[cell.mechanism]
    mechanism = entry.at(Level.parse(cell.level), cell.seed)
    truth = windows.tensor().to(device)
    hidden = torch.from_numpy(mechanism.occluded(windows)).to(device)
    if not mechanism.disturbs:
        return Occlusion(truth, truth, hidden, hidden)
    observed = torch.from_numpy(mechanism.observed(windows)).to(device)
    return Occlusion(truth, observed, hidden, torch.ones_like(hidden))
