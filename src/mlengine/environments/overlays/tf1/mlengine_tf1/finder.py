"""The one hook in the import system: other names for modules, and a step after some are loaded.

An *alias* is a module name that answers with another module, the very object, so that classes are
the same whichever path they were imported by. A *completion* is a function that is called once a
module's own code has run and before its importer sees it.

Both are resolved when a trainer asks and not before, so that starting Python stays quick, and both
live in the process: a forked child inherits them, a spawned one gets them from its own `.pth`.

`importlib.abc` is not derived from: it takes 20 ms to import, which every start would pay.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from . import names, paths

__all__ = ["Finder", "install"]

COMPLETIONS: dict[str, Callable[[ModuleType], None]] = {
    "numpy": names.complete_numpy,
    "pandas": names.complete_pandas,
    "tensorflow": names.complete_tensorflow,
}


class Finder:
    """Answers for the names in `COMPLETIONS` and for those that `paths.other_name` knows."""

    def __init__(self) -> None:
        self.completed: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return how to load this module, or None where it is none of the overlay's.

        Raises:
            ImportError: It is a part of `tf.contrib` that the overlay does not have.
        """
        if fullname in COMPLETIONS:
            return self._to_complete(fullname, path)
        root = fullname.partition(".")[0]
        if root not in paths.ROOTS:
            return None
        if fullname == "keras" and "tensorflow" not in sys.modules:
            importlib.import_module("tensorflow")  # it loads Keras itself, and renames it after
            return _alias(fullname, "keras") if "keras" in sys.modules else None
        if root in ("tensorflow", "keras") and "tensorflow" not in self.completed:
            return None  # TensorFlow is loading, and means its own files
        other = paths.other_name(fullname)
        return _alias(fullname, other) if other else None

    def _to_complete(
        self, fullname: str, path: Sequence[str] | None
    ) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            loader: Any = _Completing(spec.loader, self.completed)
            spec.loader = loader
        return spec


def install() -> None:
    """Put the finder in front of the others, once."""
    if not any(type(finder).__name__ == Finder.__name__ for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder())


def _alias(fullname: str, other: str) -> importlib.machinery.ModuleSpec:
    loader: Any = _Alias(other)
    spec = importlib.machinery.ModuleSpec(fullname, loader, is_package=True)
    spec.submodule_search_locations = []
    return spec


class _Alias:
    """Puts another module under the name that was asked for."""

    def __init__(self, other: str) -> None:
        self.other = other

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """Let the import system make an empty module: it is thrown away."""

    def exec_module(self, module: ModuleType) -> None:
        """Replace the empty module by the other one, which keeps its own name and spec."""
        sys.modules[module.__name__] = paths.load(self.other)


class _Completing:
    """Runs a completion after the module's own loader, which it stands in for meanwhile."""

    def __init__(self, inner: Any, completed: set[str]) -> None:
        self.inner = inner
        self.completed = completed

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """Leave it to the module's own loader."""
        created: ModuleType | None = self.inner.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, then the completion."""
        module.__loader__ = self.inner
        if module.__spec__ is not None:
            module.__spec__.loader = self.inner
        self.inner.exec_module(module)
        COMPLETIONS[module.__name__](module)
        self.completed.add(module.__name__)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)
