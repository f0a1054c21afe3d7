"""The source of a trainer's own packages, read without running it."""

from __future__ import annotations

import ast
import itertools
import threading
import warnings
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path

from mlengine.training.sdist import package_files

__all__ = ["own_sources", "package_sources"]

_MOST_FILES = 500
_MOST_BYTES = 8 << 20
_parsing = threading.Lock()
"""Some CPythons count how deep they are in a tree for all threads together, and raise SystemError
when two parse at one time (cpython#106905); `catch_warnings` is everybody's, too."""


def own_sources(layer: Path) -> Iterator[ast.AST]:
    """Yield the parsed files of packages that were installed from a file, not what they require.

    A source that cannot be parsed says nothing.

    Args:
        layer: Site-packages of an environment.

    Raises:
        OSError: A file is gone meanwhile.
    """
    yield from _parsed(_files(layer))


def package_sources(package: Path) -> Iterator[ast.AST]:
    """Yield the same of a package that lies in its folder, as it would be packaged.

    The folder's own files come first: they often say enough, and to walk data that is linked into
    those below takes long.

    Raises:
        OSError: There is no such folder, or a file is gone meanwhile.
    """
    own = (p for p in sorted(package.iterdir()) if p.name[0] != "." and p.is_file())
    below = (path for path in package_files(package) if path.parent != package)
    yield from _parsed(p for p in itertools.chain(own, below) if p.suffix == ".py")


def _parsed(files: Iterable[Path]) -> Iterator[ast.AST]:
    bytes_left = _MOST_BYTES
    for path in itertools.islice(files, _MOST_FILES):
        data = path.read_bytes()
        bytes_left -= len(data)
        if bytes_left < 0:
            return
        tree = _parse(data)
        if tree is not None:
            yield tree


def _files(layer: Path) -> list[Path]:
    files: list[Path] = []
    for folder in sorted(layer.glob("*.dist-info")):
        distribution = PathDistribution(folder)
        if distribution.read_text("direct_url.json"):  # installed from a file, not from an index
            files += _python_files(layer, distribution)
    return files


def _python_files(layer: Path, distribution: Distribution) -> list[Path]:
    listed = (layer / str(file) for file in distribution.files or () if file.suffix == ".py")
    return sorted(path for path in listed if path.is_file())


def _parse(data: bytes) -> ast.AST | None:
    try:
        with _parsing, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the user's escapes, not ours
            return ast.parse(data)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None  # Python 2, most likely
