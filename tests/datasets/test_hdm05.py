"""HDM05's cut clips, which are read like CMU's recordings."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import InputError
from bench.datasets.cmu import CMU
from bench.datasets.hdm05 import HDM05

CLIP = "hdm05_asfamc/bd/HDM_bd_lieDownFloor_003_120.amc"


def test_clips_have_their_class_and_one_split_per_actor(real_data: Path) -> None:
    sources = HDM05().sources(real_data)
    assert len(sources) == 215
    assert {(source.subject, source.split) for source in sources} == {
        ("bd", "train"),
        ("bk", "train"),
        ("dg", "valid"),
        ("mm", "test"),
    }
    assert len({source.action for source in sources}) == 11
    assert sum(source.action == "squat1Reps" for source in sources) == 37


def test_a_tenth_of_the_clips_can_be_read_on_the_common_skeleton(real_data: Path) -> None:
    data = HDM05()
    rest = dict(zip(data.skeleton.names, data.skeleton.rest, strict=True))
    rigid = [("knee", "ankle"), ("ankle", "foot"), ("shoulder", "elbow"), ("elbow", "wrist")]
    for source in data.sources(real_data)[::10]:
        motion = data.read(source)
        assert np.isfinite(motion).all()
        for side in ("left", "right"):
            for first, second in ((f"{side}_{one}", f"{side}_{other}") for one, other in rigid):
                bone = np.subtract(
                    *(motion[:, data.skeleton.names.index(n)] for n in (first, second))
                )
                length = np.linalg.norm(rest[first] - rest[second])
                np.testing.assert_allclose(np.linalg.norm(bone, axis=-1), length, atol=1e-2)


def test_it_can_be_foreign_to_cmu() -> None:
    assert HDM05().skeleton is CMU().skeleton
    for one, other in ((HDM05(), CMU()), (HDM05(fps=50), CMU(fps=50))):
        assert one.model_dump() == other.model_dump()


def test_the_frame_rate_is_that_of_the_file_s_name(real_data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(real_data / "hdm05_asfamc.zip") as archive:
        archive.extract("hdm05_asfamc/bd/HDM_bd.asf", tmp_path)
        archive.extract(CLIP, tmp_path)
    path = tmp_path / CLIP
    path.with_name("HDM_bd_lieDownFloor_004_60.amc").write_bytes(path.read_bytes())
    fast, slow = HDM05(fps=30).sources(tmp_path)
    first, second = HDM05(fps=30).read(fast), HDM05(fps=30).read(slow)
    assert len(second) in (2 * len(first), 2 * len(first) - 1)
    np.testing.assert_allclose(second[::2][: len(first)], first, atol=1e-3)


def test_folder_and_archive_are_the_same(real_data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(real_data / "hdm05_asfamc.zip") as archive:
        archive.extract("hdm05_asfamc/bd/HDM_bd.asf", tmp_path)
        archive.extract(CLIP, tmp_path)
    archived = {source.name: source for source in HDM05().sources(real_data)}
    for root in (tmp_path, tmp_path / "hdm05_asfamc"):
        (source,) = HDM05().sources(root)
        np.testing.assert_array_equal(
            HDM05().read(source), HDM05().read(archived["HDM_bd_lieDownFloor_003_120"])
        )
        assert [path.name for path in HDM05().files(root)] == [
            "HDM_bd.asf",
            "HDM_bd_lieDownFloor_003_120.amc",
        ]


def test_neither_corpus_is_mistaken_for_the_other(real_data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(real_data / "hdm05_asfamc.zip") as archive:
        archive.extract(CLIP, tmp_path)
    with pytest.raises(InputError, match="cmu: no recording"):
        CMU().sources(tmp_path / "hdm05_asfamc")
    with pytest.raises(InputError, match="hdm05: no recording"):
        HDM05().sources(tmp_path / "hdm05_asfamc" / "bd")
