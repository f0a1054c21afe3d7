"""Packages of user code on this machine: archives as they are, folders packed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlengine.cli.errors import CommandError

__all__ = ["archive_of", "packed"]


def archive_of(text: str, flag: str) -> Path:
    """Return an archive that a flag names.

    Raises:
        CommandError: It is no file, or no archive that an installer understands.
    """
    path = Path(text)
    if not path.is_file():
        raise CommandError(f"The package [{text}] of {flag} is not a file.")
    if not path.name.endswith((".tar.gz", ".whl")):
        raise CommandError(f"The package [{text}] of {flag} is neither a .tar.gz nor a .whl.")
    return path


def packed(texts: Sequence[str], flag: str, into: Path) -> list[Path]:
    """Return the archives that a flag names; the folder of a package is packed into one first.

    Args:
        texts: Paths, in the order in which they are installed.
        flag: For messages.
        into: Existing folder, for what is packed.

    Raises:
        CommandError: One is neither a folder nor an archive.
        InvalidArgument: A folder is no package, it cannot be packed, or two have one name.
    """
    from mlengine.training.packaging import build_packages, check_unique

    found: list[Path] = []
    for index, text in enumerate(texts):
        if Path(text).is_dir():
            folder = into / str(index)
            folder.mkdir()
            found += build_packages(Path(text), folder)
        else:
            found.append(archive_of(text, flag))
    check_unique(found)
    return found
