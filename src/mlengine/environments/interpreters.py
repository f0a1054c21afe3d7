"""Finds the Python interpreters of this machine: our own, on PATH, pyenv's, uv's.

Names only order the search (``python3.7``, ``versions/3.7.16``); what an interpreter is, it says
itself. It is asked once: the answer is kept for as long as its file does not change.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.specifiers import SpecifierSet

from mlengine.core.errors import FailedPrecondition
from mlengine.environments.base import describe_base
from mlengine.environments.homefolder import home_folder

__all__ = ["Interpreter", "find_interpreter"]

_MINORS = range(7, 20)


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python below any virtual environment, and its version, such as ``3.11.7``."""

    path: Path
    version: str


def find_interpreter(
    wanted: SpecifierSet, *, environ: Mapping[str, str] = os.environ
) -> Interpreter | None:
    """Return the first interpreter of a version that is wanted; None if there is none here.

    The engine's own comes first, then those on PATH, then pyenv's and uv's, newest first.
    """
    for candidate in _candidates(wanted, environ):
        try:
            base = describe_base(str(candidate))
        except FailedPrecondition:
            continue  # a version manager's shim, whose Python is not there
        if wanted.contains(base.version, prereleases=False):
            return Interpreter(base.executable, base.version)
    return None


def _candidates(wanted: SpecifierSet, environ: Mapping[str, str]) -> Iterator[Path]:
    yield Path(sys.executable)
    fits = [f"python3.{n}" for n in reversed(_MINORS) if _may_be(f"3.{n}", wanted)]
    for folder in environ.get("PATH", os.defpath).split(os.pathsep):
        yield from _existing(Path(folder, name) for name in fits if folder)
    yield from _existing(found for found in _managed(wanted, environ))
    for folder in environ.get("PATH", os.defpath).split(os.pathsep):
        yield from _existing(Path(folder, name) for name in ("python3", "python") if folder)


def _managed(wanted: SpecifierSet, environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield the interpreters of pyenv and of uv, newest first."""
    home = home_folder(environ)
    data = Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    folders = [
        Path(environ.get("PYENV_ROOT") or home / ".pyenv") / "versions",
        Path(environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python"),
    ]
    for folder in folders:
        try:
            names = [entry.name for entry in folder.iterdir()]
        except OSError:
            continue
        for name in sorted(names, key=_numbers, reverse=True):
            version = re.search(r"(?:^|cpython-)(\d+\.\d+)", name)
            if version and _may_be(version[1], wanted):
                yield folder / name / "bin" / "python3"


def _existing(paths: Iterator[Path]) -> Iterator[Path]:
    # Not its method, which raises where a folder of PATH is closed to us.
    return (path for path in paths if os.path.isfile(path))  # noqa: PTH113


@functools.lru_cache(maxsize=512)
def _may_be(minor: str, wanted: SpecifierSet) -> bool:
    """Say whether some interpreter of ``3.7`` could be wanted: a name does not tell the rest."""
    return any(wanted.contains(f"{minor}.{patch}") for patch in range(60))


def _numbers(name: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", name)]
