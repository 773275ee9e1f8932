"""HDM05's cut clips as Acclaim files: short recordings of one motion class each.

Read from a folder or directly from an archive: ``hdm05_asfamc/<actor>/HDM_<actor>.asf`` with
``HDM_<actor>_<class>_<id>_<fps>.amc``. The body is the same as CMU's, so each corpus can serve as
foreign data for the other. Source: M. Müller, T. Röder, M. Clausen, B. Eberhardt, B. Krüger,
A. Weber, Documentation Mocap Database HDM05, Tech. Rep. CG-2007-2, Universität Bonn, 2007.
"""

import re
from pathlib import Path
from typing import ClassVar

from bench.datasets.acclaim_body import AcclaimBody, sibling
from bench.datasets.archive import File
from bench.datasets.base import Source

SPLITS = {"dg": "valid", "mm": "test"}
"""Splits of actors; the others are train."""
ACTORS = ("bd", "bk", "dg", "mm", "tr")
"""All actors of the corpus; folds deal them by their places here, one to each of five groups."""
_NAME = re.compile(r"HDM_([^_]+)_([^_]+)_([0-9]+)_([1-9][0-9]{0,3})\.amc", re.IGNORECASE)


class HDM05(AcclaimBody):
    """HDM05 motion capture, cut clips of labelled motions, split by actor, 18 joints, real."""

    name: ClassVar[str] = "hdm05"
    home: ClassVar[str] = "resources.mpi-inf.mpg.de/HDM05 (CC BY-SA 3.0)"
    places = ("hdm05_asfamc*",)
    recording = _NAME
    example = "hdm05_asfamc/bd/HDM_bd_squat1Reps_001_120.amc"

    def sources(self, root: Path | None) -> list[Source]:
        """Return every clip under ``root``; its action is HDM05's motion class."""
        return [
            Source(file.inner.stem, SPLITS.get(match[1], "train"), match[2], match[1], file)
            for file, match in self.recordings(root)
        ]

    def together(self, source: Source) -> str:
        """Return the actor, by number if it is one of ``ACTORS``."""
        actor = source.subject
        return str(ACTORS.index(actor)) if actor in ACTORS else actor

    def skeleton_file(self, source: Source) -> File:
        """Return the ASF file of a clip's actor."""
        assert source.file is not None
        return sibling(source.file, f"HDM_{source.subject}.asf")

    def file_fps(self, source: Source) -> float | None:
        """Return the frames per second at the end of a clip's name."""
        return float(source.name.rsplit("_", 1)[1])
