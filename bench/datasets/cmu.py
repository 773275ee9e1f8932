"""CMU motion capture as its owner publishes it: Acclaim files by subject (mocap.cs.cmu.edu).

Read from a folder or directly from the archive: ``all_asfamc/subjects/<s>/<s>.asf`` with
``<s>_<trial>.amc``, 120 frames per second. Real motion at true lengths.

The 8-action benchmark (``cmu_expmap``) holds conversions of some of these recordings. Their
joint rotations agree to 1e-4 degrees. The skeleton published with the benchmark, however, comes
from a conversion to BVH in which two bones have no length, the thorax (118 mm) and the wrist
(94 mm): in it, neck, head and arms are some 110 mm lower than here, and hands are nearer to elbows.

In eight of 175 recordings examined, a limb or the whole upper body is at exactly zero in the first
frames, then jumps (1 to 7 frames, 50 in 03_02); these frames are dropped.
"""

import re
from collections.abc import Mapping, Set
from pathlib import Path, PureWindowsPath
from typing import ClassVar

from bench.core.errors import InputError
from bench.core.notices import note
from bench.datasets.acclaim_body import AcclaimBody, sibling
from bench.datasets.archive import File
from bench.datasets.base import Source
from bench.datasets.cmu_actions import ACTION_OF
from bench.datasets.text import table_of

INDEX = "index.csv"
_NAME = re.compile(r"([0-9]{1,4})_([0-9]{1,4})\.amc", re.IGNORECASE)
_LISTED = re.compile(r"([0-9]{1,4}_[0-9]{1,4})(?:\.amc)?", re.IGNORECASE)
"""The name of a recording in an index, with its suffix or without it."""
SHOWN = 20
"""Recordings that a notice names."""

SHARED_TAKES = {19: 18, 21: 20, 23: 22, 34: 33, 61: 60}
"""Subjects recorded together with another one; both belong to the split and fold of the latter."""

ACTIONS = (
    ("basketball", "basketball"),
    ("soccer", "soccer"),
    ("direct traffic", "directing_traffic"),
    ("jumping jack|squat|stretch|exercis|side twist|sit-?up|push-?up", "exercising"),
    ("dance|salsa|ballet|charleston", "dancing"),
    ("punch|strike|sword|boxing|kick|kata|empi|heian|mawashi|syuto|yoko", "fighting"),
    ("cartwheel|gymnast|flip|handspring|acrobat", "gymnastics"),
    ("wash|wipe|sweep|mop", "washing"),
    ("climb|ladder|stairs", "climbing"),
    ("jump|hop|leap|skip", "jumping"),
    ("run|jog", "running"),
    ("walk|navigate|march|wander|stride", "walking"),
    ("balanc", "balancing"),
    ("sit|stool|chair", "sitting"),
    ("drink|eat|bottle", "drinking"),
    ("pick|lift|scoop|carry|bend over", "lifting"),
    ("throw|toss|catch|pitch", "throwing"),
    ("human subject|nursery|animal|pantomime|mime", "pantomime"),
)
"""Regular expression for the start of a description's word, and the action; the first counts."""


class CMU(AcclaimBody):
    """CMU motion capture as its owner publishes it, split by subject, 18 joints, real."""

    name: ClassVar[str] = "cmu"
    home: ClassVar[str] = "mocap.cs.cmu.edu (free for research and products; not to be resold)"
    # The owner's archive of all subjects is allasfamc.zip.
    places = ("all_asfamc", "subjects", "allasfamc.zip", "cmu_asfamc*")
    recording = _NAME
    example = "all_asfamc/subjects/01/01_01.amc"

    def sources(self, root: Path | None) -> list[Source]:
        """Return every recording under ``root``, split by subject.

        The subject's number modulo 7 decides: 0 is test, 1 valid, the others train; of subjects
        recorded together, the lower number counts. Actions come from the descriptions in
        ``root/index.csv`` for the recordings that it lists, else from ``cmu_actions``.
        """
        found = self.recordings(root)
        index = root / INDEX if root else None
        named = _actions(index) if index and index.is_file() else {}
        if index and index.is_file():
            _note_unmatched(index, named, {file.inner.stem.lower() for file, _ in found})
        actions = ACTION_OF | named
        return [
            Source(stem, split_of(match[1]), actions.get(stem.lower(), ""), match[1], file)
            for stem, file, match in ((file.inner.stem, file, match) for file, match in found)
        ]

    def together(self, source: Source) -> str:
        """Return the subject; of subjects recorded together, the lower number."""
        return str(_leader(source.subject))

    def recognise(self, file: File) -> Source | None:
        """Recognise any AMC file but HDM05's; its ASF file is named by the part before ``_``."""
        if file.inner.suffix.lower() != ".amc" or file.inner.name.startswith("HDM_"):
            return None
        subject = file.inner.stem.partition("_")[0]
        return super().recognise(file) or Source(file.inner.stem, "train", "", subject, file)

    def skeleton_file(self, source: Source) -> File:
        """Return the ASF file of a recording's subject."""
        assert source.file is not None
        return sibling(source.file, f"{source.subject}.asf")


def split_of(subject: str) -> str:
    """Return the split of a subject, given its number as text."""
    return {0: "test", 1: "valid"}.get(_leader(subject) % 7, "train")


def _leader(subject: str) -> int:
    """Return the number of a subject, or that of the one it was recorded together with."""
    number = int(subject)
    return SHARED_TAKES.get(number, number)


def action_of(description: str) -> str:
    """Return the action in a description; empty where none of ``ACTIONS`` matches."""
    found = (
        action
        for words, action in ACTIONS
        if re.search(rf"\b(?:{words})", description, re.IGNORECASE)
    )
    return next(found, "")


def _actions(path: Path) -> dict[str, str]:
    """Return the action of each recording in an index of descriptions, by the recording's name.

    Raises:
        InputError: it has no columns path and description, or describes a recording twice.
    """
    table = table_of(File(path), File(path).read(), header=True)
    names = [name.strip().lower() for name in table.header]
    if missing := [name for name in ("path", "description") if name not in names]:
        raise InputError(f"{path}: no column '{missing[0]}'; add it or remove the file")
    actions: dict[str, str] = {}
    for number, cells in table.cells():
        if len(cells) != len(names):
            raise InputError(
                f"{path}: line {number} has {len(cells)} cells, the header has {len(names)}; "
                "correct it or remove the file"
            )
        # Paths of Windows are read on any system.
        name = PureWindowsPath(cells[names.index("path")].strip()).name
        match = _LISTED.fullmatch(name)
        if match is None:
            continue
        stem, action = match[1].lower(), action_of(cells[names.index("description")])
        if actions.setdefault(stem, action) != action:
            raise InputError(
                f"{path}: line {number} says '{action}' of {stem}, a line before it "
                f"'{actions[stem]}'; remove the wrong one"
            )
    return actions


def _note_unmatched(index: Path, listed: Mapping[str, str], present: Set[str]) -> None:
    """Note which rows of an index fit no recording, or that none does."""
    unmatched = sorted(set(listed) - present)
    if not set(listed) & present:
        note("index", f"{index}: none of its rows names a recording that is there")
    elif unmatched:
        shown = ", ".join(unmatched[:SHOWN]) + (" ..." if len(unmatched) > SHOWN else "")
        note("index", f"{index}: {len(unmatched)} rows fit no recording: {shown}")
