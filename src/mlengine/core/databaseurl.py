"""What the URL of a database says, without SQLAlchemy, which commands cannot wait for.

SQLite's are taken apart here and nowhere else: SQLAlchemy reads escapes in a path from 2.1 on only.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote, unquote

from mlengine.core.errors import InvalidArgument

__all__ = ["is_sqlite", "readable_name", "sqlite_file", "sqlite_url"]

_SQLITE = re.compile(r"sqlite(?:\+\w+)?:///(?P<path>[^?]+)", re.DOTALL)
# As SQLAlchemy takes a URL apart.
_SERVER = re.compile(
    r"[\w+]+://(?:[^:/]*(?::[^@]*)?@)?(?P<host>[^/?]*)(?:/(?P<name>[^?]*))?(?:\?.*)?", re.DOTALL
)


def is_sqlite(url: str) -> bool:
    """Return whether the store is a file, which is one engine's alone."""
    return url.partition(":")[0].partition("+")[0] == "sqlite"


def sqlite_url(file: Path) -> str:
    """Write the URL of a SQLite file, whatever its name.

    Example:
        >>> sqlite_url(Path("/builds/feature%2Flogin/engine.db"))
        'sqlite:////builds/feature%252Flogin/engine.db'
    """
    return "sqlite:///" + quote(str(file), errors="surrogateescape")


def sqlite_file(url: str) -> Path:
    """Return the file that the URL of a SQLite database names.

    Raises:
        InvalidArgument: It names none, or options, of which none is taken.
    """
    found = _SQLITE.fullmatch(url)
    if found is None or found["path"] == ":memory:":
        raise InvalidArgument(
            "The database URL names no file.",
            "Write sqlite:/// and a path, with nothing behind it; %3F stands for ?, %25 for %.",
            field="database",
        )
    return Path(unquote(found["path"], errors="surrogateescape"))


def readable_name(url: str) -> str:
    """Return what people may read of a database: its file, or host and name, and no password.

    Raises:
        InvalidArgument: It is to be a SQLite database, and names no file.
    """
    if is_sqlite(url):
        return sqlite_file(url).name
    place = _SERVER.fullmatch(url)
    return f"{place['host']}/{place['name']}" if place else ""
