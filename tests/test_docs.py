"""What the documentation names must exist, and what it shows must work."""

import importlib
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.core.registry import CORRUPTIONS, MECHANISMS
from bench.protocol.reference import page
from tests.conftest import PROJECT, walk
from tests.test_readme import example

README = PROJECT / "README.md"
PAGES = [README, PROJECT / "CHANGELOG.md", *sorted((PROJECT / "docs").glob("*.md"))]
MOST_LINES = 180
FOLDERS = "bench|models|predictors|protocols|results|tests|docs|cluster|scripts"
FILE_SUFFIXES = (".csv", ".md", ".py")
KINDS = ("models", "predictors", "datasets", "mechanisms", "corruptions", "inferences")
ENTRY_POINTS = {f"bench.{kind}" for kind in KINDS}
MADE_BY_RUNS = re.compile(r"results/(?!reference|README)")
each_page = pytest.mark.parametrize("page_file", PAGES, ids=lambda path: path.name)


def prose(text: str) -> str:
    """Return Markdown without its fenced blocks."""
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#+ (.*)$", prose(path.read_text()), flags=re.MULTILINE):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def resolve(name: str) -> Any:
    """Return what a dotted name stands for; raises AttributeError if it stands for nothing."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[length:]:
            found = getattr(found, attribute)
        return found
    raise AttributeError(name)


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= MOST_LINES


@each_page
def test_relative_links_and_anchors_work(page_file: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page_file.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (page_file.parent / place).resolve() if place else page_file
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@each_page
def test_every_path_in_backticks_exists(page_file: Path) -> None:
    named = re.findall(rf"`((?:{FOLDERS})/[\w./-]*)`", prose(page_file.read_text()))
    lost = [
        name for name in named if not MADE_BY_RUNS.match(name) and not (PROJECT / name).exists()
    ]
    assert not lost


@each_page
def test_every_dotted_name_in_backticks_can_be_imported(page_file: Path) -> None:
    text = prose(page_file.read_text())
    for name in re.findall(r"`((?:bench|models|predictors)(?:\.\w+)+)`", text):
        if not name.endswith(FILE_SUFFIXES) and name not in ENTRY_POINTS:
            resolve(name)


def test_the_architecture_page_names_what_it_describes() -> None:
    text = (PROJECT / "docs" / "architecture.md").read_text()
    rooms = {name.split(".")[1] for name in re.findall(r"`(bench\.\w+)", text)}
    rooms_there = {path.parent.name for path in (PROJECT / "bench").glob("*/__init__.py")}
    assert rooms_there - rooms == {"speed"}


def test_the_index_links_to_every_page() -> None:
    index = (PROJECT / "docs" / "README.md").read_text()
    linked = set(re.findall(r"\]\(([\w.]+)\)", index))
    assert linked == {path.name for path in (PROJECT / "docs").glob("*.md")} - {"README.md"}


def test_the_reference_of_protocol_keys_is_that_of_the_code() -> None:
    text = (PROJECT / "docs" / "protocol.md").read_text()
    assert text == page(), "run: python -m bench.protocol.reference > docs/protocol.md"


def test_every_key_of_the_reference_has_a_meaning() -> None:
    assert not re.findall(r"^.*\|\s*\|$", page(), flags=re.MULTILINE)


def test_the_predictors_example_continues_the_last_movement() -> None:
    code, defined = example("ConstantVelocity", PROJECT / "docs" / "plugins.md")
    spec = replace(walk(1).spec, future=3)
    past = torch.zeros(2, 50, 18, 3)
    past[:, -1] = 7
    assert torch.equal(
        defined(spec).predict(past)[:, :, 0, 0], torch.tensor([[14.0, 21.0, 28.0]]).expand(2, -1)
    )
    assert len(code.splitlines()) < 30


def test_every_mechanism_and_corruption_is_defined() -> None:
    text = (PROJECT / "docs" / "mechanisms.md").read_text()
    headings = " ".join(re.findall(r"^### (.*)$", text, flags=re.MULTILINE))
    assert set(re.findall(r"`(\w+)`", headings)) == {*MECHANISMS.all(), *CORRUPTIONS.all()}


def test_every_mechanism_has_a_small_picture() -> None:
    text = (PROJECT / "docs" / "mechanisms.md").read_text()
    pictures = re.findall(r"^!\[.+\]\(mechanisms/(\w+)\.png\)$", text, flags=re.MULTILINE)
    assert sorted(pictures) == sorted(MECHANISMS.all())
    for name in pictures:
        assert (PROJECT / "docs" / "mechanisms" / f"{name}.png").stat().st_size < 40_000
