"""The technologies that the suite runs on; a new one is one more entry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

__all__ = ["TECHNOLOGIES", "Technology"]


class Technology(NamedTuple):
    """How to make a fresh database, look at it behind the store's back, and judge its health."""

    name: str
    new_url: Callable[[Path], str]
    problems: Callable[[sa.Connection], list[str]]


def _sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'engine.db'}"


def _sqlite_problems(connection: sa.Connection) -> list[str]:
    integrity = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
    strays = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    return [str(row) for row in integrity if row != "ok"] + [str(row) for row in strays]


TECHNOLOGIES = [Technology("sqlite", _sqlite_url, _sqlite_problems)]
