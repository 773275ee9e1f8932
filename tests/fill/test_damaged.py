"""Damaged copies of real files: refused in one line or read as they are, never half-written."""

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from bench.fill.recording import opened
from tests.conftest import Bench

FILES = (
    "markers/c3dorg02_dec_int.c3d",
    "markers/c3dorg02_pc_real.c3d",
    "markers/opensimcreator_1068.trc",
    "markers/opensim_nan_cases.trc",
    "markers/motive_121_take.csv",
    "bvh/bandai_namco_1/dataset-1_bow_active_001.bvh",
)
COPIES = 40
"""Of each file."""


def damaged(content: bytes, suffix: str, rng: np.random.Generator) -> bytes:
    """Return a copy that is cut, has bits flipped, NaN or huge counts in it, or a part doubled."""
    kind = rng.integers(5)
    if kind == 0:
        return content[: int(rng.integers(len(content)))]
    changed = bytearray(content)
    if kind == 1:
        for place in rng.integers(len(content), size=int(rng.integers(1, 200))):
            changed[place] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        # In the header, where counts and places are.
        for place in rng.integers(min(len(content), 700), size=8):
            changed[place] = int(rng.integers(256))
    elif kind == 3 and suffix == ".c3d":
        start = int(rng.integers(512, len(content) - 8)) // 4 * 4
        changed[start : start + 4] = struct.pack("<f", rng.choice([np.nan, np.inf, 1e38]))
        struct.pack_into("<H", changed, int(rng.choice([2, 4, 6, 8, 16])), 65535)
    elif kind == 3:
        words = [b"99999999999", b"nan", b"1e308", b"-", b"\xff\xfe"]
        numbers = [at for at in range(len(changed)) if changed[at] in b"0123456789"]
        place = int(rng.choice(numbers))
        changed[place : place + 1] = words[int(rng.integers(len(words)))]
    else:
        start, stop = sorted(rng.integers(len(content), size=2).tolist())
        changed[stop:stop] = changed[start:stop]
    return bytes(changed)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_copy_is_refused_in_one_line_or_read(
    real_data: Path, tmp_path: Path, bench: Bench, name: str
) -> None:
    source = real_data / name
    if not source.is_file():
        pytest.skip(f"no {name} in the real data")
    rng = np.random.default_rng([len(source.name), source.stat().st_size])
    refused = 0
    for number in range(COPIES):
        path = tmp_path / f"{number}{source.suffix}"
        path.write_bytes(damaged(source.read_bytes(), source.suffix, rng))
        out = tmp_path / "out"
        ended = bench("fill", path, "-o", out / path.name, "--method", "linear")
        if ended.code == 0:
            opened(out / path.name)
            shutil.rmtree(out)
            continue
        refused += 1
        assert ended.code == 2, ended.err
        assert len(ended.err.strip().splitlines()) == 1, ended.err
        assert ended.err.startswith("error: ") or str(path) in ended.err
        assert not out.exists() or not any(out.iterdir())
    assert refused > COPIES // 10
