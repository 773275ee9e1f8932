"""A version for a piece of the project: a hash of its code and of what it is built on.

Results are kept by what made them. Editing a model, or a module it imports, changes its version,
so that its results are made anew; editing comments, docstrings or other modules does not.
"""

import ast
import hashlib
import importlib.util
import sys
from functools import cache
from types import ModuleType

PROJECT = ("bench", "models", "predictors")


def code_version(*things: type | ModuleType) -> str:
    """Return a hash over the modules of ``things`` and all project modules they import."""
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
    """Return a hash over one module's code, without what it imports."""
    return _read(module)[0][:12]


@cache
def _read(name: str) -> tuple[str, tuple[str, ...]]:
    """Return a module's code without comments and docstrings, hashed, and what it imports."""
    spec = sys.modules[name].__spec__ if name in sys.modules else importlib.util.find_spec(name)
    origin = getattr(spec, "origin", None) or getattr(sys.modules.get(name), "__file__", None)
    if origin is None:
        return "", ()
    with open(origin, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    imported: list[str] = []
    for node in ast.walk(_without_type_checking(tree)):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.append(node.module)
            imported += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:] or [ast.Pass()]
    mine = tuple(sorted({module for module in imported if _is_project_module(module)}))
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), mine


def _without_type_checking(tree: ast.Module) -> ast.Module:
    """Drop ``if TYPE_CHECKING:`` blocks: what they import does not run."""
    tree.body = [
        node
        for node in tree.body
        if not (
            isinstance(node, ast.If)
            and isinstance(node.test, ast.Name)
            and node.test.id == "TYPE_CHECKING"
        )
    ]
    return tree


@cache
def _is_project_module(name: str) -> bool:
    if name.split(".")[0] not in PROJECT:
        return False
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # a name imported from a module, not a module
        return False
