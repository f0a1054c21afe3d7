"""What the environment's `.pth` line imports: wait for Keras's optimizers, load nothing."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

__all__ = ["Finder"]

OPTIMIZERS = ("keras.src.optimizers.optimizer", "tf_keras.src.optimizers.optimizer")


class Finder(importlib.abc.MetaPathFinder):
    """Lets the base class of the optimizers be loaded as usual, then completes it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return how to load the base class, or None for every other module."""
        if fullname not in OPTIMIZERS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            spec.loader = _Completing(spec.loader)
        return spec


class _Completing(importlib.abc.Loader):
    """Stands in for the module's own loader while it is loaded."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """Leave it to the module's own loader."""
        created: ModuleType | None = self.inner.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, then complete its class, before any optimizer derives from it."""
        module.__loader__ = self.inner
        if module.__spec__ is not None:
            module.__spec__.loader = self.inner
        self.inner.exec_module(module)
        from .arguments import complete

        complete(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


sys.meta_path.insert(0, Finder())
