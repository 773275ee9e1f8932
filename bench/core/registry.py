"""Look-up by name of models, predictors, data sets, mechanisms, corruptions and inferences.

Built-in classes are discovered: every concrete subclass with a ``name`` in the modules of a
package. Installed packages add theirs by entry points, in the groups ``bench.models``,
``bench.predictors``, ``bench.datasets``, ``bench.mechanisms``, ``bench.corruptions`` and
``bench.inferences``; ``load_plugin`` adds those of a single file.
"""

import importlib
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from bench.core.errors import InputError, did_you_mean

T = TypeVar("T")

_plugins: dict[str, ModuleType] = {}
"""Modules of the files given with ``--plugin``, by module name."""


class Registry(Generic[T]):
    """The classes of one kind by name; nothing is imported before the first look-up.

    Args:
        kind: what messages call one of them, such as ``"model"``.
        location: the package, or the single module, that defines the built-in ones.
        base: module and name of their base class, as ``"models.base:Imputer"``.

    Attributes:
        broken: name of a module or entry point that could not be imported -> the reason.
    """

    def __init__(self, kind: str, location: str, base: str) -> None:
        self.kind, self.location, self.base = kind, location, base
        self.broken: dict[str, str] = {}

    def get(self, name: str) -> type[T]:
        """Return the class called ``name``.

        Raises:
            InputError: it is unknown (the message suggests a similar name) or cannot be imported.
        """
        if name in self._classes:
            return self._classes[name]
        if name in self.broken:
            raise InputError(f"{self.kind} '{name}' cannot be imported: {self.broken[name]}")
        raise InputError(f"unknown {self.kind} '{name}'{did_you_mean(name, self._classes)}")

    def all(self) -> dict[str, type[T]]:
        """Return every class by name, in alphabetical order."""
        return dict(sorted(self._classes.items()))

    @cached_property
    def _classes(self) -> dict[str, type[T]]:
        module, _, attribute = self.base.partition(":")
        base = getattr(importlib.import_module(module), attribute)
        found: dict[str, Any] = {}
        added = [cls for module in _plugins.values() for cls in _defined_in(module)]
        for candidate in [*self._built_in(), *self._installed(), *added]:
            if (
                inspect.isclass(candidate)
                and issubclass(candidate, base)
                and not inspect.isabstract(candidate)
                and isinstance(name := getattr(candidate, "name", None), str)
            ):
                if candidate in added and name in found:
                    file = _plugins[candidate.__module__].__file__
                    raise InputError(f"{file}: a {self.kind} '{name}' already exists; rename it")
                found[name] = candidate
        return found

    def clear_cache(self) -> None:
        """Discover the classes again at the next look-up."""
        vars(self).pop("_classes", None)

    def _built_in(self) -> Iterator[Any]:
        location = importlib.import_module(self.location)
        modules = [location]
        for info in pkgutil.iter_modules(getattr(location, "__path__", [])):
            try:
                modules.append(importlib.import_module(f"{self.location}.{info.name}"))
            except ImportError as error:  # an optional dependency is not installed
                self.broken[info.name] = str(error)
        for module in modules:
            yield from _defined_in(module)

    def _installed(self) -> Iterator[Any]:
        for point in entry_points(group=f"bench.{self.kind.replace('data set', 'dataset')}s"):
            try:
                yield point.load()
            except Exception as error:
                # Third-party code may raise anything; the other classes must stay usable.
                self.broken[point.name] = f"{type(error).__name__}: {error}"


def _defined_in(module: ModuleType) -> Iterator[type]:
    for value in vars(module).values():
        # A private class may inherit the name of the public one that it extends.
        private = getattr(value, "__name__", "").startswith("_")
        if inspect.isclass(value) and value.__module__ == module.__name__ and not private:
            yield value


def summary(thing: type) -> str:
    """Return the first line of a class's docstring."""
    return (inspect.getdoc(thing) or "").split("\n", 1)[0]


MODELS: Registry[Any] = Registry("model", "models", "models.base:Model")
PREDICTORS: Registry[Any] = Registry("predictor", "predictors", "predictors.base:Predictor")
INFERENCES: Registry[Any] = Registry(
    "inference", "models.inference", "models.inference.base:Inference"
)
DATASETS: Registry[Any] = Registry("data set", "bench.datasets", "bench.datasets.base:Dataset")
CORRUPTIONS: Registry[Any] = Registry(
    "corruption", "bench.motion.corruptions", "bench.motion.corruptions.base:Corruption"
)
MECHANISMS: Registry[Any] = Registry(
    "mechanism", "bench.motion.mechanisms", "bench.motion.mechanisms.base:Mechanism"
)
REGISTRIES: tuple[Registry[Any], ...] = (
    MODELS,
    PREDICTORS,
    INFERENCES,
    DATASETS,
    CORRUPTIONS,
    MECHANISMS,
)


def load_plugin(path: Path) -> None:
    """Register the classes that a Python file defines; loading a file twice has no effect.

    Raises:
        InputError: the file cannot be imported, defines no class of a registered kind, or one
            whose name is taken.
    """
    name = f"bench_plugin_{path.stem}"
    if name in _plugins:
        if Path(str(_plugins[name].__file__)) != path.resolve():
            raise InputError(f"--plugin {path}: another plugin file has the same name; rename one")
        return
    if not path.is_file():
        raise InputError(f"--plugin {path}: no such file")
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise InputError(f"--plugin {path}: not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        # Third-party code may raise anything.
        del sys.modules[name]
        reason = " ".join(str(error).split())
        raise InputError(f"--plugin {path}: {type(error).__name__}: {reason}") from None
    _plugins[name] = module
    try:
        _register(module, path)
    except InputError:
        del _plugins[name], sys.modules[name]
        for registry in REGISTRIES:
            registry.clear_cache()
        raise


def _register(module: ModuleType, path: Path) -> None:
    """Refresh every registry; raises InputError if none finds a class in the plugin's module."""
    for registry in REGISTRIES:
        registry.clear_cache()
    known = {cls for registry in REGISTRIES for cls in registry.all().values()}
    if not known & set(_defined_in(module)):
        kinds = ", ".join(registry.kind for registry in REGISTRIES)
        raise InputError(
            f"--plugin {path}: it defines no class with a name that derives from a base class of "
            f"the project ({kinds}) and implements all abstract methods"
        )


def plugins() -> dict[str, Path]:
    """Return the plugin files that were loaded, by module name."""
    return {name: Path(str(module.__file__)) for name, module in _plugins.items()}
