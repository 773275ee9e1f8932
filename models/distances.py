"""Distances between joints that motion keeps, and completions that keep them."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from bench.fitting.moments import summed
from bench.motion import MotionSpec, Windows

CONSTANT = 3.0
"""Largest standard deviation of a distance that counts as constant, mm."""
NOISE = 0.5
"""Least standard deviation that a constant distance is taken to have, mm."""
STEPS = 4
"""Linearisations of the distances."""
HALVINGS = 3
"""Times that a frame's step is halved where it would make things worse."""
SHORTEST = 0.3
"""Least length of the mean of a bone, as a share of the bone's, so that it has a direction."""


class Distances(nn.Module):
    """Constant distances between joints, and of joints from points that are fixed to the root.

    Bones keep their length, joints of one bone their distance, and a joint that hangs from the root
    by one bone, such as a knee, stays on a sphere. None of it is linear in positions, so no
    Gaussian knows it. Distances are found in the train windows; there are none where bones differ
    in length from person to person.

    Attributes:
        length: buffer ``(joint, 2 * joint)``, the mean distance of each joint from each joint, and
            from each joint's centre, mm.
        spread: buffer, the same shape, its standard deviation, mm.
        centre: buffer ``(joint, 3)``, of the sphere that is nearest to a joint's positions, mm.
    """

    length: Tensor
    spread: Tensor
    centre: Tensor

    def __init__(self, spec: MotionSpec) -> None:
        super().__init__()
        joints = len(spec.skeleton)
        self.register_buffer("length", torch.zeros(joints, 2 * joints, dtype=torch.float64))
        self.register_buffer("spread", torch.full_like(self.length, torch.inf))
        self.register_buffer("centre", torch.zeros(joints, 3, dtype=torch.float64))

    def measure(self, train: Windows) -> None:
        """Find the distances in windows."""
        count = len(train) * train.spec.frames
        # A sphere's points x fulfil 2 c x + (r^2 - c^2) = x^2, linear in the unknowns.
        products = summed(train, _sphere_products) / count
        solution = torch.linalg.lstsq(products[:, :4, :4], products[:, :4, 4:]).solution
        self.centre.copy_(solution[:, :3, 0])
        mean = summed(train, lambda motion: self._lengths(motion).sum(dim=(0, 1))) / count
        square = summed(
            train, lambda motion: (self._lengths(motion) - mean).square().sum(dim=(0, 1))
        )
        self.length.copy_(mean)
        self.spread.copy_((square / count).sqrt())

    def _lengths(self, motion: Tensor) -> Tensor:
        """Return ``(window, frame, joint, 2 * joint)`` distances."""
        points = torch.cat([motion, self.centre.expand_as(motion)], dim=2)
        return (motion[..., None, :] - points[:, :, None]).norm(dim=-1)

    def kept(self, motion: Tensor, covariance: Tensor) -> Tensor:
        """Return the mean of poses that keep the distances, given one of poses that need not.

        Frames are independent. Distances are measurements in an iterated extended Kalman update
        (Bell and Cathey 1993). The mean of a bone that may point to several sides is shorter than
        the bone, by the variance that is left: the second-order filter's correction (Bar-Shalom et
        al. 2001, sec. 10.3).

        Args:
            motion: ``(window, frame, joint, 3)`` float64, means, mm.
            covariance: ``(frame, coordinate, coordinate)`` float64 within each frame, the same for
                all windows, 0 where seen, mm squared.
        """
        bonds = self._bonds(covariance)
        if not len(bonds.length):
            return motion
        moving = covariance.diagonal(dim1=1, dim2=2).any(dim=1)
        search = _Search(motion[:, moving].flatten(2), covariance[moving], bonds)
        for _ in range(STEPS):
            search.step()
        kept = motion.clone()
        kept[:, moving] = search.pose.unflatten(2, motion.shape[2:])
        return kept

    def _bonds(self, covariance: Tensor) -> "_Bonds":
        """Return the constant distances that hidden coordinates have part in."""
        joints = len(self.centre)
        hidden = (covariance.diagonal(dim1=1, dim2=2) > 0).any(dim=0).view(joints, 3).any(dim=1)
        # Each pair of joints once, and of centres only a joint's own.
        pairs = torch.cat([torch.ones(joints, joints).tril(-1), torch.eye(joints)], dim=1).bool()
        involved = hidden[:, None] | torch.cat([hidden, torch.zeros_like(hidden)])
        first, second = torch.nonzero(
            pairs.to(hidden.device) & involved & (self.spread < CONSTANT), as_tuple=True
        )
        points = torch.eye(2 * joints, joints).to(self.centre)
        joint, centre = points[first] - points[second], second >= joints
        difference = torch.einsum("bj,ac->bajc", joint, torch.eye(3).to(joint))
        origin = torch.where(centre[:, None], self.centre[second % joints], 0.0)
        noise = self.spread[first, second].clamp(min=NOISE).square()
        return _Bonds(difference.flatten(2), origin, self.length[first, second], noise)


class _Bonds(NamedTuple):
    """Constant distances.

    Attributes:
        difference: ``(bond, 3, coordinate)``, from a pose to the vector along each bond.
        origin: ``(bond, 3)``, the fixed point that it starts at, mm; 0 between joints.
        length: ``(bond,)``, mm.
        noise: ``(bond,)``, the variance of the length, mm squared.
    """

    difference: Tensor
    origin: Tensor
    length: Tensor
    noise: Tensor

    def along(self, pose: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(..., bond, 3)`` unit vectors and ``(..., bond)`` lengths, mm."""
        vector = torch.einsum("bac,...c->...ba", self.difference, pose) - self.origin
        length = vector.norm(dim=-1).clamp(min=1.0)
        return vector / length[..., None], length

    def variance(self, covariance: Tensor) -> Tensor:
        """Return ``(..., bond)`` variances of bonds in all directions, summed, mm squared.

        Args:
            covariance: ``(..., coordinate, coordinate)`` of poses.
        """
        products = self.difference.mT @ self.difference
        return covariance.flatten(-2) @ products.flatten(1).T


class _Search:
    """Poses on their way to given distances: ``pose = start + covariance @ pull``."""

    def __init__(self, start: Tensor, covariance: Tensor, bonds: _Bonds) -> None:
        self.start, self.covariance, self.bonds = start, covariance, bonds
        self.pose, self.pull = start, torch.zeros_like(start)
        self.target: Tensor | None = None
        self.variance = bonds.variance(covariance)

    def step(self) -> None:
        """Linearise the distances, and take the part of the step that makes no frame worse."""
        bonds = self.bonds
        direction, length = bonds.along(self.pose)
        slope = torch.einsum("wfba,bac->wfbc", direction, bonds.difference)
        across = slope @ self.covariance
        factor = torch.linalg.cholesky(across @ slope.mT + torch.diag(bonds.noise))
        # The first step is from poses that may be far off, and so is the variance that it leaves.
        if self.target is None:
            target = bonds.length.expand_as(length)
        else:
            target = self._mean_length(torch.linalg.solve_triangular(factor, across, upper=False))
        self.target = target
        residual = target - length - (slope @ (self.start - self.pose)[..., None])[..., 0]
        aim = (slope.mT @ torch.cholesky_solve(residual[..., None], factor))[..., 0]
        self._towards(aim, target)

    def _mean_length(self, explained: Tensor) -> Tensor:
        """Return the length of the mean of each bond, given what the distances explain."""
        left = self.variance - self.bonds.variance(explained.mT @ explained)
        length = self.bonds.length.square()
        return torch.maximum(length - left, SHORTEST**2 * length).sqrt()

    def _towards(self, aim: Tensor, target: Tensor) -> None:
        """Move to ``aim``, or as far as costs do not grow."""
        step = aim - self.pull
        moved = torch.einsum("fcd,wfd->wfc", self.covariance, step)
        cost = self._cost(self.pull, self.pose, target)
        share = torch.ones_like(cost)[..., None]
        for halving in range(HALVINGS + 1):
            tried = self._cost(self.pull + share * step, self.pose + share * moved, target)
            less = 0.5 if halving < HALVINGS else 0.0
            share = torch.where((tried > cost)[..., None], less * share, share)
        self.pull, self.pose = self.pull + share * step, self.pose + share * moved

    def _cost(self, pull: Tensor, pose: Tensor, target: Tensor) -> Tensor:
        """Return ``(window, frame)`` the negative log density of poses but for a constant."""
        gap = self.bonds.along(pose)[1] - target
        prior = (pull * (pose - self.start)).sum(dim=-1)
        return prior + (gap.square() / self.bonds.noise).sum(dim=-1)


def _sphere_products(motion: Tensor) -> Tensor:
    """Return ``(joint, 5, 5)`` sums of products of (2 x, 1, x^2) over windows and frames."""
    points = motion.flatten(0, 1).transpose(0, 1)
    square = points.square().sum(dim=-1, keepdim=True)
    terms = torch.cat([2 * points, torch.ones_like(square), square], dim=-1)
    return terms.mT @ terms
