"""Where fits and cells lie, by a key of what made them.

``fits/<key>/`` holds ``weights.safetensors``, ``fit.json`` and ``history.csv`` (and, while the fit
goes on, ``checkpoint.safetensors``); ``cells/<key>.parquet`` holds one row per window, and
``completions/<key>.npy``, where it is needed or asked for, what was put in place of the hidden
values, drawn or foretold; ``status/<key>.json`` how a job stands (``bench.sweep.status``); windows
themselves lie in ``windows/``. Every file appears whole or not at all. A finished fit is one with a
``fit.json``, a finished cell one whose file is there.
"""

import hashlib
import json
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
    """Return a short key for plain values: equal values, equal key; TypeError for other values."""
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
        """How jobs stand."""
        return Statuses(self.folder / "status")

    def fit_folder(self, key: str) -> Path:
        """Where a fit keeps its files."""
        return self.folder / "fits" / key

    def has_fit(self, key: str) -> bool:
        """Whether a fit is finished."""
        return (self.fit_folder(key) / "fit.json").is_file()

    def save_fit(self, key: str, module: nn.Module, summary: dict[str, Any]) -> None:
        """Keep a finished fit's weights and summary; its checkpoint is no longer needed."""
        folder = self.fit_folder(key)
        tensors = {name: value.contiguous() for name, value in module.state_dict().items()}
        with atomic_file(folder / "weights.safetensors") as draft:
            save_file(tensors, draft)
        with atomic_file(folder / "fit.json") as draft:
            draft.write_text(json.dumps(summary, indent=1))
        (folder / "checkpoint.safetensors").unlink(missing_ok=True)

    def progressed(self, key: str, since: float) -> bool:
        """Whether an unfinished fit has kept a checkpoint after a time, seconds since 1970."""
        path = self.fit_folder(key) / "checkpoint.safetensors"
        return path.exists() and path.stat().st_mtime > since

    def load_weights(self, key: str, module: nn.Module) -> None:
        """Put a finished fit's weights into ``module``."""
        path = self.fit_folder(key) / "weights.safetensors"
        with readable(path):
            module.load_state_dict(load_file(path))

    def load_mean(self, key: str) -> NDArray[np.float32]:
        """Return ``(frame, joint, 3)`` the train mean that a finished fit remembers, mm."""
        path = self.fit_folder(key) / "weights.safetensors"
        with readable(path), safe_open(path, "numpy") as file:
            return file.get_tensor("mean")

    def fit_summary(self, key: str) -> dict[str, Any]:
        """Return what ``save_fit`` was told."""
        path = self.fit_folder(key) / "fit.json"
        with readable(path):
            return json.loads(path.read_text())

    def has_cell(self, key: str) -> bool:
        """Whether a cell is finished."""
        return self._cell(key).is_file()

    def save_cell(self, key: str, table: pd.DataFrame) -> None:
        """Keep a finished cell's values, one row per window."""
        with atomic_file(self._cell(key)) as draft:
            table.to_parquet(draft, index=False)

    def load_cell(self, key: str) -> pd.DataFrame:
        """Return a finished cell's values."""
        with readable(self._cell(key)):
            return pd.read_parquet(self._cell(key))

    def has_completion(self, key: str) -> bool:
        """Whether what a cell put in place of hidden values, drew or foretold was kept."""
        return self._completion(key).is_file()

    def save_completion(self, key: str, hidden: NDArray[np.float32]) -> None:
        """Keep what a cell put in place of hidden values, ``(hidden feature,)``, or otherwise made.

        Motion drawn or foretold is ``(window, frame, joint, 3)``; all in mm.
        """
        with atomic_file(self._completion(key)) as draft:
            np.save(draft, hidden, allow_pickle=False)

    def load_completion(self, key: str) -> NDArray[np.float32]:
        """Return what ``save_completion`` was told."""
        path = self._completion(key)
        with readable(path), path.open("rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False)

    def _completion(self, key: str) -> Path:
        return self.folder / "completions" / f"{key}.npy"

    def _cell(self, key: str) -> Path:
        return self.folder / "cells" / f"{key}.parquet"
