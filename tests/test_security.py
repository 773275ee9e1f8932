"""Untrusted input is never executed, used as a path, or printed as control codes or markup."""

import ast
import base64
import csv
import hashlib
import io
import json
import os
import pickle
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from bench.analysis import results
from bench.core.errors import InputError
from bench.core.registry import plugins
from bench.datasets.archive import File
from bench.datasets.npy import array_of
from bench.fitting.training import FitContext, TrainSettings, train
from bench.sweep.store import Store
from models.mean import Mean
from tests.conftest import PROJECT, TINY, Bench, walk
from tests.core.test_plugins import MODEL, unload

LOCAL = ("--executor", "local", "--results", "results")
SOURCES = [
    path
    for package in ("bench", "models", "predictors")
    for path in sorted((PROJECT / package).rglob("*.py"))
]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bench.report.figures.begin_all", lambda *_: list)
    torch.set_num_threads(1)
    unload()
    yield
    unload()


class Trap:
    """Creates a folder called sprung when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(Path("sprung").resolve()),)


def spring(path: Path) -> None:
    path.write_bytes(pickle.dumps(Trap()))


def spring_torch(path: Path) -> None:
    with path.open("wb") as file:
        torch.save({"mean": Trap()}, file)


def spring_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.array([Trap()], dtype=object), allow_pickle=True)


def spring_archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=True, poses=np.array([Trap()], dtype=object))


SPRINGS = (spring, spring_torch, spring_array, spring_archive)


@pytest.mark.parametrize("make", SPRINGS)
def test_the_trap_works(make: Callable[[Path], None]) -> None:
    """Otherwise none of the tests below could fail."""
    make(Path("trap"))
    if make is spring:
        pickle.loads(Path("trap").read_bytes())
    elif make is spring_torch:
        torch.load("trap", weights_only=False)
    else:
        found = np.load("trap", allow_pickle=True)
        dict(found) if make is spring_archive else found
    assert Path("sprung").exists()


FORBIDDEN = {
    *("eval", "exec", "compile", "__import__", "tempfile.mktemp", "os.system", "os.popen"),
    *("pickle.load", "pickle.loads", "torch.load", "joblib.load", "pandas.read_pickle"),
    *("pd.read_pickle", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "marshal.loads"),
    *("shelve.open", "np.frompyfunc", "zipfile.ZipFile.extractall", "shutil.unpack_archive"),
}
PARALLEL = {"Parallel", "delayed", "effective_n_jobs"}
"""What may be imported from joblib, which also loads pickles."""
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_no_unsafe_functions_are_called(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name.split(".")[0] for alias in node.names}
            module = (getattr(node, "module", None) or "").split(".")[0]
            if module != "joblib" or not names <= PARALLEL:
                assert not UNSAFE_MODULES & {*names, module}, ast.unparse(node)
        if not isinstance(node, ast.Call):
            continue
        arguments = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        called = ast.unparse(node.func)
        assert called not in FORBIDDEN, ast.unparse(node)
        assert not called.endswith((".extractall", ".extract")), ast.unparse(node)
        if called in ("np.load", "numpy.load"):
            assert arguments.get("allow_pickle") == "False", ast.unparse(node)
        assert arguments.get("shell", "False") == "False", ast.unparse(node)
        assert arguments.get("weights_only", "True") == "True", ast.unparse(node)
        assert arguments.get("allow_pickle", "False") == "False", ast.unparse(node)


def assert_refused(call: Callable[[], object], *parts: str) -> None:
    """Assert that a call raises an InputError of one line with some parts, and springs no trap."""
    with pytest.raises(InputError) as refused:
        call()
    message = str(refused.value)
    assert message.isprintable()
    for part in parts:
        assert part in message
    assert not Path("sprung").exists()


@pytest.mark.parametrize("make", SPRINGS)
def test_files_of_the_store_are_not_executed(make: Callable[[Path], None]) -> None:
    store = Store(Path("store"))
    model = Mean(walk().spec)
    store.save_fit("k", model, {})
    store.save_completion("k", np.zeros(3, np.float32))
    weights = store.fit_folder("k") / "weights.safetensors"
    make(weights)
    assert_refused(lambda: store.load_weights("k", model), str(weights), "delete it and run again")
    assert_refused(lambda: store.load_mean("k"), str(weights), "delete it and run again")
    make(Path("store/completions/k.npy"))
    assert_refused(lambda: store.load_completion("k"), "completions/k.npy: damaged", "delete it")
    Path("store/cells").mkdir()
    make(Path("store/cells/k.parquet"))
    assert_refused(lambda: store.load_cell("k"), "cells/k.parquet: damaged", "delete it")
    make(store.fit_folder("k") / "fit.json")
    assert_refused(lambda: store.fit_summary("k"), "fit.json: damaged", "delete it")


@pytest.mark.parametrize("make", SPRINGS)
def test_a_checkpoint_is_not_executed(make: Callable[[Path], None]) -> None:
    make(Path("checkpoint.safetensors"))
    context = FitContext(folder=Path())
    call = lambda: train(torch.nn.Linear(1, 1), walk(), walk(), TrainSettings(epochs=1), context)  # noqa: E731
    assert_refused(call, "checkpoint.safetensors: damaged", "delete it and run again")


@pytest.mark.parametrize("make", SPRINGS)
def test_untrusted_arrays_are_not_executed(make: Callable[[Path], None]) -> None:
    make(Path("motion.npy"))
    with pytest.raises(ValueError, match=r"\w"):
        array_of(Path("motion.npy").read_bytes())
    assert not Path("sprung").exists()


@pytest.mark.parametrize("suffix", ["npy", "npz", "parquet", "csv", "bvh", "amc", "txt", "zip"])
@pytest.mark.parametrize("make", SPRINGS)
def test_motion_files_are_not_executed(
    make: Callable[[Path], None], suffix: str, bench: Bench
) -> None:
    folder = Path("data/arrays/train")
    folder.mkdir(parents=True)
    make(folder / f"walk_poses.{suffix}")
    ended = bench("data", "check", "data")
    assert ended.code in (0, 1)
    assert "Traceback" not in ended.out + ended.err
    assert "its reader failed" not in ended.out
    assert not Path("sprung").exists()


SMALL: dict[str, Any] = {
    "name": "small",
    "dataset": TINY["dataset"],
    "models": {"mean": {}, "linear": {}},
    "predictors": {"zero_velocity": {}},
    "occlusion": {"features": {"levels": ["10%"]}},
    "scale": {"train": 40, "valid": 8, "test": 12},
}


def test_a_store_full_of_traps_gives_one_line_errors(bench: Bench) -> None:
    """Write access to a shared results folder must not allow code execution by its other users."""
    Path("small.yaml").write_text(yaml.safe_dump(SMALL))
    assert bench("run", "small.yaml", *LOCAL).code == 0
    store, run = Path("results/.store"), Path("results/small/latest").resolve()
    for path in store.glob("cells/*.parquet"):
        path.unlink()
    for path in (*store.glob("fits/*/weights.safetensors"), *store.glob("completions/*.npy")):
        spring_torch(path) if path.suffix == ".safetensors" else spring_array(path)
    ended = bench("run", "small.yaml", *LOCAL)
    assert ended.code == 1
    assert re.search(r"failed linear features .*weights.safetensors: damaged \(", ended.out)
    ended = bench("rescore", run)
    assert ended.code == 2
    assert re.fullmatch(r"bench: \S+/.store/completions/\w+.npy: damaged .*\n", ended.err)
    for path in store.glob("windows/*/test.npy"):
        spring_array(path)
    ended = bench("run", "small.yaml", *LOCAL, "--dry-run")
    assert ended.code == 2
    assert re.fullmatch(r"bench: results/.store/windows/\w+: damaged .*\n", ended.err)
    assert not Path("sprung").exists()


def test_only_plugins_named_by_the_user_are_executed(bench: Bench) -> None:
    """Not code named in a protocol or a run's folder, or code that is only lying around."""
    evil = f"import os\nos.mkdir({str(Path('sprung').resolve())!r})\n{MODEL}"
    Path("own.py").write_text(evil)
    Path("small.yaml").write_text(yaml.safe_dump(SMALL))
    assert bench("run", "small.yaml", *LOCAL).code == 0
    run = Path("results/small/latest")
    facts = json.loads((run / "provenance.json").read_text())
    facts["plugins"] = {str(Path("own.py").resolve()): "", "own.py": ""}
    (run / "provenance.json").write_text(json.dumps(facts))
    for place in ("results", "results/.store", "results/small/latest", "models"):
        Path(place).mkdir(exist_ok=True)
        shutil.copy("own.py", Path(place) / "evil.py")
    assert bench("claims", run).code == 0
    assert bench("compare", run, run).code == 0
    for named in ("own", "own.py", "own:Middle", "models.evil", str(Path("own.py").resolve())):
        for where in ("models.x.model", "dataset.name", "predictors.x.predictor"):
            ended = bench("validate", "small.yaml", "--set", f"{where}={named}")
            assert ended.code == 2, ended
            assert f"'{named}'" in ended.err
    ended = bench("validate", "small.yaml", "--set", "plugins=[own.py]")
    assert "unknown key 'plugins'" in ended.err
    assert bench("list").code == 0
    assert not plugins()
    assert not Path("sprung").exists()
    assert bench("list", "--plugin", "own.py").code == 0
    assert Path("sprung").exists()


def test_modules_in_the_working_directory_are_not_imported(tmp_path: Path) -> None:
    trap = f"import os\nos.makedirs({str(tmp_path / 'sprung')!r}, exist_ok=True)\n"
    for name in (
        "numpy.py",
        "yaml.py",
        "typer.py",
        "torch.py",
        "models/__init__.py",
        "models/x.py",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(trap)
    (tmp_path / "evil.pth").write_text(f"import os; os.mkdir({str(tmp_path / 'sprung')!r})")
    ended = subprocess.run(
        [sys.executable, "-m", "bench", "list", "models"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(PROJECT)}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "hgvae" in ended.stdout
    assert not (tmp_path / "sprung").exists()


ODD = [
    "../../evil", "\x1b]0;x\x07\x1b[31m", "=1+1", "@cmd", "+1", "-1", "<script>alert(1)</script>",
    r"$x_{ %&#~^ \input{x}", "a|b", "two\nlines", "[red]x[/red]", "\u202eevil", "a,\"b",
]  # fmt: skip
HOSTILE = f'''
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.datasets.base import Dataset, Source
from bench.datasets.synthetic import SKELETON
from bench.motion import Skeleton

ODD = {ODD!r}
SPLITS = ("train", "valid", "test")


class Hostile(Dataset):
    """Recordings with hostile names."""

    name: ClassVar[str] = "hostile"

    @property
    def skeleton(self) -> Skeleton:
        """Return the skeleton of 18 joints."""
        return SKELETON

    def sources(self, root: Path | None) -> list[Source]:
        """Return one recording per name and split, and one that is too short."""
        found = [Source(f"{{odd}} {{split}}", split, odd, odd) for odd in ODD for split in SPLITS]
        return [*found, Source("short " + ODD[1], "train", ODD[1], ODD[1])]

    def read(self, source: Source) -> NDArray[np.float32]:
        """Return synthetic motion."""
        frames = 20 if source.name.startswith("short") else 90
        time = np.arange(frames)[:, None, None] / 25 * (1 + len(source.name) % 5)
        motion = SKELETON.rest + 50 * np.sin(time + np.arange(54).reshape(18, 3))
        return motion.astype(np.float32)
'''


PASSIVE = {
    *("html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "nav", "a", "dl"),
    *("dt", "dd", "div", "table", "thead", "tbody", "tr", "th", "td", "small", "figure", "img"),
    *("figcaption", "details", "summary", "pre", "code", "header", "main", "section", "ul", "li"),
    *("small", "b", "span", "label", "select", "option", "input", "button", "output", "canvas"),
    *(
        "fieldset",
        "legend",
        "script",
        "svg",
        "g",
        "path",
        "use",
        "defs",
        "text",
        "clippath",
        "rect",
    ),
    *("circle", "image", "tspan"),
}
"""Elements of the report, whose policy allows no scripts but its own two, and no request."""
OWN_SCRIPTS = 2


class Tags(HTMLParser):
    """Elements, attributes, links and text of a page, as a browser parses them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.scripts: list[str] = []
        self.policy = ""
        self.text = ""
        self._in_script = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        given = dict(attrs)
        self._in_script = tag == "script" and given.get("type") != "application/json"
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"] or ""

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._in_script:
            self.scripts.append(data)


def hash_of(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def test_the_page_of_a_run_escapes_descriptions_and_errors(bench: Bench) -> None:
    """Including tracebacks."""
    markup = "<img src=x onerror=alert(1)></pre><script>alert(2)</script>"
    broken = f"raise ValueError({markup!r})"
    Path("own.py").write_text(MODEL.replace("return torch.full_like(motion, 7.0)", broken))
    raw = SMALL | {"models": {"mean": {}, "middle": {}}, "description": markup}
    Path("small.yaml").write_text(yaml.safe_dump(raw))
    ended = bench("run", "small.yaml", *LOCAL, "--plugin", "own.py")
    assert ended.code == 1, ended
    tags = Tags(Path("results/small/latest/report.html").read_text())
    assert tags.names <= PASSIVE
    assert tags.attributes.isdisjoint({"onerror", "onload", "onclick"})
    assert len(tags.scripts) == OWN_SCRIPTS
    assert all(f"'sha256-{hash_of(script)}'" in tags.policy for script in tags.scripts)
    assert tags.text.count(markup) >= 2
    assert f"ValueError: {markup}" in tags.text


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_names_from_data_are_escaped(bench: Bench, tmp_path: Path) -> None:
    """They are no paths, no control codes on a terminal and no markup in any table."""
    Path("hostile.py").write_text(HOSTILE)
    raw: dict[str, Any] = {
        "name": "hostile",
        "dataset": {"name": "hostile", "stride": 20},
        "models": {"mean": {}, "<b>{x}_$|~^": {"model": "mean"}, "linear": {}},
        "predictors": {"zero_velocity": {}},
        "occlusion": {"features": {"levels": ["10%", "50%"]}},
        "description": "<script>alert(1)</script>",
    }
    Path("hostile.yaml").write_text(yaml.safe_dump(raw))
    before = files_of(tmp_path)
    given = ("--plugin", "hostile.py", "--results", "results")
    ran = bench("run", "hostile.yaml", "--executor", "local", *given)
    assert ran.code == 0, ran
    described = bench("data", "describe", "hostile", *given)
    assert described.code == 0, described
    for ended in (ran, described):
        output = ended.out + ended.err
        assert all(letter.isprintable() or letter == "\n" for letter in output)
        assert r"\x1b" in output  # shown, but escaped
    new = {path for path in files_of(tmp_path) - before if not path.startswith("results")}
    assert new <= {"__pycache__"}
    assert not any("evil" in path for path in files_of(tmp_path))
    assert not list(tmp_path.parent.glob("evil*"))
    run = Path("results/hostile/latest")
    texts = {path: path.read_text() for path in run.iterdir() if path.suffix in (".md", ".tex")}
    for path, text in texts.items():
        assert all(letter.isprintable() or letter == "\n" for letter in text), path
        if path.suffix == ".md":
            assert not re.search(r"<[a-z/]", text), path
            for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
                rows = table.replace(r"\|", "").splitlines()
                assert len({row.count("|") for row in rows}) == 1, path
        else:
            assert "\\input{" not in text, path
            assert not re.search(r"(?<!\\)[$#~^]", re.sub(r"\\[a-zA-Z]+\{\}", "", text)), path
    tags = Tags((run / "report.html").read_text())
    assert tags.names <= PASSIVE
    assert not {name for name in tags.attributes if name.startswith("on")}
    beside = {path.name for path in run.iterdir()}
    own = ("#", "data:image/png;base64,")
    assert all(link.startswith(own) or link in beside for link in tags.links)
    assert len(tags.scripts) == OWN_SCRIPTS
    assert "<script>alert(1)</script>" in tags.text
    assert "<b>{x}_$|~^" in tags.text
    prediction = list(csv.DictReader(io.StringIO((run / "prediction.csv").read_text())))
    shown = {odd.replace("\x1b", r"\x1b").replace("\x07", r"\x07") for odd in ODD}
    shown = {odd.replace("\n", r"\n").replace("\u202e", r"\u202e") for odd in shown}
    # CSV is for programs: names are unchanged, even where a spreadsheet would see a formula.
    assert shown <= {row["action"] for row in prediction}


def test_a_member_of_an_archive_cannot_access_other_files(bench: Bench) -> None:
    """Members are read inside the archive, so a name with ".." does not matter."""
    Path("secret.bvh").write_text("HIERARCHY")
    link = zipfile.ZipInfo("link.bvh")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile("data.zip", "w") as archive:
        archive.writestr("../secret.bvh", "climbs")
        archive.writestr("/etc/passwd.bvh", "is absolute")
        archive.writestr(link, str(Path("secret.bvh").resolve()))
    before = files_of(Path())
    for name, content in {
        "../secret.bvh": b"climbs",
        "/etc/passwd.bvh": b"is absolute",
        "link.bvh": str(Path("secret.bvh").resolve()).encode(),
    }.items():
        assert File(Path("data.zip"), name).read() == content
    assert bench("data", "check", "data.zip").code == 1
    assert files_of(Path()) == before


def test_a_zip_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile("bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.bvh", bytes(2**22))
    assert Path("bomb.zip").stat().st_size < 2**13
    with pytest.raises(InputError, match=r"bomb.zip:bomb.bvh: larger than 1 MiB"):
        File(Path("bomb.zip"), "bomb.bvh").read(2**20)
    assert len(File(Path("bomb.zip"), "bomb.bvh").head()) <= 2**16


def test_a_folder_with_a_trap_is_not_opened_as_a_run() -> None:
    Path("run").mkdir()
    spring(Path("run/windows.parquet"))
    with pytest.raises(InputError, match="not the folder of a run"):
        results.open_run(Path("run"))
    assert not Path("sprung").exists()
