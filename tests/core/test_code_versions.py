"""A code version changes when the code does, and only then."""

import sys
from pathlib import Path

import pytest

from bench import metrics
from bench.core import code_versions
from bench.core.code_versions import code_version
from models.hgvae import HGVAE
from models.linear import Linear

PARTS = {
    "__init__.py": "",
    "base.py": "RATE = 1\n",
    "model.py": "from made_up.base import RATE\n\n\nclass Model:\n    pass\n",
    "other.py": "VALUE = 3\n",
}


@pytest.fixture
def version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    package = tmp_path / "made_up"
    package.mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(code_versions, "PROJECT", ("made_up",))

    def measure(**changes: str) -> str:
        for name, text in {**PARTS, **{f"{k}.py": v for k, v in changes.items()}}.items():
            (package / name).write_text(text)
        code_versions._read.cache_clear()
        code_versions._is_module.cache_clear()
        for name in [name for name in sys.modules if name.startswith("made_up")]:
            del sys.modules[name]
        import importlib

        importlib.invalidate_caches()
        return code_version(importlib.import_module("made_up.model").Model)

    yield measure
    for name in [name for name in sys.modules if name.startswith("made_up")]:
        del sys.modules[name]
    code_versions._read.cache_clear()
    code_versions._is_module.cache_clear()


def test_comments_docstrings_and_other_modules_do_not_matter(version: object) -> None:
    assert callable(version)
    first = version()
    assert version(other="VALUE = 4\n") == first
    commented = '"""What it is."""\n# why\n' + PARTS["model.py"]
    assert version(model=commented) == first


def test_code_and_its_imports_matter(version: object) -> None:
    assert callable(version)
    first = version()
    assert version(base="RATE = 2\n") != first
    assert version(model=PARTS["model.py"].replace("pass", "x = 1")) != first


def test_docstrings_of_constants_and_imports_for_type_checking_do_not_matter(
    version: object,
) -> None:
    assert callable(version)
    code = 'from typing import TYPE_CHECKING\nRATE = 1\n"""How fast."""\n'
    first = version(base=code + "if TYPE_CHECKING:\n    import made_up.other\n")
    assert version(base=code.replace("fast", "slow") + "if TYPE_CHECKING:\n    pass\n") == first
    assert version(base=code + "if TYPE_CHECKING:\n    pass\nelse:\n    RATE = 2\n") != first


def test_imports_within_an_external_package_are_followed(
    version: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(version)
    monkeypatch.setattr(code_versions, "PROJECT", ("bench",))
    relative = PARTS["model.py"].replace("from made_up.base", "from .base")
    first = version(model=relative)
    assert version(model=relative, base="RATE = 2\n") != first
    assert version(model=relative, other="VALUE = 4\n") == first


def test_versions_of_real_models_depend_on_what_they_import() -> None:
    assert len({code_version(HGVAE), code_version(Linear), code_version(metrics)}) == 3
    assert "models.graph" in _closure("models.hgvae")
    assert "models.graph" not in _closure("models.linear")
    # Choosing another inference must not require fitting again.
    assert "models.inference.base" not in _closure("models.hgvae")


def _closure(name: str) -> set[str]:
    found: set[str] = set()
    pending = [name]
    while pending:
        module = pending.pop()
        if module not in found:
            found.add(module)
            pending.extend(code_versions._read(module)[1])
    return found
