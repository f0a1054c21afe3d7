"""The engine's own source files, read and parsed once."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

__all__ = ["OVERLAYS", "ROOT", "SOURCE", "calls", "data", "dotted", "files", "imports", "parsed"]

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "mlengine"
OVERLAYS = "environments/overlays/"
"""No modules of mlengine: they are copied into environments, and run on other interpreters."""


@functools.cache
def files() -> dict[str, Path]:
    """Return every source file by its path beneath ``src/mlengine``."""
    return {name: path for name, path in _everything(".py") if not name.startswith(OVERLAYS)}


@functools.cache
def data() -> dict[str, Path]:
    """Return what is shipped beside: runtimes, types, and what is copied into environments."""
    copied = _everything(".py", ".pth")
    return dict(_everything(".toml", ".pyi")) | {n: p for n, p in copied if n.startswith(OVERLAYS)}


def _everything(*suffixes: str) -> list[tuple[str, Path]]:
    found = sorted(path for path in SOURCE.rglob("*") if path.suffix in suffixes)
    return [(path.relative_to(SOURCE).as_posix(), path) for path in found]


@functools.cache
def parsed(name: str) -> ast.Module:
    return ast.parse(files()[name].read_text())


def dotted(node: ast.AST) -> str:
    """Return ``a.b.c`` for a chain of names, and an empty string for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = dotted(node.value)
        return f"{head}.{node.attr}" if head else ""
    return ""


def calls(name: str) -> Iterator[tuple[str, ast.Call]]:
    """Yield each call in a file with the name that it calls."""
    for node in ast.walk(parsed(name)):
        if isinstance(node, ast.Call):
            yield dotted(node.func), node


def imports(name: str) -> set[str]:
    """Return the modules that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(parsed(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found
