"""The joints of a file of rotations: which channels go together, and where they put each joint."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.spatial.transform import Rotation

from bench.datasets.bvh_file import AXES, Node
from bench.fill.gaps import Numbers


@dataclass(frozen=True)
class Track:
    """Channels of a joint that are missing, and filled, together.

    Attributes:
        name: of the joint; followed by ``position`` if it is that.
        node: number of the joint.
        columns: numbers of the channels, at most three.
        axes: of the channels, such as ``ZXY``.
        turns: whether they are rotations, in degrees.
    """

    name: str
    node: int
    columns: tuple[int, ...]
    axes: str
    turns: bool

    def rotation(self, values: Numbers) -> Rotation:
        """Return rotations, given values ``(frame, 3)`` of a track that turns."""
        return Rotation.from_euler(self.axes, values[:, : len(self.axes)], degrees=True)


@dataclass(frozen=True)
class Tree:
    """A tree of joints.

    Attributes:
        nodes: joints and End Sites, parents before children.
        names: a unique name for each.
        tracks: all of them.
    """

    nodes: tuple[Node, ...]
    names: tuple[str, ...]
    tracks: tuple[Track, ...]

    @cached_property
    def _tracks(self) -> dict[tuple[int, bool], int]:
        """The number of the track of a joint that turns it, or that places it."""
        return {(track.node, track.turns): n for n, track in enumerate(self.tracks)}

    def below(self, node: int) -> list[int]:
        """Return the numbers of the nodes below one."""
        found: list[int] = []
        for number in range(node + 1, len(self.nodes)):
            if self.nodes[number].parent in (node, *found):
                found.append(number)
        return found

    def moved(self, track: Track) -> list[int]:
        """Return the numbers of the nodes whose positions a track decides on."""
        below = self.below(track.node)
        return below if track.turns else [track.node, *below]

    def placed(self, values: Numbers, start: int | None = None) -> Numbers:
        """Return positions ``(frame, node, 3)`` in the file's units; nan of what is not known.

        Args:
            values: ``(frame, track, 3)``.
            start: the node in whose own axes the nodes below it are placed, others not; None for
                all of them in the world.
        """
        found = np.full((len(values), len(self.nodes), 3), np.nan)
        turns: dict[int, Numbers] = {}
        for number, node in enumerate(self.nodes):
            if number == start:
                found[:, number], turns[number] = 0.0, np.eye(3)
            elif node.parent in turns:
                before = turns[node.parent]
                shift = (before @ self._shift(number, values)[..., None])[..., 0]
                found[:, number] = found[:, node.parent] + shift
                turns[number] = before @ self._turn(number, values)
            elif start is None:
                found[:, number], turns[number] = (
                    self._shift(number, values),
                    self._turn(number, values),
                )
        return found

    def _shift(self, node: int, values: Numbers) -> Numbers:
        """Return ``(frame, 3)`` from the parent: a position channel replaces that of OFFSET."""
        shift = np.tile(np.array(self.nodes[node].offset), (len(values), 1))
        if (number := self._tracks.get((node, False))) is not None:
            for place, axis in enumerate(self.tracks[number].axes):
                shift[:, AXES.index(axis)] = values[:, number, place]
        return shift

    def _turn(self, node: int, values: Numbers) -> Numbers:
        """Return matrices ``(frame, 3, 3)`` from a node's axes to its parent's."""
        number = self._tracks.get((node, True))
        if number is None:
            return np.eye(3)
        own = values[:, number]
        known = np.isfinite(own).all(axis=1)
        found = np.full((len(own), 3, 3), np.nan)
        if known.any():
            found[known] = self.tracks[number].rotation(own[known]).as_matrix()
        return found


def tree_of(nodes: Sequence[Node], names: Sequence[str]) -> Tree:
    """Return the tree of a file's nodes, given a unique name for each."""
    tracks, first = [], 0
    for number, (node, name) in enumerate(zip(nodes, names, strict=True)):
        for kind, label in (("ROTATION", name), ("POSITION", f"{name} position")):
            own = [place for place, one in enumerate(node.channels) if one.endswith(kind)]
            axes = "".join(node.channels[place][0] for place in own)
            columns = tuple(first + place for place in own)
            if own:
                tracks.append(Track(label, number, columns, axes, kind == "ROTATION"))
        first += len(node.channels)
    return Tree(tuple(nodes), tuple(names), tuple(tracks))
