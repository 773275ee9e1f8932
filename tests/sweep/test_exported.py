"""Imputers in files of their own: halves of symmetric matrices, and files that are none."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from bench.core import code_versions
from bench.core.errors import InputError
from bench.protocol.resolving import resolve
from bench.sweep import exported
from models.window_gaussian import WindowGaussian
from tests.conftest import walk

PROTOCOL = {
    "name": "small",
    "dataset": {"name": "synthetic", "frames": 8},
    "models": {"window_gaussian": {}, "linear": {}},
    "occlusion": {"features": {"levels": [3]}},
}


@given(st.integers(64, 70), st.booleans())
@settings(max_examples=10, deadline=None)
def test_halves_become_whole_again(size: int, symmetric: bool) -> None:
    root = torch.randn(size, size, generator=torch.Generator().manual_seed(size))
    matrix = (root @ root.T).tril() if symmetric else root
    matrix = matrix + matrix.tril(-1).T if symmetric else matrix
    tensors = {"a": matrix, "b": torch.ones(3), "c": torch.eye(5)}
    kept = exported.halved(tensors)
    assert (f"a.half{size}" in kept) == symmetric
    found = exported.whole(kept)
    assert set(found) == set(tensors)
    assert all(torch.equal(found[name], value) for name, value in tensors.items())


def test_an_imputer_read_again_completes_alike_from_half_of_the_bytes(tmp_path: Path) -> None:
    protocol = resolve(PROTOCOL)
    windows = walk(40, 8, seed=1)
    model = WindowGaussian(protocol.spec, protocol.models["window_gaussian"].settings)
    model.fit(windows, windows)
    path = tmp_path / "gaussian.safetensors"
    exported.write(path, "window_gaussian", protocol, model)
    label, alone, again = exported.read(path)
    assert (label, list(alone.models)) == ("window_gaussian", ["window_gaussian"])
    hidden = torch.from_numpy(np.random.default_rng(0).random((40, 8, 18, 3)) < 0.3)
    first, second = (one.impute(windows.tensor(), hidden) for one in (model, again))
    torch.testing.assert_close(second.motion, first.motion)
    covariance = model.covariance.numel() * 4
    assert path.stat().st_size < 0.55 * covariance + 40_000


@pytest.mark.parametrize("damage", ["text", "cut", "foreign", "other", "half"])
def test_what_is_no_such_file_is_refused_in_one_line(tmp_path: Path, damage: str) -> None:
    protocol = resolve(PROTOCOL)
    model = WindowGaussian(protocol.spec, protocol.models["window_gaussian"].settings)
    path = tmp_path / "gaussian.safetensors"
    exported.write(path, "window_gaussian", protocol, model)
    metadata = {
        "format": exported.FORMAT,
        "label": "window_gaussian",
        "protocol": json.dumps(protocol.to_dict()),
    }
    if damage == "text":
        path.write_text("no weights")
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "foreign":
        save_file({"a": torch.ones(2)}, path)
    elif damage == "other":
        save_file({"a": torch.ones(2)}, path, metadata=metadata)
    else:
        tensors = load_file(path)
        name = next(name for name in tensors if ".half" in name)
        tensors[name] = tensors[name][:-1].clone()
        save_file(tensors, path, metadata=metadata)
    with pytest.raises(InputError) as raised:
        exported.read(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


SHIPPED = sorted((code_versions.ROOT / "results" / "reference" / "weights").glob("*.safetensors"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_weights_that_are_shipped_are_of_this_version(path: Path) -> None:
    label, protocol, imputer = exported.read(path)
    assert label == path.stem
    assert path.stat().st_size < 20e6
    motion = walk(2, protocol.spec.frames, seed=1).tensor()
    hidden = torch.zeros_like(motion, dtype=torch.bool)
    hidden[:, 20:30, 4:7] = True
    found = imputer.impute(motion, hidden)
    assert torch.equal(found.motion[~hidden], motion[~hidden])
    assert not torch.equal(found.motion[hidden], imputer.mean.expand_as(motion)[hidden])


def test_there_are_weights_that_are_shipped() -> None:
    assert SHIPPED
