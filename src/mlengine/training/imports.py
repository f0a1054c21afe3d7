"""Which heavy libraries a trainer package imports, read from its source without running it.

A warm interpreter imports them ahead. That must change nothing for the trainer, so a package that
sets variables which its libraries read while they are imported (``TF_USE_LEGACY_KERAS``,
``OMP_NUM_THREADS``, ...) gets nothing ahead: it has to come first.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

from mlengine.training.sources import own_sources

__all__ = ["heavy_modules"]

HEAVY = (
    "numpy", "scipy", "pandas", "joblib", "sklearn", "xgboost", "lightgbm", "tensorflow", "keras",
    "torch",
)  # fmt: skip
"""In the order in which they are imported ahead."""

_PARTS = {
    "scipy": ("scipy.sparse",),
    "sklearn": ("sklearn.pipeline",),
    "google.cloud.storage": ("google.auth.transport.requests", "google.api_core.retry"),
}
"""What to import ahead instead of, or beside, a library.

``google.cloud.storage`` itself reads ``STORAGE_EMULATOR_HOST`` while it is imported, which is
another one for every attempt.
"""

_LAZY = {"keras", "estimator", "contrib"}
"""Attributes of ``tensorflow`` that are loaded when they are first looked into."""

_READ_AT_IMPORT = re.compile(
    r"(BLIS|GOTO|JAX|JOBLIB|KERAS|KMP|MKL|NPY|NUMEXPR|NUMPY|OMP|OPENBLAS|PANDAS|PYTORCH|SCIPY"
    r"|SKLEARN|TF|TF2|TORCH|XGBOOST|XLA)_[A-Z0-9_]+"
)
_HARMLESS = re.compile(r"TF_(CONFIG|CPP_[A-Z_]+)|XLA_PYTHON_CLIENT_[A-Z_]+")


def heavy_modules(layer: Path) -> list[str]:
    """Return the modules worth importing ahead for the packages of a layer, in a fixed order.

    Only packages that were installed from a file are read, not what they require. A source that
    cannot be parsed says nothing.

    Args:
        layer: Site-packages of an environment.
    """
    try:
        return list(_scan(layer, layer.stat().st_mtime_ns))
    except OSError:
        return []


@functools.lru_cache(maxsize=256)
def _scan(layer: Path, _changed: int) -> tuple[str, ...]:
    found: set[str] = set()
    for tree in own_sources(layer):
        visitor = _Imports()
        visitor.visit(tree)
        if visitor.sets_variables:
            return ()
        found |= visitor.modules
    return tuple(_in_order(found))


def _in_order(found: set[str]) -> Iterator[str]:
    for name in HEAVY:
        if name in found:
            yield name
            yield from _PARTS.get(name, ())
            yield from sorted(m for m in found if m.startswith(f"{name}."))
    yield from (_PARTS["google.cloud.storage"] if "google.cloud.storage" in found else ())


class _Imports(ast.NodeVisitor):
    """Collects heavy imports of one file, wherever in it they stand."""

    def __init__(self) -> None:
        self.modules: set[str] = set()
        self.sets_variables = False

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level == 0 and node.module:
            self._add(node.module)
            for alias in node.names:
                self._add(f"{node.module}.{alias.name}")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.generic_visit(node)
        of_tensorflow = isinstance(node.value, ast.Name) and node.value.id in ("tf", "tensorflow")
        if of_tensorflow and node.attr in _LAZY:
            self.modules.add(f"tensorflow.{node.attr}")

    def visit_Constant(self, node: ast.Constant) -> None:
        text = node.value
        if isinstance(text, str) and _READ_AT_IMPORT.fullmatch(text):
            self.sets_variables |= not _HARMLESS.fullmatch(text)

    def visit_keyword(self, node: ast.keyword) -> None:
        """Look at ``os.environ.update(OMP_NUM_THREADS="1")`` too."""
        self.generic_visit(node)
        if node.arg and _READ_AT_IMPORT.fullmatch(node.arg) and not _HARMLESS.fullmatch(node.arg):
            self.sets_variables = True

    def _add(self, name: str) -> None:
        top, _dot, rest = name.partition(".")
        if top in HEAVY:
            self.modules.add(top)
        if top == "tensorflow" and rest.partition(".")[0] in _LAZY:
            self.modules.add(f"tensorflow.{rest.partition('.')[0]}")
        if name.startswith("google.cloud.storage"):
            self.modules.add("google.cloud.storage")
