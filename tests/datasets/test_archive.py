"""What is found in folders and archives."""

import zipfile
from pathlib import Path

from bench.datasets.archive import File, tree


def test_links_to_folders_are_followed_and_end(tmp_path: Path) -> None:
    place, elsewhere = tmp_path / "data", tmp_path / "large disk"
    (place / "here").mkdir(parents=True)
    elsewhere.mkdir()
    (place / "here" / "a.bvh").touch()
    (elsewhere / "b.BVH").touch()
    (place / "c.bvh").touch()
    (place / "there").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(place)
    (place / "gone.bvh").symlink_to(tmp_path / "nothing")
    expected = [place / "c.bvh", place / "here" / "a.bvh", place / "there" / "b.BVH"]
    assert tree(place, ".bvh") == [File(path) for path in expected]
    (tmp_path / "link").symlink_to(place)
    assert len(tree(tmp_path / "link", ".bvh")) == 3


def test_what_macos_adds_is_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "folder" / "train"
    folder.mkdir(parents=True)
    (folder / "walk.bvh").touch()
    (folder / "._walk.bvh").touch()
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        for name in ("train/walk.bvh", "__MACOSX/train/._walk.bvh", "__MACOSX/walk.bvh"):
            archive.writestr(name, "")
    assert [file.path for file in tree(tmp_path / "folder")] == [folder / "walk.bvh"]
    assert [file.member for file in tree(tmp_path / "packed.zip")] == ["train/walk.bvh"]
