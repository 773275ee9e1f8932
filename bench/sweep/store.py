"""The store: results of fits and cells, by a cache key of everything that they depend on.

``fits/<key>/`` holds ``weights.safetensors``, ``fit.json`` and ``history.csv`` (and, while the fit
goes on, ``checkpoint.safetensors``); ``cells/<key>.parquet`` holds one row per window, and
``completions/<key>.npy``, where needed or requested, the completed, drawn or predicted motion;
``exhibits/<key>-<windows>.npz`` the completions of a few windows, for the viewer;
``status/<key>.json`` the status of a job (``bench.sweep.status``); ``windows/`` the windows
themselves. All writes are atomic. A fit is finished if its ``fit.json`` exists, a cell if its
Parquet file exists.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from bench.core.files import atomic_file, readable
from bench.sweep.status import Statuses


def key_of(**parts: Any) -> str:
    """Return a key of 16 hexadecimal digits for plain values; raises TypeError for other values."""
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Store:
    """The store in one folder; on a cluster the folder must be shared by all machines."""

    folder: Path

    @property
    def windows(self) -> Path:
        """The cache of built windows."""
        return self.folder / "windows"

    @property
    def statuses(self) -> Statuses:
        """The statuses of jobs."""
        return Statuses(self.folder / "status")

    def fit_folder(self, key: str) -> Path:
        """Return the folder of a fit's files."""
        return self.folder / "fits" / key

    def has_fit(self, key: str) -> bool:
        """Return whether a fit is finished."""
        return (self.fit_folder(key) / "fit.json").is_file()

    def save_fit(self, key: str, module: nn.Module, summary: dict[str, Any]) -> None:
        """Store a finished fit's weights and summary, and delete its checkpoint."""
        folder = self.fit_folder(key)
        tensors = {name: value.contiguous() for name, value in module.state_dict().items()}
        with atomic_file(folder / "weights.safetensors") as temporary:
            save_file(tensors, temporary)
        with atomic_file(folder / "fit.json") as temporary:
            temporary.write_text(json.dumps(summary, indent=1))
        (folder / "checkpoint.safetensors").unlink(missing_ok=True)

    def progressed(self, key: str, since: float) -> bool:
        """Return whether an unfinished fit saved a checkpoint after ``since``, s since 1970."""
        path = self.fit_folder(key) / "checkpoint.safetensors"
        return path.exists() and path.stat().st_mtime > since

    def load_weights(self, key: str, module: nn.Module) -> None:
        """Load a finished fit's weights into ``module``."""
        path = self.fit_folder(key) / "weights.safetensors"
        with readable(path):
            module.load_state_dict(load_file(path))

    def load_mean(self, key: str) -> NDArray[np.float32]:
        """Return the train mean among a finished fit's weights, ``(frame, joint, 3)``, mm."""
        path = self.fit_folder(key) / "weights.safetensors"
        with readable(path), safe_open(path, "numpy") as file:
            return file.get_tensor("mean")

    def fit_summary(self, key: str) -> dict[str, Any]:
        """Return the summary that ``save_fit`` stored."""
        path = self.fit_folder(key) / "fit.json"
        with readable(path):
            return json.loads(path.read_text())

    def has_cell(self, key: str) -> bool:
        """Return whether a cell is finished."""
        return self._cell(key).is_file()

    def save_cell(self, key: str, table: pd.DataFrame) -> None:
        """Store a finished cell's values, one row per window."""
        with atomic_file(self._cell(key)) as temporary:
            table.to_parquet(temporary, index=False)

    def load_cell(self, key: str) -> pd.DataFrame:
        """Return a finished cell's values, one row per window."""
        return self.load_cells([key])[0][0]

    def load_cells(self, keys: Sequence[str]) -> list[tuple[pd.DataFrame, NDArray[np.intp]]]:
        """Return finished cells' values, in a tenth of the time that one after the other takes.

        Returns:
            A table of all cells that have the same columns, one row per window, and the place of
            each row's cell among the keys.
        """
        # Imported here, since readers of nothing but weights and motion need not.
        import pyarrow as pa
        from pyarrow.parquet import ParquetFile

        alike: dict[tuple[Any, ...], dict[int, pa.Table]] = {}
        for place, key in enumerate(keys):
            path = self._cell(key)
            with readable(path), path.open("rb") as file:
                table = ParquetFile(file).read(use_threads=False)
            alike.setdefault((*table.column_names, *table.schema.types), {})[place] = table
        return [
            (
                pa.concat_tables(tables.values()).to_pandas(use_threads=False),
                np.repeat(list(tables), [len(table) for table in tables.values()]),
            )
            for tables in alike.values()
        ]

    def has_completion(self, key: str) -> bool:
        """Return whether a cell's completed, drawn or predicted motion is stored."""
        return self._completion(key).is_file()

    def save_completion(self, key: str, motion: NDArray[np.float32]) -> None:
        """Store a cell's motion, mm.

        Completions are ``(hidden feature,)``, drawn or predicted motion
        ``(window, frame, joint, 3)``.
        """
        with atomic_file(self._completion(key)) as temporary:
            np.save(temporary, motion, allow_pickle=False)

    def load_completion(self, key: str) -> NDArray[np.float32]:
        """Return the motion that ``save_completion`` stored."""
        path = self._completion(key)
        with readable(path), path.open("rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False)

    def has_arrays(self, key: str, name: str) -> bool:
        """Return whether arrays of a cell are stored under a name."""
        return self._arrays(key, name).is_file()

    def save_arrays(self, key: str, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Store arrays of a cell, compressed, under a name of digits and plus signs."""
        named: dict[str, Any] = dict(arrays)
        with atomic_file(self._arrays(key, name)) as temporary:
            np.savez_compressed(temporary, **named)

    def load_arrays(self, key: str, name: str) -> dict[str, NDArray[Any]]:
        """Return the arrays that ``save_arrays`` stored."""
        path = self._arrays(key, name)
        with readable(path), np.load(path, allow_pickle=False) as file:
            return {part: file[part] for part in file.files}

    def _arrays(self, key: str, name: str) -> Path:
        return self.folder / "exhibits" / f"{key}-{name}.npz"

    def _completion(self, key: str) -> Path:
        return self.folder / "completions" / f"{key}.npy"

    def _cell(self, key: str) -> Path:
        return self.folder / "cells" / f"{key}.parquet"
