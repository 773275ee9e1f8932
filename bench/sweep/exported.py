"""A fitted imputer in one file, apart from the run that fitted it.

The file is safetensors: the imputer's weights, and in the metadata the resolved protocol of it
alone, from which it is built again, and where it comes from. Of symmetric matrices, such as
covariances, one half is kept.
"""

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bench.core.errors import InputError
from bench.core.files import atomic_file
from bench.core.provenance import collect
from bench.protocol.resolving import resolve
from bench.protocol.schema import Protocol
from models.base import Imputer

FORMAT = "imputer of motion-imputation-bench, 1"
HALF = re.compile(r"(?P<name>.+)\.half(?P<size>[0-9]{1,6})")
LEAST = 64
"""Smallest symmetric matrix of which one half is kept."""


def write(path: Path, label: str, protocol: Protocol, model: Imputer) -> None:
    """Write a fitted imputer.

    Args:
        path: a new file.
        label: the imputer's, in the protocol.
        protocol: of its run.
        model: the imputer.

    Raises:
        InputError: the file cannot be written.
    """
    metadata = {
        "format": FORMAT,
        "label": label,
        "protocol": json.dumps(protocol.only([label]).to_dict()),
        "provenance": json.dumps(collect()),
        "data": protocol.dataset.home,
    }
    with atomic_file(path) as draft:
        save_file(halved(model.state_dict()), draft, metadata=metadata)


def read(path: Path) -> tuple[str, Protocol, Imputer]:
    """Return the label of an imputer in a file, its protocol, and the imputer, ready to impute.

    Raises:
        InputError: it is no such file, or of an imputer that this version builds otherwise.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            names = file.keys()  # a safetensors file is no mapping
            tensors = {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    if metadata.get("format") != FORMAT:
        raise InputError(f"{path}: no exported imputer; make one with: bench export RUN IMPUTER")
    try:
        label, raw = metadata["label"], json.loads(metadata["protocol"])
        protocol = resolve(raw)
        entry = protocol.models[label]
        model = entry.cls(protocol.spec, entry.settings)
        model.load_state_dict(whole(tensors))
    except (KeyError, ValueError, RuntimeError, InputError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path}: this version builds the imputer otherwise ({reason}); export it again"
        ) from None
    return label, protocol, model.eval()


def halved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors with one half of each large symmetric matrix, named ``NAME.halfSIZE``."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.ndim == 2 and len(tensor) >= LEAST and _symmetric(tensor):
            rows, columns = torch.tril_indices(*tensor.shape)
            found[f"{name}.half{len(tensor)}"] = tensor[rows, columns]
        else:
            found[name] = tensor.contiguous()
    return found


def whole(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Undo ``halved``; raises ValueError for a half of another size than its name says."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        match = HALF.fullmatch(name)
        if match is None:
            found[name] = tensor
            continue
        size = int(match["size"])
        if tensor.shape != (size * (size + 1) // 2,):
            raise ValueError(f"{name} has {tuple(tensor.shape)} values")
        rows, columns = torch.tril_indices(size, size)
        matrix: Any = tensor.new_empty(size, size)
        matrix[rows, columns] = tensor
        matrix[columns, rows] = tensor
        found[match["name"]] = matrix
    return found


def _symmetric(matrix: Tensor) -> bool:
    """Return whether a matrix is symmetric but for rounding."""
    if matrix.shape[0] != matrix.shape[1] or not matrix.is_floating_point():
        return False
    return bool(((matrix - matrix.T).abs().max() <= 1e-6 * matrix.abs().max()).item())
