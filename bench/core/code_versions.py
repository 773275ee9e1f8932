"""Code versions: a hash of a module's code and of the project modules that it imports.

Stored results are keyed by the version of the code that computed them. Editing a model, or a module
that it imports, changes its version, so its results are recomputed; editing comments, docstrings or
other modules does not.
"""

import ast
import hashlib
import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

PROJECT = ("bench", "models", "predictors")
ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds the project's packages: a checkout, or site-packages."""


def code_version(*things: type | ModuleType) -> str:
    """Return 12 hex digits: a hash over modules and all project modules that they import.

    Args:
        things: modules, or classes that stand for the modules that define them.
    """
    names = [
        thing.__name__ if isinstance(thing, ModuleType) else thing.__module__ for thing in things
    ]
    found: dict[str, str] = {}
    pending = list(names)
    while pending:
        name = pending.pop()
        if name not in found:
            found[name], imported = _read(name)
            pending.extend(imported)
    text = "\n".join(f"{name} {found[name]}" for name in sorted(found))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def own_version(module: str) -> str:
    """Return 12 hex digits: a hash over one module's code, without what it imports."""
    return _read(module)[0][:12]


@cache
def _read(name: str) -> tuple[str, tuple[str, ...]]:
    """Return a hash of a module's code, without comments and docstrings, and what it imports.

    Of its imports, only modules of the project and of the module's own package are returned.
    """
    spec = sys.modules[name].__spec__ if name in sys.modules else importlib.util.find_spec(name)
    origin = getattr(spec, "origin", None) or getattr(sys.modules.get(name), "__file__", None)
    if origin is None:
        return "", ()
    with open(origin, encoding="utf-8") as file:
        tree = _Code().visit(ast.parse(file.read()))
    package = getattr(spec, "parent", None) or ""
    imported: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            written = "." * node.level + (node.module or "")
            module = importlib.util.resolve_name(written, package) if node.level else written
            imported += [module, *(f"{module}.{alias.name}" for alias in node.names)]
    known = {*PROJECT, name.split(".")[0]}
    followed = {one for one in imported if one.split(".")[0] in known and _is_module(one)}
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), tuple(sorted(followed))


class _Code(ast.NodeTransformer):
    """Keeps the code that runs: removes docstrings, bare strings and ``if TYPE_CHECKING:``."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        checking = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return node.orelse if checking else node


@cache
def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # a name imported from a module, not a module
        return False
