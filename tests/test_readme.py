"""What the README shows must work."""

import re
from dataclasses import replace
from typing import Any

import torch

from models.base import Imputer
from tests.conftest import PROJECT, walk

README = (PROJECT / "README.md").read_text()


def example(name: str) -> tuple[str, Any]:
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    (code,) = (block for block in blocks if f"class {name}(" in block)
    names: dict[str, Any] = {"__name__": name}
    exec(compile(code, "README.md", "exec"), names)
    return code, names[name]


def test_the_models_example_is_an_imputer() -> None:
    windows, (code, defined) = walk(2), example("Hold")
    model: Imputer = defined(windows.spec)
    model.fit(windows, windows)
    truth = windows.tensor()
    occluded = torch.zeros_like(truth, dtype=torch.bool)
    occluded[0, 10:20] = True
    occluded[1, :5] = True
    completed = model.impute(truth, occluded).motion
    assert torch.equal(completed[0, 10:20], truth[0, 9].expand(10, -1, -1))
    assert torch.equal(completed[1, :5], model.mean[:5])
    assert len(code.splitlines()) < 30


def test_the_predictors_example_goes_on_as_it_last_moved() -> None:
    code, defined = example("ConstantVelocity")
    spec = replace(walk(1).spec, future=3)
    past = torch.zeros(2, 50, 18, 3)
    past[:, -1] = 7
    assert torch.equal(
        defined(spec).predict(past)[:, :, 0, 0], torch.tensor([[14.0, 21.0, 28.0]]).expand(2, -1)
    )
    assert len(code.splitlines()) < 30


def test_every_file_it_names_is_there() -> None:
    named = re.findall(r"`((?:bench|models|predictors|protocols|tests|results)/[\w./]+)`", README)
    named += re.findall(r"\]\(([\w/.]+)\)", README)
    missing = [name for name in named if not (PROJECT / name).exists()]
    made_by_runs = {"results/occlusion/latest", "results/.store"}
    assert set(missing) <= made_by_runs


def test_ci_runs_the_readmes_test_command() -> None:
    (command,) = re.findall(r"<!-- tests -->\n```bash\n(.*?)\n```", README, flags=re.DOTALL)
    assert command == "pip install -e '.[test]' && python -m pytest -n 2 --dist loadfile"
    assert "<!-- tests -->" in (PROJECT / ".ci" / "run").read_text()
