"""What an installer must know of a package archive before it runs: its kind and its build backend.

Reads one member, never unpacks: `build` does, by `storage.archives`.
"""

from __future__ import annotations

import tarfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlengine.core.errors import FailedPrecondition, InvalidArgument

__all__ = ["PACKAGE_SUFFIXES", "Archive", "check_archive_name", "read_archive"]

PACKAGE_SUFFIXES = (".tar.gz", ".whl")
_PYPROJECT_LIMIT_BYTES = 1 << 20
_SETUPTOOLS = ("setuptools.build_meta", "setuptools.build_meta:__legacy__")


@dataclass(frozen=True, slots=True)
class Archive:
    """A package to install.

    Attributes:
        build_requires: What its `pyproject.toml` wants present while it is built.
        setuptools: Whether setuptools builds it (also true of one that has no `pyproject.toml`).
        wheel: Nothing is to be built.
    """

    path: Path
    build_requires: tuple[str, ...] = ()
    setuptools: bool = True
    wheel: bool = False

    @property
    def name(self) -> str:
        """The file's name, as errors mention it."""
        return self.path.name


def check_archive_name(name: str, *, field: str = "") -> None:
    """Refuse a package whose name no installer understands.

    Raises:
        InvalidArgument: It ends neither in ``.tar.gz`` nor in ``.whl``.
    """
    if not name.endswith(PACKAGE_SUFFIXES):
        raise InvalidArgument(
            f"'{name}' is not a package archive.",
            "Give a source distribution (.tar.gz) or a wheel (.whl).",
            field=field,
        )


def read_archive(path: Path) -> Archive:
    """Look into a package archive.

    Raises:
        InvalidArgument: Its name is not one of a package archive.
        FailedPrecondition: The file is missing, or is not a gzip-compressed tar file.
    """
    check_archive_name(path.name)
    if not path.is_file():
        raise FailedPrecondition(
            f"User-provided package {path.name} failed to install: the file is missing.",
            "Submit the job again with the package.",
        )
    if path.name.endswith(".whl"):
        return Archive(path, wheel=True)
    build = _build_system(path)
    backend = str(build.get("build-backend", _SETUPTOOLS[1]))
    return Archive(
        path,
        build_requires=tuple(str(line) for line in build.get("requires", ())),
        setuptools=backend in _SETUPTOOLS and "backend-path" not in build,
    )


def _build_system(path: Path) -> dict[str, Any]:
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                parts = member.name.removeprefix("./").split("/")
                if len(parts) == 2 and parts[1] == "pyproject.toml" and member.isfile():
                    opened = archive.extractfile(member)
                    text = opened.read(_PYPROJECT_LIMIT_BYTES) if opened else b""
                    found = tomllib.loads(text.decode()).get("build-system", {})
                    return found if isinstance(found, dict) else {}
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise FailedPrecondition(
            f"User-provided package {path.name} failed to install: it cannot be read ({error}).",
            "Build it again with 'python setup.py sdist', and upload it whole.",
        ) from None
    return {}
