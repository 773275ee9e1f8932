"""An inventory of motion: the data sets under a folder, and whether each file can be read."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from bench.core.errors import InputError
from bench.core.notices import Notices, collected, counts
from bench.core.registry import DATASETS
from bench.datasets.archive import File, tree
from bench.datasets.base import SPLITS, Dataset
from bench.protocol import resolving

NOT_MOTION = {
    ".asf": "a skeleton; it is read with the .amc files of its subject",
    "index.csv": "descriptions of recordings; cmu takes actions from them",
    ".zip": "an archive in an archive; unpack it",
}
"""Why files with certain suffixes or names are not recordings."""
UNKNOWN = "not recognised by any data set"


def known(root: Path | None) -> Table:
    """Return a table of every data set: its recordings under ``root``, and where it is published.

    Recordings are counted without reading them.
    """
    table = Table(
        "data set", "motion", "recordings, or why there are none", "published", title="data sets"
    )
    for name, cls in DATASETS.all().items():
        kind = "synthetic" if cls.synthetic else "real"
        table.add_row(*map(escape, (name, kind, _recordings(name, root), cls.home)))
    for name, reason in DATASETS.broken.items():
        table.add_row(*map(escape, (name, "", f"unusable: {reason}", "")))
    return table


def _recordings(name: str, root: Path | None) -> str:
    """Return the number of recordings of a data set by split, or why there are none."""
    try:
        counts = Counter(source.split for source in resolving.dataset(name).sources(root))
    except InputError as error:
        return str(error)
    splits = ", ".join(f"{split} {counts[split]}" for split in SPLITS)
    return f"{counts.total()} ({splits})"


@dataclass(frozen=True)
class Checked:
    """The result of checking one file.

    Attributes:
        file: the file.
        kind: name of the data set that recognised it; empty if none did.
        problem: why it cannot be used or is not motion; empty if it was read.
        seconds: duration of the motion that was read.
        notices: what was noticed in reading it, by kind.
    """

    file: File
    kind: str
    problem: str = ""
    seconds: float = 0.0
    notices: Notices = field(default_factory=dict)

    @property
    def refused(self) -> bool:
        """Whether it was recognised as motion but cannot be used."""
        return bool(self.kind and self.problem)


def check(path: Path, console: Console | None = None) -> list[Checked]:
    """Check every file in a folder or zip archive, or one file, by reading it.

    A file is read by the data sets that recognise it. Zip archives in a folder are read as well.

    Args:
        path: the file, folder or archive.
        console: where to show progress; None shows nothing.

    Raises:
        InputError: there is nothing at ``path``.
    """
    if not path.is_dir() and not path.is_file():
        raise InputError(f"{path}: no such file or folder")
    readers = list(_readers())
    found: list[Checked] = []
    files: list[File] = []
    for file in tree(path) if path.is_dir() else [File(path)]:
        if file.inner.suffix.lower() != ".zip":
            files.append(file)
            continue
        try:
            files += tree(file.path)
        except InputError as error:
            found.append(Checked(file, "zip", str(error)))
    steps = track(
        files,
        description="reading",
        console=console,
        disable=console is None or len(files) < 2,
        transient=True,
    )
    return found + [_checked(file, readers) for file in steps]


def report(checked: list[Checked]) -> Table:
    """Return a table of how many files were read, refused or ignored, by data set or reason."""
    table = Table("files", "read", "minutes", "refused", title="files by data set")
    for kind in sorted({one.kind for one in checked if one.kind}):
        here = [one for one in checked if one.kind == kind]
        bad = sum(one.refused for one in here)
        minutes = sum(one.seconds for one in here) / 60
        table.add_row(escape(kind), str(len(here) - bad), f"{minutes:.1f}", str(bad))
    reasons = Counter(
        f"{one.file.inner.suffix.lower() or 'no suffix'}: {one.problem}"
        for one in checked
        if not one.kind
    )
    for reason, count in sorted(reasons.items()):
        table.add_row(escape(f"not motion ({reason})"), f"{count} ignored", "", "")
    return table


def noticed(checked: list[Checked]) -> Table | None:
    """Return a table of how many files have each kind of notice; None if none has any."""
    table = Table("noticed", "files", "such as", title="read with a notice")
    for kind, count in counts(one.notices for one in checked).items():
        first = next(one for one in checked if kind in one.notices)
        table.add_row(*map(escape, (kind, str(count), f"{first.file}: {first.notices[kind]}")))
    return table if table.rows else None


def _readers() -> Iterator[Dataset]:
    """Yield every data set that works with its default settings."""
    for name in DATASETS.all():
        try:
            yield resolving.dataset(name)
        except InputError:
            continue


def _checked(file: File, readers: list[Dataset]) -> Checked:
    """Read a file with each data set that recognises it until one succeeds.

    Several data sets share formats, so a file that one refuses may belong to another. If all fail,
    the result has the error of the first.
    """
    refusals: list[Checked] = []
    for dataset in readers:
        try:
            source = dataset.recognise(file)
            if source is None:
                continue
            with collected() as notices:
                motion = dataset.read(source)
        except InputError as error:
            refusals.append(Checked(file, dataset.name, str(error)))
        except Exception as error:
            # One bad file must not hide what is wrong with the others.
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            problem = InputError(f"{file}: its reader failed ({reason}); please report this")
            refusals.append(Checked(file, dataset.name, str(problem)))
        else:
            seconds = len(motion) / dataset.fps
            return Checked(file, dataset.name, seconds=seconds, notices=notices)
    if refusals:
        return refusals[0]
    by_suffix = NOT_MOTION.get(file.inner.suffix.lower(), UNKNOWN)
    return Checked(file, "", NOT_MOTION.get(file.inner.name, by_suffix))
