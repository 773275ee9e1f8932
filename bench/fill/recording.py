"""A user's file: its samples as they are coded, and the same file with some of them filled."""

from collections.abc import Callable
from pathlib import Path

from bench.core.errors import InputError
from bench.datasets.archive import File
from bench.fill import arrays_file, bvh_file, c3d_file, text_files
from bench.fill.coded import Coded

OPENERS: dict[str, Callable[[File], Coded]] = {
    ".c3d": c3d_file.opened,
    ".trc": text_files.opened_trc,
    ".csv": text_files.opened_csv,
    ".tsv": text_files.opened_tsv,
    ".npy": arrays_file.opened_npy,
    ".npz": arrays_file.opened_npz,
    ".parquet": arrays_file.opened_parquet,
    ".bvh": bvh_file.opened,
}
"""What reads each format, by suffix."""


def opened(path: Path) -> Coded:
    """Return a recording from a file of any format in ``OPENERS``.

    Raises:
        InputError: the format is not known, or the file is damaged.
    """
    opener = OPENERS.get(path.suffix.lower())
    if opener is None:
        raise InputError(f"{path}: not one of {', '.join(OPENERS)}; export it as one of these")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    return opener(File(path))
