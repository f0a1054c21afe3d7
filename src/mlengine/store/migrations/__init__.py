"""How a database of an older mlengine becomes one of this mlengine; Alembic does the walking.

A migration is history: it is never edited after a release, and imports nothing of mlengine.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

__all__ = ["HEAD", "KNOWN", "upgrade"]

KNOWN = ("0001", "0002", "0003", "0004", "0005", "0006")
"""Every revision this mlengine can read, oldest first; a test compares it with the folder."""

HEAD = KNOWN[-1]


def upgrade(connection: sa.Connection) -> None:
    """Bring a database to `HEAD` inside the caller's transaction: all of it, or nothing."""
    from alembic import command  # 0.2 s, and needed only when there is something to migrate
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
