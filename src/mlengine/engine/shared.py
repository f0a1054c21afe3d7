"""What engines of one database share: jobs, buckets, models, request logs, the access token.

An engine alone shares its home with nobody, and then this folder is its home. Records and folder
belong together: a job's record is worth nothing where its attempts do not lie. So the folder has
an id, which its first engine writes into the database too, and an engine whose folder has another
id than its database names does not start. Nor does one whose database is empty while jobs or models
lie in the folder: they are those of another database, and it would sweep them away.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable

from mlengine.core.access import new_token
from mlengine.core.errors import FailedPrecondition
from mlengine.engine.home import alone, make_private, open_private
from mlengine.engine.settings import SHARED_FOLDERS, Settings, shown
from mlengine.runtime.wholefile import write_whole
from mlengine.store import Store

__all__ = ["SharedFolder"]

_FACT = "folder"
_RECORDED = ("jobs", "models")
"""Folders of which nothing is worth anything without the records of it."""


class SharedFolder:
    """Where jobs, buckets, models and request logs lie; made, and closed to others, at once.

    Args:
        settings: They name the folder, and the database that it belongs to.

    Raises:
        FailedPrecondition: It is open to others, or the database is no one that could be shared.
    """

    def __init__(self, settings: Settings) -> None:
        if settings.shared and settings.is_sqlite:
            raise FailedPrecondition(
                f"Engines that share {settings.shared} need a PostgreSQL database to share, and "
                f"the setting 'database' is {settings.store_name or 'empty'}.",
                "Set 'database' too; or unset 'shared', for an engine alone keeps all in its home.",
            )
        self.path = settings.shared_folder
        self._settings = settings
        open_private(self.path)
        for name in (*SHARED_FOLDERS, "run"):
            make_private(self.path / name)

    def token(self) -> str:
        """Return the access token; the first call of all makes it, readable by the owner only."""
        return self._once("token", new_token)

    def page_key(self) -> bytes:
        """Return the secret that seals page tokens: one engine's opens another's."""
        return hashlib.sha256(b"page tokens " + self.token().encode()).digest()

    def claim(self, store: Store) -> None:
        """Make sure that the records and this folder belong together.

        Raises:
            FailedPrecondition: The records are of engines that use another folder, or there are
                none of what lies in this one.
        """
        self._refuse_without_records(store)
        own = self._once("folder", lambda: uuid.uuid4().hex)
        known = store.fact(_FACT, own)
        if known == own:
            return
        remedy = (
            "Give this home a database of its own: unset 'database'."
            if self._settings.is_sqlite
            else "Set 'shared' to the folder of the other engines."
        )
        raise FailedPrecondition(
            f"The database {self._settings.store_name} is in use with another folder than "
            f"{self.path}: the jobs, buckets and models of its records are not here.",
            f"{remedy} If this is that folder, restored without its id, write {known} into "
            f"{self.path / 'run' / _FACT}.",
        )

    def _refuse_without_records(self, store: Store) -> None:
        """Refuse a database that nothing was ever written to, where there is something to record.

        Before the first fact is written: a copy wants a target that is empty.
        """
        left = [name for name in _RECORDED if any((self.path / name).iterdir())]
        if not left or store.events(limit=1):
            return
        what, settings = " and ".join(left), self._settings
        file = settings.home / "engine.db"
        target = settings.database_url
        source = f"sqlite:///{file}" if file.exists() else ""
        if source in ("", target):
            source = "URL_OF_THE_OLD_ONE"
        raise FailedPrecondition(
            f"The database {settings.store_name} is empty, but {self.path} holds {what} that "
            "another database has the records of: an engine would remove what it knows nothing of.",
            f"Copy the records first: 'python -m mlengine.store.copy {source} "
            f"{shown('database', target)}'; or set 'database' back. To begin anew without them, "
            f"move {what} out of {self.path}.",
        )

    def _once(self, name: str, make: Callable[[], str]) -> str:
        """Return what a file of ours says; the first engine that asks writes it."""
        path = self.path / "run" / name
        with alone(self.path / "run" / "shared.lock"):
            if not path.exists():
                write_whole(path, f"{make()}\n".encode(), durable=True)
            path.chmod(0o600)
            return path.read_text().strip()
