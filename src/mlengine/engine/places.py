"""Paths as people write them: with a ``~`` for somebody's home folder."""

from __future__ import annotations

from pathlib import Path

from mlengine.core.errors import InvalidArgument

__all__ = ["expanded"]


def expanded(path: str | Path, what: str, remedy: str = "Write the whole path.") -> Path:
    """Return a path with its ``~`` or ``~user`` replaced; a relative one stays relative.

    Args:
        path: What somebody wrote.
        what: What it is the path of, as a message's first words: ``The setting 'shared'``.
        remedy: What to do where nobody knows that home.

    Raises:
        InvalidArgument: There is no such user, or HOME is unset and the user has no entry in
            passwd, as in many a container.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InvalidArgument(
            f"{what} is '{path}', and nothing says where '{Path(path).parts[0]}' is.", remedy
        ) from None
