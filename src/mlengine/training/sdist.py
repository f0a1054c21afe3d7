"""Writes source distributions whose bytes depend on the sources and on nothing else.

The engine finds a job's environment by the contents of its packages. So the same sources must give
the same archive, whenever and by whomever it is built: members sorted, times and owners zero.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import re
import shutil
import tarfile
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple

from mlengine.core.errors import InvalidArgument
from mlengine.core.sizes import size_text

__all__ = ["is_litter", "package_files", "repack", "write_plain_sdist"]

_LITTER = {"__pycache__", ".git", ".hg", ".svn", ".ipynb_checkpoints", ".DS_Store"}
_CHUNK_BYTES = 1 << 20
_LARGE_BYTES = 500_000_000  # code is far below: this is data that came along
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


def write_plain_sdist(package: Path, into: Path, warn: Callable[[str], None] | None) -> Path:
    """Write the source distribution of a package that has no ``setup.py``.

    It installs as version 0.0.0 of the package's own name. Nothing is run: this takes
    milliseconds.

    Args:
        package: The package's folder.
        into: Existing folder that receives the archive.
        warn: Told of a package that is very large, if anybody.

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
    pkg_info = _PKG_INFO.format(name=name, version=_VERSION)
    stem = f"{name}-{_VERSION}"
    members = [
        _text_member(f"{stem}/PKG-INFO", pkg_info),
        _text_member(f"{stem}/setup.py", setup_py),
    ]
    for path in package_files(package):
        members.append(
            _Member(
                f"{stem}/{name}/{path.relative_to(package).as_posix()}",
                path.stat().st_size,
                executable=os.access(path, os.X_OK),
                open=partial(_open_file, path),
            )
        )
    archive = into / f"{stem}.tar.gz"
    _write(archive, members, warn)
    return archive


def repack(archive: Path, warn: Callable[[str], None] | None) -> None:
    """Rewrite a ``.tar.gz`` in place, so that its bytes depend on its files alone.

    Args:
        archive: The file.
        warn: Told of one that is very large, if anybody.

    Raises:
        InvalidArgument: It is not a gzip-compressed tar file.
    """
    # Members are written in another order than they are read: that needs a tar to seek in, and
    # of any size, so not in memory.
    with contextlib.ExitStack() as opened:
        plain = opened.enter_context(tempfile.TemporaryFile(dir=archive.parent))
        try:
            with gzip.open(archive, "rb") as packed:
                shutil.copyfileobj(packed, plain, _CHUNK_BYTES)
            plain.seek(0)
            source = opened.enter_context(tarfile.open(fileobj=plain, mode="r:"))
            members = _members_of(source)
        except (tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError, KeyError) as error:
            raise InvalidArgument(
                f"The package {archive.name} that was built cannot be read: {error}.",
                "Check what setup.py does.",
            ) from None
        _write(archive, members, warn)


def _members_of(source: tarfile.TarFile) -> list[_Member]:
    """Return the files of an archive; links within it as what they point to."""
    found: dict[str, _Member] = {}
    for member in source:
        if any(map(is_litter_path, member.name.split("/"))) or member.isdir():
            continue
        opened = source.extractfile(member)
        if opened is not None:
            size_bytes = opened.seek(0, os.SEEK_END)
            found[member.name] = _Member(
                member.name,
                size_bytes,
                executable=bool(member.mode & 0o111),
                open=partial(_open_member, source, member),
            )
    return list(found.values())


def _open_file(path: Path) -> IO[bytes]:
    return path.open("rb")


def _open_member(source: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    opened = source.extractfile(member)
    assert opened is not None  # it was a file when it was listed
    return opened


def is_litter_path(part: str) -> bool:
    """Like `is_litter`, but keeps the ``.egg-info`` that belongs into a built distribution."""
    return is_litter(part) and not part.endswith(".egg-info")


class _Member(NamedTuple):
    """A file to be packed, which is read only when its turn comes: it may be larger than memory."""

    name: str
    size_bytes: int
    executable: bool
    open: Callable[[], IO[bytes]]


def _text_member(name: str, text: str) -> _Member:
    data = text.encode()
    return _Member(name, len(data), executable=False, open=partial(io.BytesIO, data))


def _write(archive: Path, members: Sequence[_Member], warn: Callable[[str], None] | None) -> None:
    sizes = {member.name: member.size_bytes for member in members}
    if warn and sum(sizes.values()) > _LARGE_BYTES:
        warn(_large_line(archive.name, sizes))
    # The gzip header would otherwise hold the time and the file's name.
    with (
        archive.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as target,
    ):
        for member in sorted(members, key=lambda member: member.name):
            entry = tarfile.TarInfo(member.name)
            entry.mode = 0o755 if member.executable else 0o644
            with member.open() as data:
                entry.size = _size_bytes(data)  # now: it may have changed since it was listed
                _add(target, entry, data)


def _size_bytes(data: IO[bytes]) -> int:
    size_bytes = data.seek(0, os.SEEK_END)
    data.seek(0)
    return size_bytes


def _add(target: tarfile.TarFile, entry: tarfile.TarInfo, data: IO[bytes]) -> None:
    try:
        target.addfile(entry, data)
    except OSError as error:
        if error.errno is not None:  # a full disk, say
            raise
        raise InvalidArgument(
            f"[{entry.name.partition('/')[2]}] became shorter while it was packed.",
            "Try again when nothing writes to it, or move it out of the package.",
        ) from None


def _large_line(archive: str, sizes: Mapping[str, int]) -> str:
    """Say how much a package holds, and where most of it is."""
    name, size_bytes = _heaviest(sizes)
    return (
        f"The package {archive} holds {size_text(sum(sizes.values()))}, of which {name} is "
        f"{size_text(size_bytes)}. All of it is packed and installed. Put a trainer's data into a "
        "bucket, and give its gs:// as an argument; put a version's beside its model."
    )


def _heaviest(sizes: Mapping[str, int]) -> tuple[str, int]:
    """Return the deepest folder or file that is more than half of all, or else the largest file.

    The folder that every archive has at its top is not named.

    Example:
        >>> _heaviest({"t-1/t/task.py": 1, "t-1/t/data/a": 3, "t-1/t/data/b": 3})
        ('t/data', 6)
    """
    totals: Counter[str] = Counter()
    files = {name.partition("/")[2]: size_bytes for name, size_bytes in sizes.items()}
    for name, size_bytes in files.items():
        parts = name.split("/")
        for depth in range(1, len(parts) + 1):
            totals["/".join(parts[:depth])] += size_bytes
    half = sum(files.values()) / 2
    heavy = [name for name, size_bytes in totals.items() if size_bytes > half]
    if heavy:
        deepest = max(heavy, key=lambda name: name.count("/"))
        return deepest, totals[deepest]
    return max(files.items(), key=lambda item: item[1])
