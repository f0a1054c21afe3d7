"""Packages of user code: archives of this machine, folders that are packed, objects of buckets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlengine.cli.errors import CommandError
from mlengine.cli.session import Session
from mlengine.core.errors import NotFound
from mlengine.storage.paths import parse_uri

__all__ = ["archive_of", "check_remote", "packed"]

_MARK = "__init__.py"
_MAKERS = {"setup.py": "python setup.py sdist", "pyproject.toml": "pip wheel --no-deps ."}


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
        CommandError: One is neither an archive nor a folder with a package.
        InvalidArgument: A folder cannot be packed, or two have one name.
    """
    from mlengine.training.packaging import build_packages, check_unique

    found: list[Path] = []
    for index, text in enumerate(texts):
        if Path(text).is_dir():
            folder = into / str(index)
            folder.mkdir()
            package = _package_in(Path(text), flag)
            found += build_packages(package, folder, warn=session.warn)
        else:
            found.append(archive_of(text, flag))
    check_unique(found)
    return found


def _package_in(folder: Path, flag: str) -> Path:
    """Return the package that a folder is, or that lies beside the setup.py in it.

    What a setup.py packs it says itself, so with one any package leads to the same archive.
    """
    if (folder / _MARK).is_file():
        return folder
    makers = [name for name in _MAKERS if (folder / name).is_file()]
    if not makers:
        raise CommandError(
            f"The folder [{folder}] of {flag} is no package: it has no `{_MARK}`, nor is it a "
            f"project with a {' or a '.join(_MAKERS)}. Name the folder that holds `{_MARK}`."
        )
    found = sorted(
        path.parent for path in (*folder.glob(f"*/{_MARK}"), *folder.glob(f"src/*/{_MARK}"))
    )
    if not found:
        raise CommandError(
            f"The folder [{folder}] of {flag} has a {makers[0]}, and no package beside it. Build "
            f"it in there with '{_MAKERS[makers[0]]}', and give {flag} the archive."
        )
    if len(found) > 1 and makers[0] != "setup.py":
        raise CommandError(
            f"The folder [{folder}] of {flag} holds several packages: "
            f"{', '.join(map(str, found))}. Name one of them."
        )
    return found[0]
