"""The one module that unpacks archives: tar, tar.gz, zip, whl.

The standard library's filters have been bypassed time and again (CVE-2007-4559, CVE-2024-12718,
CVE-2025-4138, -4330, -4517), each time through links or names that mean more than they say. So
there are no links here, and nothing is created but regular files and folders with plain names, in
a staging folder that one rename makes real and that any refusal removes.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from mlengine.core.errors import EngineError, InvalidArgument
from mlengine.storage.faults import from_os_error
from mlengine.storage.members import Limits, Member, refuse
from mlengine.storage.paths import check_name, open_inside
from mlengine.storage.tars import tar_members
from mlengine.storage.zips import zip_members

__all__ = ["unpack"]

_MAX_DEPTH = 64


def unpack(
    archive: Path,
    into: Path,
    *,
    max_files: int = 10_000,
    max_bytes: int = 10 * 1024**3,
) -> list[str]:
    """Unpack an archive into a folder that does not exist yet, whole or not at all.

    Args:
        archive: A tar, tar.gz, zip or whl; its bytes decide, not its name.
        into: Missing or empty; its parent exists. Files get mode 0644, or 0755 if executable.
        max_files: Members, folders included.
        max_bytes: Sum of unpacked bytes.

    Returns:
        The names of the files, sorted.

    Raises:
        InvalidArgument: A member is a link, a device or sparse, has setuid or a name that is not
            plain, comes twice, or a limit is reached. The message names it; `into` is untouched.
        Unavailable: The disk is full.
    """
    limits = Limits(max_files, max_bytes)
    staging = into.parent / f".{into.name}.unpack-{secrets.token_hex(8)}"
    try:
        staging.mkdir(mode=0o755)
        try:
            with archive.open("rb") as file:
                names = _write(_members(file, limits), staging, limits)
            staging.rename(into)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
    except OSError as error:
        raise from_os_error(error, f"The archive '{archive.name}'") from error
    return sorted(names)


def _members(file: BinaryIO, limits: Limits) -> Iterator[Member]:
    """Choose the reader by the first bytes; a name or a Content-Type may say anything."""
    magic = file.read(6)
    file.seek(0)
    if magic.startswith(b"PK"):
        return zip_members(file, limits)
    if magic.startswith((b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
        raise InvalidArgument(
            "The archive is compressed with bzip2, xz or zstd.", "Pack it as .tar.gz or .zip."
        )
    return tar_members(file, limits, is_gzip=magic.startswith(b"\x1f\x8b"))


def _write(members: Iterator[Member], staging: Path, limits: Limits) -> list[str]:
    kinds: dict[str, bool] = {}  # name -> is it a folder
    for count, member in enumerate(members, start=1):
        if count > limits.max_files:
            refuse(member.name, f"is one more than the {limits.max_files} that are allowed")
        name = _plain_name(member)
        if not name:
            continue
        _claim(kinds, name, member)
        if member.is_folder:
            staging.joinpath(name).mkdir(mode=0o755, parents=True, exist_ok=True)
        else:
            _write_file(member, staging, name)
    for folder in [staging, *(staging / name for name, is_folder in kinds.items() if is_folder)]:
        folder.chmod(0o755)
    return [name for name, is_folder in kinds.items() if not is_folder]


def _plain_name(member: Member) -> str:
    """Return the checked name, or an empty one for the archive's own root."""
    name = member.name.removesuffix("/") if member.is_folder else member.name
    name = name.removeprefix("./")
    if member.is_folder and name in ("", "."):
        return ""
    try:
        check_name(name)
    except EngineError as error:
        refuse(member.name, f"has a name that is not plain ({error.problem.rstrip('.')})")
    if name.count("/") >= _MAX_DEPTH:
        refuse(member.name, f"lies more than {_MAX_DEPTH} folders deep")
    return name


def _claim(kinds: dict[str, bool], name: str, member: Member) -> None:
    """Note a name and its folders; nothing may be there twice, or be both file and folder."""
    parts = name.split("/")
    for end in range(1, len(parts)):
        if not kinds.setdefault("/".join(parts[:end]), True):
            refuse(member.name, "lies beneath a file")
    if name in kinds and not (member.is_folder and kinds[name]):
        refuse(member.name, "comes twice")
    kinds[name] = member.is_folder


def _write_file(member: Member, staging: Path, name: str) -> None:
    with open_inside(staging, name, "xb") as target:
        for chunk in member.chunks:
            target.write(chunk)
        os.fchmod(target.fileno(), 0o755 if member.is_executable else 0o644)
