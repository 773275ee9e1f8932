"""Files in folders and archives; members that are damaged, or have unusual packing or names."""

import struct
import zipfile
from pathlib import Path

import pytest

from bench.core.errors import InputError
from bench.datasets.archive import File, tree


def _archive(path: Path, name: str = "a.bvh", method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as opened:
        opened.writestr(name, b"HIERARCHY" * 1000)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_that_cannot_be_unpacked_is_refused(tmp_path: Path, method: int) -> None:
    path = _archive(tmp_path / "a.zip", method=method)
    assert File(path, "a.bvh").read() == b"HIERARCHY" * 1000
    content = bytearray(path.read_bytes())
    content[50:60] = bytes(10)
    damaged = tmp_path / "b.zip"
    damaged.write_bytes(content)
    with pytest.raises(InputError, match=r"b\.zip:a\.bvh: cannot be read"):
        File(damaged, "a.bvh").read()


def test_an_archive_of_a_later_format_version_is_refused(tmp_path: Path) -> None:
    path = _archive(tmp_path / "a.zip")
    content = bytearray(path.read_bytes())
    struct.pack_into("<H", content, content.index(b"PK\x01\x02") + 6, 99)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.zip: not a whole zip archive .*version"):
        tree(path, ".bvh")


def test_a_name_with_line_breaks_is_reported_in_one_line(tmp_path: Path) -> None:
    name = "a\nrefused: nothing\x1b[31m.bvh"
    path = _archive(tmp_path / "a.zip", name)
    with pytest.raises(InputError, match="larger than") as refused:
        File(path, name).read(largest=10)
    assert r"a\nrefused: nothing\x1b[31m.bvh" in str(refused.value)
    assert str(refused.value).isprintable()


def test_links_to_folders_are_followed_without_cycles(tmp_path: Path) -> None:
    place, elsewhere = tmp_path / "data", tmp_path / "large disk"
    (place / "here").mkdir(parents=True)
    elsewhere.mkdir()
    (place / "here" / "a.bvh").touch()
    (elsewhere / "b.BVH").touch()
    (place / "c.bvh").touch()
    (place / "there").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(place)
    (place / "gone.bvh").symlink_to(tmp_path / "nothing")
    gone = place / "gone.bvh"  # a recording whose content is missing must not go unnoticed
    expected = [place / "c.bvh", gone, place / "here" / "a.bvh", place / "there" / "b.BVH"]
    assert tree(place, ".bvh") == [File(path) for path in expected]
    (tmp_path / "link").symlink_to(place)
    assert len(tree(tmp_path / "link", ".bvh")) == 4


def test_files_added_by_macos_are_ignored(tmp_path: Path) -> None:
    folder = tmp_path / "folder" / "train"
    folder.mkdir(parents=True)
    (folder / "walk.bvh").touch()
    (folder / "._walk.bvh").touch()
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        for name in ("train/walk.bvh", "__MACOSX/train/._walk.bvh", "__MACOSX/walk.bvh"):
            archive.writestr(name, "")
    assert [file.path for file in tree(tmp_path / "folder")] == [folder / "walk.bvh"]
    assert [file.member for file in tree(tmp_path / "packed.zip")] == ["train/walk.bvh"]
