"""What the README shows must work."""

import re
from typing import Any

import torch

from models.base import Imputer
from tests.conftest import PROJECT, walk

README = (PROJECT / "README.md").read_text()


def test_the_models_example_is_an_imputer() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    names: dict[str, Any] = {"__name__": "hold"}
    exec(compile(code, "README.md", "exec"), names)
    windows = walk(2)
    model: Imputer = names["Hold"](windows.spec)
    model.fit(windows, windows)
    truth = windows.tensor()
    occluded = torch.zeros_like(truth, dtype=torch.bool)
    occluded[0, 10:20] = True
    occluded[1, :5] = True
    completed = model.impute(truth, occluded).motion
    assert torch.equal(completed[0, 10:20], truth[0, 9].expand(10, -1, -1))
    assert torch.equal(completed[1, :5], model.mean[:5])
    assert len(code.splitlines()) < 30


def test_every_file_it_names_is_there() -> None:
    named = re.findall(r"`((?:bench|models|protocols|tests|results)/[\w./]+)`", README)
    named += re.findall(r"\]\(([\w/.]+)\)", README)
    missing = [name for name in named if not (PROJECT / name).exists()]
    made_by_runs = {"results/occlusion/latest", "results/.store"}
    assert set(missing) <= made_by_runs


def test_ci_runs_the_readmes_test_command() -> None:
    (command,) = re.findall(r"<!-- tests -->\n```bash\n(.*?)\n```", README, flags=re.DOTALL)
    assert command == "pip install -e '.[test]' && python -m pytest"
    assert "<!-- tests -->" in (PROJECT / ".ci" / "run").read_text()
