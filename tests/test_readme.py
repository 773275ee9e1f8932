"""What the README shows must work."""

import re
from pathlib import Path
from typing import Any

import torch

from models.base import Imputer
from tests.conftest import PROJECT, walk

README = PROJECT / "README.md"


def example(name: str, page: Path = README) -> tuple[str, Any]:
    """Return the code of a page's example that defines a class, and that class."""
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    (code,) = (block for block in blocks if f"class {name}(" in block)
    names: dict[str, Any] = {"__name__": name}
    exec(compile(code, page.name, "exec"), names)
    return code, names[name]


def test_the_models_example_is_an_imputer() -> None:
    windows, (code, defined) = walk(2), example("WindowMean")
    model: Imputer = defined(windows.spec)
    model.fit(windows, windows)
    truth = windows.tensor()
    occluded = torch.zeros_like(truth, dtype=torch.bool)
    occluded[0, 10:20] = True
    occluded[1, :5] = True
    occluded[1, :, 3] = True
    completed = model.impute(truth, occluded).motion
    seen = torch.cat([truth[0, :10], truth[0, 20:]])
    torch.testing.assert_close(completed[0, 10:20], seen.mean(dim=0).expand(10, -1, -1))
    torch.testing.assert_close(completed[1, :5, 0], truth[1, 5:, 0].mean(dim=0).expand(5, -1))
    assert torch.equal(completed[1, :, 3], model.mean[:, 3])
    assert len(code.splitlines()) < 30


def test_ci_runs_the_readmes_test_command() -> None:
    text = README.read_text()
    (command,) = re.findall(r"<!-- tests -->\n```bash\n(.*?)\n```", text, flags=re.DOTALL)
    assert command == "pip install -e '.[test]' && python -m pytest -n 2 --dist loadfile"
    assert "<!-- tests -->" in (PROJECT / ".ci" / "run").read_text()


def test_the_command_that_runs_the_main_job_is_there() -> None:
    command = "pip install -e . && python -m bench run protocols/occlusion.yaml"
    assert f"```bash\n{command}\n```" in README.read_text()
