"""Writes source distributions whose bytes depend on the sources and on nothing else.

The engine finds a job's environment by the contents of its packages. So the same sources must give
the same archive, whenever and by whomever it is built: members sorted, times and owners zero.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from mlengine.core.errors import InvalidArgument

__all__ = ["is_litter", "package_files", "repack", "write_plain_sdist"]

_LITTER = {"__pycache__", ".git", ".hg", ".svn", ".ipynb_checkpoints", ".DS_Store"}
_VERSION = "0.0.0"  # what setuptools gives a setup.py without a version

# gcloud generates find_packages(include=['NAME']), which leaves out NAME's sub-packages: a trainer
# with a `trainer.models` then fails on the replica although it runs at home. Likewise its setup.py
# has no package_data, so a vocabulary beside the module is lost; here everything travels.
_SETUP_PY = """\
from setuptools import find_packages, setup

setup(
    name={name!r},
    version={version!r},
    packages=find_packages(include=[{package!r}, {subpackages!r}]),
    package_data={{"": ["**/*"]}},
)
"""
_PKG_INFO = "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"


def is_litter(name: str) -> bool:
    """Say whether a file or folder of this name is never part of a package."""
    return name in _LITTER or name.endswith((".pyc", ".pyo", ".egg-info"))


def package_files(package: Path) -> Iterator[Path]:
    """Yield the files below a package, sorted; symbolic links as what they point to.

    Hidden files stay at home: they are editors' and tools' droppings, or secrets (``.env``).
    """
    yield from _walk(package, seen=frozenset())


def _walk(folder: Path, *, seen: frozenset[Path]) -> Iterator[Path]:
    real = folder.resolve()
    if real in seen:
        return  # a link to one of its own parents
    for entry in sorted(folder.iterdir(), key=lambda path: path.name):
        if is_litter(entry.name) or entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(entry, seen=seen | {real})
        elif entry.is_file():
            yield entry


def write_plain_sdist(package: Path, into: Path) -> Path:
    """Write the source distribution of a package that has no ``setup.py``.

    It installs as version 0.0.0 of the package's own name. Nothing is run: this takes
    milliseconds.

    Raises:
        InvalidArgument: No distribution can have that name.
    """
    name = package.name
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", name):
        raise InvalidArgument(
            f"[{package}] cannot be packaged: '{name}' is not a valid distribution name.",
            f"Rename the folder, or write a setup.py with a name into {package.parent}.",
        )
    setup_py = _SETUP_PY.format(name=name, version=_VERSION, package=name, subpackages=f"{name}.*")
    stem = f"{name}-{_VERSION}"
    members = {
        f"{stem}/PKG-INFO": _PKG_INFO.format(name=name, version=_VERSION).encode(),
        f"{stem}/setup.py": setup_py.encode(),
    }
    executable = set()
    for path in package_files(package):
        member = f"{stem}/{name}/{path.relative_to(package).as_posix()}"
        members[member] = path.read_bytes()
        if os.access(path, os.X_OK):
            executable.add(member)
    archive = into / f"{stem}.tar.gz"
    _write(archive, members, executable=executable)
    return archive


def repack(archive: Path) -> None:
    """Rewrite a ``.tar.gz`` in place, so that its bytes depend on its files alone.

    Raises:
        InvalidArgument: It is not a gzip-compressed tar file.
    """
    members: dict[str, bytes] = {}
    executable = set()
    try:
        with tarfile.open(archive, "r:gz") as source:
            for member in source:
                if any(map(is_litter_path, member.name.split("/"))) or member.isdir():
                    continue
                opened = source.extractfile(member)  # follows links within the archive
                if opened is not None:
                    members[member.name] = opened.read()
                    if member.mode & 0o111:
                        executable.add(member.name)
    except (tarfile.TarError, EOFError, OSError, KeyError) as error:
        raise InvalidArgument(
            f"The package {archive.name} that was built cannot be read: {error}.",
            "Check what setup.py does.",
        ) from None
    _write(archive, members, executable=executable)


def is_litter_path(part: str) -> bool:
    """Like `is_litter`, but keeps the ``.egg-info`` that belongs into a built distribution."""
    return is_litter(part) and not part.endswith(".egg-info")


def _write(archive: Path, members: Mapping[str, bytes], *, executable: Iterable[str]) -> None:
    runnable = frozenset(executable)
    # The gzip header would otherwise hold the time and the file's name.
    with (
        archive.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as target,
    ):
        for name, data in sorted(members.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            entry.mode = 0o755 if name in runnable else 0o644
            target.addfile(entry, io.BytesIO(data))
