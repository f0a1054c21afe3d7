"""Packages of user code: archives of this machine, folders that are packed, objects of buckets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from mlengine.cli.errors import CommandError
from mlengine.cli.session import Session
from mlengine.core.errors import NotFound
from mlengine.storage.paths import parse_uri

__all__ = ["archive_of", "check_remote", "packed"]

_MARK = "__init__.py"
_MAKERS = ("setup.py", "pyproject.toml")


def archive_of(text: str, flag: str) -> Path:
    """Return an archive that a flag names.

    Raises:
        CommandError: It is no file, or no archive that an installer understands.
    """
    path = Path(text)
    if not path.is_file():
        raise CommandError(f"The package [{text}] of {flag} is not a file.")
    _check_suffix(text, flag)
    return path


def check_remote(session: Session, texts: Sequence[str], flag: str) -> None:
    """Refuse packages in buckets that an engine would refuse, before anything is uploaded.

    Args:
        session: Where to look.
        texts: What a flag names; what lies on this machine is read over.
        flag: For messages.

    Raises:
        CommandError: One is not there, or is no archive that an installer understands.
        InvalidArgument: One is no URI of an object.
    """
    for text in texts:
        if not text.startswith("gs://"):
            continue
        bucket, name = parse_uri(text)
        _check_suffix(text, flag)
        try:
            session.engine.stat_object(bucket, name)
        except NotFound as error:
            raise CommandError(f"The package [{text}] of {flag} is not there: {error}") from None


def _check_suffix(text: str, flag: str) -> None:
    if not text.endswith((".tar.gz", ".whl")):
        raise CommandError(f"The package [{text}] of {flag} is neither a .tar.gz nor a .whl.")


def packed(session: Session, texts: Sequence[str], flag: str, into: Path) -> list[Path]:
    """Return the archives that a flag names; the folder of a package or project is packed first.

    Args:
        session: Warns of a folder with much data beside the code.
        texts: Paths, in the order in which they are installed.
        flag: For messages.
        into: Existing folder, for what is packed.

    Raises:
        CommandError: One is neither an archive nor the folder of a package or project.
        InvalidArgument: A folder cannot be packed, or two have one name.
    """
    from mlengine.training.packaging import check_unique

    found: list[Path] = []
    for index, text in enumerate(texts):
        if Path(text).is_dir():
            folder = into / str(index)
            folder.mkdir()
            found += _archives_of(Path(text), flag, folder, session.warn)
        else:
            found.append(archive_of(text, flag))
    check_unique(found)
    return found


def _archives_of(folder: Path, flag: str, into: Path, warn: Callable[[str], None]) -> list[Path]:
    """Pack a package, or a project: what a setup.py names, or else the package beside it."""
    from mlengine.training.packaging import build_packages, build_project, is_project

    if (folder / _MARK).is_file():
        return build_packages(folder, into, warn=warn)
    found = sorted(
        path.parent for path in (*folder.glob(f"*/{_MARK}"), *folder.glob(f"src/*/{_MARK}"))
    )
    makers = [name for name in _MAKERS if (folder / name).is_file()]
    if not makers or not (found or is_project(folder)):
        raise CommandError(
            f"The folder [{folder}] of {flag} is no package: it has no `{_MARK}`, nor is it a "
            f"project with a {' or a '.join(_MAKERS)} that describes one. Name the folder that "
            f"holds `{_MARK}`."
        )
    if makers[0] == "setup.py" or not found:
        return build_project(folder, into, warn=warn)
    if len(found) > 1:
        raise CommandError(
            f"The folder [{folder}] of {flag} holds several packages: "
            f"{', '.join(map(str, found))}. Name one of them."
        )
    return build_packages(found[0], into, warn=warn)
