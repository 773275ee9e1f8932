"""A user's own files, given with ``--plugin``: in every table, or refused in one line."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from bench.core import code_versions, registry
from bench.core.errors import InputError
from bench.core.registry import DATASETS, MODELS, PREDICTORS, load_plugin
from bench.datasets.build import load
from bench.datasets.synthetic import Synthetic
from tests.conftest import PROJECT, TINY, Bench

LOCAL = ("--executor", "local")

PREDICTOR = '''
import torch
from torch import Tensor

from predictors.base import Predictor


class Drift(Predictor):
    """Linear extrapolation."""

    name = "drift"

    class Settings(Predictor.Settings):
        """How fast."""

        speed: float = 1.0

    def predict(self, past: Tensor) -> Tensor:
        """Return a straight line."""
        steps = torch.arange(1, self.spec.future + 1).view(1, -1, 1, 1)
        return past[:, -1:] + self.settings.speed * steps * (past[:, -1:] - past[:, -2:-1])
'''

MODEL = '''
import torch
from torch import Tensor

from models.base import Imputer
from models.mean import Mean  # imported, so not defined by the plugin


class Middle(Imputer):
    """Fills with a number."""

    name = "middle"

    def complete(self, motion: Tensor, occluded: Tensor) -> Tensor:
        """Fill every entry with the same value."""
        return torch.full_like(motion, 7.0)
'''

DATA_SET = '''
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.datasets.base import Dataset, Source
from bench.datasets.synthetic import SKELETON
from bench.motion import Skeleton


class Waves(Dataset):
    """Joints that oscillate."""

    name: ClassVar[str] = "waves"

    height: float = 50.0

    @property
    def skeleton(self) -> Skeleton:
        """Eighteen joints."""
        return SKELETON

    def sources(self, root: Path | None) -> list[Source]:
        """Return two recordings of each split."""
        splits = ("train", "valid", "test") * 2
        return [Source(f"{split}{number}", split, "wave") for number, split in enumerate(splits)]

    def read(self, source: Source) -> NDArray[np.float32]:
        """Return one recording."""
        time = np.arange(90)[:, None, None] / 25 * (1 + int(source.name[-1]))
        motion = SKELETON.rest + self.height * np.sin(time + np.arange(54).reshape(18, 3))
        return motion.astype(np.float32)
'''


def unload() -> None:
    """Unload every plugin, as in a new process."""
    for name in registry.plugins():
        sys.modules.pop(name, None)
    registry._plugins.clear()
    for one in registry.REGISTRIES:
        one.clear_cache()
    code_versions._read.cache_clear()


@pytest.fixture(autouse=True)
def _in_a_new_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("bench.report.figures.begin_all", lambda *_: list)
    torch.set_num_threads(1)
    unload()
    yield
    unload()


def plugin(folder: Path, stem: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{stem}.py"
    path.write_text(text)
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A protocol without long fits."""
    raw: dict[str, Any] = {
        "name": "small",
        "dataset": TINY["dataset"],
        "models": {"mean": {}, "linear": {}},
        "predictors": {"zero_velocity": {}},
        "occlusion": {"features": {"levels": ["10%"]}},
        "scale": {"train": 40, "valid": 8, "test": 12},
    }
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    return path


def latest(results: Path, table: str) -> pd.DataFrame:
    file = results / "small" / "latest" / table
    return pd.read_parquet(file) if table.endswith("parquet") else pd.read_csv(file)


def drifted(results: Path, speed: float) -> float:
    """Return the mean error of linear extrapolation from true pasts, computed independently."""
    settings = {key: value for key, value in TINY["dataset"].items() if key != "name"}
    data = load(Synthetic(**settings), None, results / ".store" / "windows")
    test = data.splits["test"].thin(12)
    test = test.take(test.continued)
    assert test.future is not None
    past, future = (np.asarray(part, dtype=np.float64) for part in (test.motion, test.future))
    steps = np.arange(1, 26)[None, :, None, None]
    predicted = past[:, -1:] + speed * steps * (past[:, -1:] - past[:, -2:-1])
    return float(np.linalg.norm(predicted - future, axis=-1).mean())


def test_a_users_own_predictor_is_in_the_tables(small: Path, tmp_path: Path, bench: Bench) -> None:
    path = plugin(tmp_path, "own_predictor", PREDICTOR)
    ended = bench(
        "run", small, "--results", tmp_path, *LOCAL, "--plugin", path,
        "--set", "predictors.drift={}", "--set", "predictors.slow={predictor: drift, speed: 0.5}",
    )  # fmt: skip
    assert ended.code == 0
    table = latest(tmp_path, "forecasting.csv")
    whole = table[(table["metric"] == "mpjpe_average") & table["model"].isna()]
    errors = whole.set_index("predictor")["value"]
    assert errors["drift"] == pytest.approx(drifted(tmp_path, 1.0), rel=1e-4)
    assert errors["slow"] == pytest.approx(drifted(tmp_path, 0.5), rel=1e-4)
    predicted = latest(tmp_path, "prediction.csv")
    assert set(predicted["predictor"]) == {"zero_velocity", "drift", "slow"}
    facts = yaml.safe_load((tmp_path / "small" / "latest" / "provenance.json").read_text())
    assert facts["plugins"] == {"own_predictor.py": hashlib.sha256(path.read_bytes()).hexdigest()}


def test_a_users_own_model_is_in_the_tables(small: Path, tmp_path: Path, bench: Bench) -> None:
    path = plugin(tmp_path, "own_model", MODEL)
    ended = bench(
        "run", small, "--results", tmp_path, *LOCAL, "--plugin", path, "--set", "models.middle={}"
    )
    assert ended.code == 0
    table = latest(tmp_path, "imputation.csv")
    assert set(table["model"]) == {"mean", "linear", "middle"}
    # Predictors are fed what it completes.
    assert "middle" in set(latest(tmp_path, "forecasting.csv")["model"])


def test_a_users_own_data_set_is_in_the_tables(small: Path, tmp_path: Path, bench: Bench) -> None:
    path = plugin(tmp_path, "own_data", DATA_SET)
    ended = bench(
        "run", small, "--results", tmp_path, *LOCAL, "--plugin", path,
        "--set", "dataset={name: waves, height: 20, stride: 10}",
    )  # fmt: skip
    assert ended.code == 0
    table = latest(tmp_path, "imputation.csv")
    assert set(table["dataset"]) == {"waves"}
    sources = set(latest(tmp_path, "windows.parquet")["source"])
    assert sources == {"test2", "test5"}
    again = bench(
        "run", small, "--results", tmp_path, *LOCAL, "--plugin", path, "--dry-run",
        "--set", "dataset={name: waves, height: 30, stride: 10}",
    )  # fmt: skip
    assert "0 cells already done" in again.out


def test_several_files_at_once_and_one_file_twice(
    small: Path, tmp_path: Path, bench: Bench
) -> None:
    texts = {"several_model": MODEL, "several_predictor": PREDICTOR, "several_data": DATA_SET}
    paths = [plugin(tmp_path, stem, text) for stem, text in texts.items()]
    given = [part for path in [*paths, paths[0]] for part in ("--plugin", path)]
    ended = bench(
        "run", small, "--results", tmp_path, *LOCAL, *given, "--set", "models.middle={}",
        "--set", "predictors.drift={}", "--set", "dataset={name: waves}",
    )  # fmt: skip
    assert ended.code == 0
    forecasts = latest(tmp_path, "forecasting.csv")
    both = (forecasts["predictor"] == "drift") & (forecasts["model"] == "middle")
    assert set(forecasts.loc[both, "dataset"]) == {"waves"}


def test_what_a_plugin_defines_is_listed_and_validated(
    small: Path, tmp_path: Path, bench: Bench
) -> None:
    given = [
        part
        for stem, text in (("listed_model", MODEL), ("listed_predictor", PREDICTOR))
        for part in ("--plugin", plugin(tmp_path, stem, text))
    ]
    listed = bench("list", *given, "-v")
    assert listed.code == 0
    for text in ("middle", "Fills with a number.", "drift", "Linear extrapolation.", "speed"):
        assert text in listed.out
    printed = bench("validate", small, *given, "--set", "predictors.drift.speed=2")
    assert yaml.safe_load(printed.out)["predictors"]["drift"]["speed"] == 2.0
    wrong = bench("validate", small, *given, "--set", "predictors.drift.sped=2")
    assert "unknown key 'sped' (did you mean 'speed'?)" in wrong.err


def test_a_finished_run_is_read_with_its_plugin_and_refused_without(
    small: Path, tmp_path: Path, bench: Bench
) -> None:
    path = plugin(tmp_path, "read_again", PREDICTOR)
    more = ("--set", "predictors.drift={}")
    run = bench("run", small, "--results", tmp_path, *LOCAL, "--plugin", path, *more)
    assert run.code == 0
    unload()
    folder = tmp_path / "small" / "latest"
    refused = bench("claims", folder)
    assert refused.code == 2
    assert "unknown predictor 'drift'" in refused.err
    assert refused.err.count("\n") == 1
    assert bench("claims", folder, "--plugin", path).code == 0


def test_an_edited_plugin_is_run_again_unless_only_a_comment_changed(
    small: Path, tmp_path: Path, bench: Bench
) -> None:
    path = plugin(tmp_path, "edited", PREDICTOR)
    command = ("run", small, "--results", tmp_path, *LOCAL, "--plugin", path)
    more = ("--set", "predictors.drift={}")
    assert bench(*command, *more).code == 0
    unload()
    plugin(tmp_path, "edited", "# why\n" + PREDICTOR)
    assert "0 fits and 0 cells to do" in bench(*command, *more, "--dry-run").out
    unload()
    plugin(tmp_path, "edited", PREDICTOR.replace("self.settings.speed * steps", "0.5 * steps"))
    ended = bench(*command, *more)
    assert "1 fits and 3 cells to do" in ended.out
    table = latest(tmp_path, "forecasting.csv")
    whole = table[(table["metric"] == "mpjpe_average") & table["model"].isna()]
    error = whole.set_index("predictor")["value"]["drift"]
    assert error == pytest.approx(drifted(tmp_path, 0.5), rel=1e-4)


def test_a_plugin_that_fails_while_predicting_does_not_affect_the_others(
    small: Path, tmp_path: Path, bench: Bench
) -> None:
    text = PREDICTOR.replace("return past", "raise KeyError('lost'); return past")
    path = plugin(tmp_path, "fails_at_work", text)
    ended = bench(
        "run", small, "--results", tmp_path, *LOCAL, "--plugin", path, "--set",
        "predictors.drift={}",
    )  # fmt: skip
    assert ended.code == 1
    assert "failed drift forecast seed 0: KeyError: 'lost'" in ended.out
    status = latest(tmp_path, "records.parquet").groupby("predictor")["status"].unique().map(list)
    assert status.to_dict() == {"": ["done"], "zero_velocity": ["done"], "drift": ["failed"]}


ABSTRACT = PREDICTOR.replace("def predict", "def forecast")
NAMELESS = PREDICTOR.replace('    name = "drift"\n', "")
TAKEN = MODEL.replace('name = "middle"', 'name = "mean"')


@pytest.mark.parametrize(
    ("stem", "text", "message"),
    [
        ("bad_syntax", "def predict(:\n", "SyntaxError: invalid syntax"),
        ("bad_import", "import no_such_module\n", "No module named 'no_such_module'"),
        ("bad_start", "raise ValueError('two\\nlines')\n", "ValueError: two lines"),
        ("bad_bytes", "\x00", "--plugin"),
        ("empty", "", "it defines no class with a name that derives from a base class"),
        ("no_class", "x = 1\n", "it defines no class with a name"),
        ("other_class", "class Drift:\n    name = 'drift'\n", "it defines no class with a name"),
        ("imported", "from models.mean import Mean\n", "it defines no class with a name"),
        ("abstract", ABSTRACT, "implements all abstract methods"),
        ("nameless", NAMELESS, "it defines no class with a name"),
        ("taken", TAKEN, "a model 'mean' already exists; rename it"),
    ],
)
def test_a_plugin_that_cannot_be_used_gets_one_line(
    stem: str, text: str, message: str, small: Path, tmp_path: Path, bench: Bench
) -> None:
    path = plugin(tmp_path, stem, text)
    ended = bench("run", small, "--results", tmp_path / "results", *LOCAL, "--plugin", path)
    assert ended.code == 2
    assert ended.err.startswith("bench: ")
    assert message in ended.err
    assert str(path) in ended.err
    assert ended.err.count("\n") == 1
    assert "Traceback" not in ended.out + ended.err
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("command", ["run", "validate", "list", "describe", "claims"])
def test_a_plugin_that_is_missing_gets_one_line_from_every_command(
    command: str, small: Path, tmp_path: Path, bench: Bench
) -> None:
    arguments = {"run": [small], "validate": [small], "claims": [tmp_path]}.get(command, [])
    for path in (tmp_path / "nowhere.py", tmp_path):
        ended = bench(command, *arguments, "--plugin", path)
        assert ended.code == 2
        assert ended.err == f"bench: --plugin {path}: no such file\n"


def test_a_plugin_that_is_no_python_file(small: Path, tmp_path: Path, bench: Bench) -> None:
    path = tmp_path / "words.txt"
    path.write_text(PREDICTOR)
    ended = bench("validate", small, "--plugin", path)
    assert ended.code == 2
    assert ended.err == f"bench: --plugin {path}: not a Python file; its name must end in .py\n"


def test_two_plugins_with_the_same_name_are_refused_in_one_line(
    small: Path, tmp_path: Path, bench: Bench
) -> None:
    one, other = (
        plugin(tmp_path / folder, "same_stem", PREDICTOR.replace("drift", folder))
        for folder in ("a", "b")
    )
    ended = bench("validate", small, "--plugin", one, "--plugin", other)
    assert ended.code == 2
    assert "another plugin file has the same name; rename one" in ended.err
    assert str(other) in ended.err
    unload()
    third = plugin(tmp_path, "same_name", PREDICTOR)
    fourth = plugin(tmp_path, "same_name_too", PREDICTOR)
    again = bench("validate", small, "--plugin", third, "--plugin", fourth)
    assert again.code == 2
    assert "a predictor 'drift' already exists" in again.err
    assert again.err.count("\n") == 1


@pytest.mark.parametrize(("stem", "text"), [("refused_taken", TAKEN), ("refused_empty", "x = 1\n")])
def test_a_refused_plugin_leaves_nothing_behind_and_is_refused_again(
    stem: str, text: str, tmp_path: Path
) -> None:
    path = plugin(tmp_path, stem, text)
    for _ in range(2):
        with pytest.raises(InputError):
            load_plugin(path)
        assert registry.plugins() == {}
        assert "mean" in MODELS.all()
        assert "ltd" in PREDICTORS.all()


def test_the_same_name_may_be_of_two_kinds(tmp_path: Path) -> None:
    load_plugin(plugin(tmp_path, "kinds_data", DATA_SET.replace('"waves"', '"mean"')))
    assert MODELS.get("mean").__module__ == "models.mean"
    assert DATASETS.get("mean").__module__ == "bench_plugin_kinds_data"


@pytest.mark.ray
def test_ray_workers_load_plugins_too(small: Path, tmp_path: Path) -> None:
    texts = {"ray_model": MODEL, "ray_predictor": PREDICTOR, "ray_data": DATA_SET}
    # Workers have another working directory.
    paths = [os.path.relpath(plugin(tmp_path, *item), PROJECT) for item in texts.items()]
    given = [part for path in paths for part in ("--plugin", path)]
    process = subprocess.run(
        [
            sys.executable, "-m", "bench", "run", str(small), "--results", str(tmp_path / "out"),
            *given, "--set", "models.middle={}", "--set", "predictors.drift={}",
            "--set", "dataset={name: waves}",
        ],
        cwd=PROJECT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        timeout=400, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert "Ray: " in process.stdout
    forecasts = latest(tmp_path / "out", "forecasting.csv")
    both = (forecasts["predictor"] == "drift") & (forecasts["model"] == "middle")
    assert set(forecasts.loc[both, "dataset"]) == {"waves"}
    assert (latest(tmp_path / "out", "records.parquet")["status"] == "done").all()
