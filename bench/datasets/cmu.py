"""CMU motion capture as its owner gives it: subjects' Acclaim files, from mocap.cs.cmu.edu.

Read where they lie, unpacked or in the archive: ``all_asfamc/subjects/<s>/<s>.asf`` with
``<s>_<trial>.amc``, 120 frames per second. Real motion at true lengths.

The 8-action benchmark (``cmu_expmap``) holds conversions of some of these recordings. Joint for
joint they turn alike, to 1e-4 degrees. Its published skeleton, however, comes from a conversion to
BVH that gives two bones no length, the thorax (118 mm) and the wrist (94 mm): there, neck, head and
arms are some 110 mm lower than here, and a hand is so much nearer to its elbow.

In eight of 175 recordings looked at, the first frames hold a limb or the whole upper body at
exactly zero, then jump (1 to 7 frames, 50 in 03_02); such a start is dropped.
"""

import re
from pathlib import Path
from typing import ClassVar

import pandas as pd

from bench.core.errors import InputError, reason_of
from bench.datasets.acclaim_body import AcclaimBody, beside
from bench.datasets.archive import File
from bench.datasets.base import Source
from bench.datasets.cmu_actions import ACTION_OF

INDEX = "index.csv"
_NAME = re.compile(r"([0-9]{1,4})_([0-9]{1,4})\.amc", re.IGNORECASE)

SHARED_TAKES = {19: 18, 21: 20, 23: 22, 34: 33, 61: 60}
"""Subjects recorded together with another one, whose motion goes with theirs to one split."""

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
"""What a description's words begin with, and the action that it then is; the first match counts."""


class CMU(AcclaimBody):
    """CMU motion capture as its owner gives it, split by subject, 18 joints, real."""

    name: ClassVar[str] = "cmu"
    home: ClassVar[str] = "mocap.cs.cmu.edu (free for research and products; not to be resold)"
    # The archive of all subjects is called allasfamc.zip by its owner.
    places = ("all_asfamc", "subjects", "cmu_asfamc", "allasfamc.zip", "cmu_asfamc.zip")
    recording = _NAME
    example = "all_asfamc/subjects/01/01_01.amc"

    def sources(self, root: Path | None) -> list[Source]:
        """Return every recording under ``root``, split by subject.

        Of the subject's number, the remainder of a division by 7 decides: 0 tests, 1 validates,
        the others train; subjects who share takes count as the lower one. Actions are taken from
        the descriptions of ``index.csv`` in ``root``, where there is one that has the recording,
        else from ``cmu_actions``.
        """
        found = self.recordings(root)
        index = root / INDEX if root else None
        actions = ACTION_OF | (_actions(index) if index and index.is_file() else {})
        return [
            Source(stem, split_of(told[1]), actions.get(stem, ""), told[1], file)
            for stem, file, told in ((file.inner.stem, file, told) for file, told in found)
        ]

    def recognise(self, file: File) -> Source | None:
        """Claim any AMC file but HDM05's; one of another name than the owner's needs its ASF."""
        if file.inner.suffix.lower() != ".amc" or file.inner.name.startswith("HDM_"):
            return None
        subject = file.inner.stem.partition("_")[0]
        return super().recognise(file) or Source(file.inner.stem, "train", "", subject, file)

    def skeleton_file(self, source: Source) -> File:
        """Return the ASF file of a recording's subject."""
        assert source.file is not None
        return beside(source.file, f"{source.subject}.asf")


def split_of(subject: str) -> str:
    """Return the split of a subject, by its number."""
    number = int(subject)
    return {0: "test", 1: "valid"}.get(SHARED_TAKES.get(number, number) % 7, "train")


def action_of(description: str) -> str:
    """Return the action that a description tells of; empty where none of ``ACTIONS`` fits."""
    found = (
        action
        for words, action in ACTIONS
        if re.search(rf"\b(?:{words})", description, re.IGNORECASE)
    )
    return next(found, "")


def _actions(path: Path) -> dict[str, str]:
    """Return the action of each recording, by its name, from an index of descriptions."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, usecols=["path", "description"])
        table = table.fillna("")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: not a table with the columns path and description ({reason_of(error)}); "
            "mend it or take it away"
        ) from None
    return {
        Path(file).stem: action_of(description)
        for file, description in zip(table["path"], table["description"], strict=True)
        if _NAME.fullmatch(Path(file).name)
    }
