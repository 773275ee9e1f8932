"""An imputer of a run's checkpoint as a method that fills gaps of a body's joints.

Windows at the run's rate overlap by half and are blended. What the imputer made of a gap is taken
back to the recording's rate and axes, and its ends are joined to what was seen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.interpolate import CubicSpline

from bench.analysis import results
from bench.core.errors import InputError, did_you_mean
from bench.core.registry import INFERENCES, plugins
from bench.datasets.markers import Markers
from bench.fill.gaps import Bools, Gap, Numbers
from bench.fill.methods import Completed, Methods
from bench.motion import derive_seed
from bench.motion.kinematics import facing, resample_positions
from bench.protocol.schema import Protocol
from bench.report import run_folder
from bench.sweep import exported
from bench.sweep.workspace import Workspace
from models.base import GenerativeImputer, Imputer

BATCH = 256
"""Windows that are completed at a time."""
ROOTS = (("pelvis",), ("left_hip", "right_hip"))
"""Points whose mean is the root, the first that a recording has."""


@dataclass(frozen=True)
class RunImputer:
    """A fitted imputer, and what it was fitted to.

    Attributes:
        name: its label in the protocol.
        model: the imputer.
        protocol: of its run.
    """

    name: str
    model: Imputer
    protocol: Protocol

    def fill(
        self,
        methods: Methods,
        whole: Numbers,
        gaps: Sequence[Gap],
        names: Sequence[str],
    ) -> Iterator[Completed | None]:
        """Yield what the imputer makes of each gap; None for a point that it does not know.

        Args:
            methods: of the recording.
            whole: ``(frame, point, 3)``, mm, the recording filled by other methods as far as it
                can be; the body's own axes are taken from it.
            gaps: what to fill.
            names: of the points.

        Raises:
            InputError: the recording lacks joints of the run.
        """
        joints = self.protocol.spec.skeleton.names
        if lost := [name for name in joints if name not in names]:
            near = did_you_mean(lost[0], names)
            raise InputError(
                f"no point '{lost[0]}'{near}; {self.name} completes {', '.join(joints)}"
            )
        place = {joint: number for number, joint in enumerate(joints)}
        axes = _axes(whole, names, self.protocol)
        columns = [names.index(name) for name in joints]
        local = _turned(whole[:, columns] - axes.root, axes.turn)
        made, sigma = self._completed(local, ~methods.seen[:, columns], methods.fps)
        for gap in gaps:
            joint = place.get(names[gap.point])
            inside = slice(gap.start, gap.stop)
            if joint is None or not np.isfinite(made[inside, joint]).all():
                yield None
                continue
            back = _turned(made[inside, joint, None], axes.turn[inside].swapaxes(1, 2))
            positions = (back + axes.root[inside])[:, 0]
            if gap.place != "never":
                positions += methods.correction(positions, gap, methods.seen)
            yield Completed(positions, sigma[inside, joint], (self.name,))

    def _completed(self, local: Numbers, hidden: Bools, fps: float) -> tuple[Numbers, Numbers]:
        """Return ``(frame, joint, 3)`` completed motion and ``(frame, joint)`` deviations, mm.

        Deviations are nan if the imputer states none.
        """
        spec = self.protocol.spec
        known = np.where(hidden[..., None], np.nan, local)
        motion = resample_positions(local, fps, spec.fps)
        gone = ~np.isfinite(resample_positions(known, fps, spec.fps)).all(axis=-1)
        motion = np.nan_to_num(motion)
        short = max(spec.frames - len(motion), 0)
        motion = np.pad(motion, ((0, short), (0, 0), (0, 0)), mode="edge").astype(np.float32)
        gone = np.pad(gone, ((0, short), (0, 0)), mode="edge")
        total = np.zeros((*gone.shape, 4))
        weights = np.zeros(len(gone))
        ramp = np.minimum(np.arange(1, spec.frames + 1), np.arange(spec.frames, 0, -1))
        starts = _starts(gone, spec.frames)
        states = True
        device = self.model.mean.device
        for first in range(0, len(starts), BATCH):
            some = starts[first : first + BATCH]
            windows = np.stack([motion[start : start + spec.frames] for start in some])
            masks = np.stack([gone[start : start + spec.frames] for start in some])
            hide = torch.from_numpy(masks)[..., None].expand(-1, -1, -1, 3).contiguous()
            with torch.random.fork_rng():
                torch.manual_seed(derive_seed("fill", first))
                found = self.model.impute(torch.from_numpy(windows).to(device), hide.to(device))
            states &= found.sigma is not None
            sigma = torch.zeros_like(found.motion) if found.sigma is None else found.sigma
            square = sigma.double().square().mean(dim=-1, keepdim=True)
            parts = torch.cat([found.motion.double(), square], dim=-1).numpy(force=True)
            for start, part in zip(some, parts, strict=True):
                total[start : start + spec.frames] += ramp[:, None, None] * part
                weights[start : start + spec.frames] += ramp
        done = weights > 0
        total[done] /= weights[done, None, None]
        total[~done, :, :3] = motion[~done]
        times = np.arange(len(hidden)) * (spec.fps / fps)
        at = times.clip(0, len(total) - 1)
        made = CubicSpline(np.arange(len(total)), total[..., :3])(at) if len(total) > 1 else total
        if not states:
            return made[..., :3], np.full(hidden.shape, np.nan)
        return made, np.sqrt(np.maximum(total[np.rint(at).astype(np.int64), :, 3], 0))


@dataclass(frozen=True)
class _Axes:
    """The body's own axes: ``root`` ``(frame, 1, 3)``, mm, and ``turn`` ``(frame, 3, 3)``."""

    root: Numbers
    turn: Numbers


def _axes(whole: Numbers, names: Sequence[str], protocol: Protocol) -> _Axes:
    """Return what takes positions into the axes of a run's motion.

    Raises:
        InputError: the recording lacks the points that these axes follow from.
    """
    frames = len(whole)
    still = np.broadcast_to(np.eye(3), (frames, 3, 3))
    dataset = protocol.dataset
    if isinstance(dataset, Markers):
        upright = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]) if dataset.up == "z" else np.eye(3)
        return _Axes(np.zeros((frames, 1, 3)), np.broadcast_to(upright, still.shape))
    roots = next((one for one in ROOTS if set(one) <= set(names)), None)
    needed = {"removed": ("left_hip", "right_hip", "spine1"), "kept": ()}
    points = needed.get(dataset.orientation, ("left_hip", "right_hip"))
    if roots is None and not set(points) & set(names):
        # Joints alone, without those that a body's place follows from: it was removed already.
        return _Axes(np.zeros((frames, 1, 3)), still)
    if roots is None or (lost := [name for name in points if name not in names]):
        raise InputError(
            f"no point '{lost[0] if roots else 'pelvis'}', by which the body's own axes are found; "
            "add it, or leave out the hips and pelvis if the root is removed already"
        )
    columns = {name: whole[:, list(names).index(name)] for name in {*roots, *points}}
    root = np.mean([columns[name] for name in roots], axis=0)[:, None]
    if not points:
        return _Axes(root, still)
    left = columns["left_hip"] - columns["right_hip"]
    above = columns["spine1"] - root[:, 0] if "spine1" in points else np.array([0.0, 1.0, 0.0])
    forward = np.cross(left, np.broadcast_to(above, left.shape))
    body = np.stack([left, np.cross(forward, left), forward], axis=2)
    body /= np.linalg.norm(body, axis=1, keepdims=True)
    unit = np.broadcast_to(np.eye(3), still.shape)
    return _Axes(root, facing(unit, body, dataset.orientation).swapaxes(1, 2))


def _turned(positions: Numbers, turn: Numbers) -> Numbers:
    """Return positions ``(frame, point, 3)`` turned by ``(frame, 3, 3)``."""
    return np.einsum("fij,fpj->fpi", turn, positions)


def _starts(gone: Bools, frames: int) -> list[int]:
    """Return the first frames of windows that overlap by half and have something to complete."""
    last = len(gone) - frames
    starts = [*range(0, last, max(frames // 2, 1)), last]
    return [start for start in starts if gone[start : start + frames].any()]


def load(run: Path, imputer: str | None) -> RunImputer:
    """Return an imputer of a run, with its first seed, or one that was exported.

    Args:
        run: the folder of the run, below that of all results; or the file of an imputer.
        imputer: its label, or ``label/inference``; None: that in the file.

    Raises:
        InputError: it is no run, has no such imputer, or its weights are gone.
    """
    if run.is_file():
        return _exported(run, imputer)
    files = sorted(run.glob("*.safetensors"))
    if files and not (run / results.PROVENANCE).exists():
        raise InputError(f"{run}: no run but exported imputers; give --run {files[0]}")
    contents = run_folder.read(run)
    protocol = contents.run.protocol
    imputers = [name for name, entry in protocol.models.items() if issubclass(entry.cls, Imputer)]
    if imputer is None:
        raise InputError(f"{run}: which imputer? give --imputer with one of {', '.join(imputers)}")
    label, _, inference = imputer.partition("/")
    if label not in imputers:
        raise InputError(f"{run}: no imputer '{label}'{did_you_mean(label, imputers)}")
    store = next(
        (one / ".store" for one in run.resolve().parents if (one / ".store").is_dir()), None
    )
    fit = next((fit for fit in contents.plan.fits if fit.label == label), None)
    workspace = Workspace(
        protocol=protocol.to_dict(),
        store_folder=str(store),
        data="",
        code={},
        device=protocol.resources.device,
        plugins=tuple(map(str, plugins().values())),
    )
    if store is None or fit is None or not workspace.store.has_fit(fit.key):
        raise InputError(
            f"{run}: the weights of {label} are gone; keep the run below the folder of its "
            f"results, or run it again with: bench run {run / 'protocol.yaml'}"
        )
    model = workspace.load(fit.key, label, fit.seed)
    assert isinstance(model, Imputer)
    return _with_inference(run, RunImputer(imputer, model, protocol), label, inference)


def _exported(file: Path, imputer: str | None) -> RunImputer:
    """Return the imputer in a file; raises InputError if it is another one."""
    label, protocol, model = exported.read(file)
    name = imputer or label
    wanted, _, inference = name.partition("/")
    if wanted != label:
        raise InputError(f"{file}: holds the imputer '{label}', not '{wanted}'")
    return _with_inference(file, RunImputer(name, model, protocol), label, inference)


def _with_inference(run: Path, found: RunImputer, label: str, inference: str) -> RunImputer:
    """Set the inference of a generative model; raises InputError if there is none of the name."""
    model, protocol = found.model, found.protocol
    if isinstance(model, GenerativeImputer):
        known = list(protocol.inference)
        if inference and inference not in known:
            raise InputError(f"{run}: no inference '{inference}'{did_you_mean(inference, known)}")
        chosen = inference or next(iter(known), "")
        model.inference = protocol.inference.get(chosen) or INFERENCES.get(chosen)()
    elif inference:
        raise InputError(f"{run}: {label} has no inference; give --imputer {label}")
    return found
