"""Names to models, predictors, data sets, mechanisms, corruptions and inferences.

What is built in is found by looking: every concrete subclass, with a ``name``, in the modules of
a package. What is installed from outside comes by entry points, in the groups ``bench.models``,
``bench.predictors``, ``bench.datasets``, ``bench.mechanisms``, ``bench.corruptions`` and
``bench.inferences``.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from functools import cached_property
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, Generic, TypeVar

from bench.errors import InputError, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """The classes of one kind by name; nothing is imported before the first look-up.

    Args:
        kind: what one is called in messages.
        place: the package whose modules hold the built-in ones, or the one module that does.
        base: module and name of their base class, as ``"models.base:Imputer"``.
    """

    def __init__(self, kind: str, place: str, base: str) -> None:
        self.kind, self.place, self.base = kind, place, base
        self.broken: dict[str, str] = {}

    def get(self, name: str) -> type[T]:
        """Return the class called ``name``; raises InputError with the nearest known name."""
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
        for candidate in [*self._built_in(), *self._installed()]:
            if (
                inspect.isclass(candidate)
                and issubclass(candidate, base)
                and not inspect.isabstract(candidate)
                and isinstance(name := getattr(candidate, "name", None), str)
            ):
                found[name] = candidate
        return found

    def _built_in(self) -> Iterator[Any]:
        place = importlib.import_module(self.place)
        modules = [place]
        for info in pkgutil.iter_modules(getattr(place, "__path__", [])):
            try:
                modules.append(importlib.import_module(f"{self.place}.{info.name}"))
            except ImportError as error:  # a model whose optional dependency is not installed
                self.broken[info.name] = str(error)
        for module in modules:
            yield from _defined_in(module)

    def _installed(self) -> Iterator[Any]:
        for point in entry_points(group=f"bench.{self.kind.replace('data set', 'dataset')}s"):
            try:
                yield point.load()
            except Exception as error:
                # Somebody else's code may fail in any way; the rest must still be usable.
                self.broken[point.name] = f"{type(error).__name__}: {error}"


def _defined_in(module: ModuleType) -> Iterator[type]:
    for value in vars(module).values():
        if inspect.isclass(value) and value.__module__ == module.__name__:
            yield value


def summary(thing: type) -> str:
    """Return the first line of a class's docstring."""
    return (inspect.getdoc(thing) or "").split("\n", 1)[0]


MODELS: Registry[Any] = Registry("model", "models", "models.base:Model")
INFERENCES: Registry[Any] = Registry("inference", "models.inference", "models.inference:Inference")
DATASETS: Registry[Any] = Registry("data set", "bench.datasets", "bench.datasets.base:Dataset")
CORRUPTIONS: Registry[Any] = Registry(
    "corruption", "bench.motion.corruption", "bench.motion.corruption:Corruption"
)
MECHANISMS: Registry[Any] = Registry(
    "mechanism", "bench.motion.occlusion", "bench.motion.occlusion:Mechanism"
)
