"""Arrays ``(frame, point, 3)`` in .npy and .npz files, and tables in Parquet files.

Members, columns and metadata that are no positions are written as they were read.
"""

import zipfile
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench.core.errors import InputError, reason_of
from bench.datasets.archive import LARGEST, File, tree
from bench.datasets.arrays import RATE_NAMES, TIMES
from bench.datasets.base import check_length
from bench.datasets.npy import array_of
from bench.datasets.points import plain_labels
from bench.fill.coded import Coded, triples
from bench.fill.gaps import Bools, Numbers

NAME_NAMES = ("names", "labels", "joints", "markers", "points")
"""Names of arrays of .npz files that are the names of points."""


def opened_npy(file: File) -> Coded:
    """Return the points of an .npy file.

    Raises:
        InputError: it is damaged, or no array of positions.
    """
    array = _positions(file, file.read())

    def written(values: Numbers, filled: Bools) -> bytes:
        return _npy(_replaced(array, values, filled))

    return _coded(array, None, None, written)


def opened_npz(file: File) -> Coded:
    """Return the points of an .npz file: of its only array ``(frame, point, 3)``.

    Raises:
        InputError: it is damaged, or does not have one such array.
    """
    members = {PurePosixPath(one.member).stem: one for one in tree(file.path, ".npy")}
    rates = [float(_any(members[name]).ravel()[0]) for name in RATE_NAMES if name in members]
    found = {name: _any(one) for name, one in members.items() if name not in NAME_NAMES}
    shaped = [name for name, array in found.items() if array.ndim == 3 and array.shape[2] == 3]
    if len(shaped) != 1:
        raise InputError(
            f"{file}: arrays of shape (frame, point, 3): {', '.join(shaped) or 'none'}; "
            "leave one of them"
        )
    array = _positions(members[shaped[0]], members[shaped[0]].read())
    names = next((_names(members[name]) for name in NAME_NAMES if name in members), None)
    if names is not None and len(names) != array.shape[1]:
        raise InputError(f"{file}: {len(names)} names for {array.shape[1]} points; correct them")

    def written(values: Numbers, filled: Bools) -> bytes:
        made = BytesIO()
        with zipfile.ZipFile(BytesIO(file.read())) as old, zipfile.ZipFile(made, "w") as new:
            for info in old.infolist():
                same = info.filename != f"{shaped[0]}.npy"
                content = old.read(info) if same else _npy(_replaced(array, values, filled))
                new.writestr(info, content, info.compress_type)
        return made.getvalue()

    return _coded(array, rates[0] if rates else None, names, written)


def opened_parquet(file: File) -> Coded:
    """Return the points of a Parquet table with columns such as ``knee_x``.

    Raises:
        InputError: it is damaged, or no point is named in it.
    """
    try:
        source = pq.ParquetFile(BytesIO(file.read()), page_checksum_verification=True)
        rows = source.metadata.num_rows
        if rows * source.metadata.num_columns * 8 > LARGEST:
            raise InputError(f"{file}: {rows} rows, so it is no motion")
        check_length(file, rows)
        table = source.read()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{file}: no Parquet table ({reason_of(error)}); write it again") from None
    columns, names = triples(table.column_names)
    if not columns or not rows:
        raise InputError(
            f"{file}: no row, or no three columns such as knee_x, knee_y, knee_z; name them so"
        )
    flat = [column for three in columns for column in three]
    values = np.stack([_column(file, table, column) for column in flat], axis=1)
    times = [name for name in table.column_names if name.strip().casefold() in TIMES]
    fps = None
    if times and rows > 1:
        ends = _column(file, table, table.column_names.index(times[0]))[[0, -1]]
        fps = (rows - 1) / float(ends[1] - ends[0]) if ends[1] > ends[0] else None

    def written(values: Numbers, filled: Bools) -> bytes:
        made = table
        for place, column in enumerate(flat):
            here = filled[:, place // 3]
            if here.any():
                field = table.schema.field(column)
                numbers = _column(file, table, column)
                numbers[here] = values[here, place // 3, place % 3]
                gone = np.isnan(numbers) & table.column(column).is_null().to_numpy()
                made = made.set_column(column, field, pa.array(numbers, field.type, mask=gone))
        sink = BytesIO()
        pq.write_table(made, sink)
        return sink.getvalue()

    return _coded(values.reshape(rows, -1, 3), fps, names, written)


def _coded(
    array: NDArray[np.floating],
    fps: float | None,
    names: Sequence[str] | None,
    written: Callable[[Numbers, Bools], bytes],
) -> Coded:
    labels, notes = plain_labels(names or [str(point) for point in range(array.shape[1])])
    return Coded(
        values=array.astype(np.float64),
        residual=None,
        fps=fps if fps and fps > 0 else None,
        names=labels,
        scale=1.0,
        notes=(*notes, "no units, taken to be mm"),
        written=written,
    )


def _any(file: File) -> NDArray[np.generic]:
    try:
        return array_of(file.read(), text=True)
    except ValueError as error:
        raise InputError(f"{file}: {error}; write it again") from None


def _names(file: File) -> list[str]:
    found = _any(file).ravel().tolist()
    return [one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one) for one in found]


def _positions(file: File, content: bytes) -> NDArray[np.floating]:
    try:
        array = array_of(content)
    except ValueError as error:
        raise InputError(f"{file}: {error}; write it again") from None
    if array.ndim != 3 or array.shape[2] != 3:
        raise InputError(f"{file}: an array of {array.shape}, not (frame, point, 3); reshape it")
    if array.dtype.kind != "f":
        raise InputError(
            f"{file}: whole numbers, which cannot hold what is filled; write it as floats"
        )
    check_length(file, len(array))
    return array


def _replaced(array: NDArray[np.floating], values: Numbers, filled: Bools) -> NDArray[np.floating]:
    made = array.copy(order="K")
    made[filled] = values[filled]
    return made


def _npy(array: NDArray[np.floating]) -> bytes:
    made = BytesIO()
    np.save(made, array, allow_pickle=False)
    return made.getvalue()


def _column(file: File, table: pa.Table, column: int) -> Numbers:
    if not pa.types.is_floating(table.schema.field(column).type):
        name = table.column_names[column]
        raise InputError(f"{file}: column '{name}' has no floating point numbers; write it so")
    return table.column(column).to_numpy().astype(np.float64)
