"""What the environment's `.pth` line imports: wait for what is to be completed, load nothing.

`importlib.abc` is not derived from: it takes 20 ms to import, which every start would pay.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

__all__ = ["Finder"]

COMPLETED = {
    "keras.src.optimizers.optimizer": "arguments",
    "tf_keras.src.optimizers.optimizer": "arguments",
    "tensorflow_estimator.python.estimator.training": "alone",
}
"""Module → the module here whose `complete` it is given to once it is loaded."""


class Finder:
    """Lets a module be loaded as usual, then completes it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return how to load a module that is to be completed, or None for every other."""
        if fullname not in COMPLETED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            loader: Any = _Completing(spec.loader)
            spec.loader = loader
        return spec


class _Completing:
    """Stands in for the module's own loader while it is loaded."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """Leave it to the module's own loader."""
        created: ModuleType | None = self.inner.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, then complete it, before anybody uses it."""
        module.__loader__ = self.inner
        if module.__spec__ is not None:
            module.__spec__.loader = self.inner
        self.inner.exec_module(module)
        own = importlib.import_module(f".{COMPLETED[module.__name__]}", __package__)
        own.complete(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


sys.meta_path.insert(0, Finder())
