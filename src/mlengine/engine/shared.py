"""What engines of one database share: jobs, buckets, models, request logs, the access token.

An engine alone shares its home with nobody, and then this folder is its home. Records and folder
belong together: a job's record is worth nothing where its attempts do not lie. So the folder has
an id, which its first engine writes into the database too, and an engine whose folder has another
id than its database names does not start. Nor does one whose database is empty while jobs or models
lie in the folder: they are those of another database.

A copy of a database names the same folder. So the folder also has a note of the newest change in
its records (`run/records`), and a database without that change is refused: it was left for another
one, or is a backup. The note is written after the change, so at worst it is an older one's.
"""

from __future__ import annotations

import contextlib
import hashlib
import shlex
import uuid
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import msgspec

from mlengine.core.access import new_token
from mlengine.core.databaseurl import sqlite_url
from mlengine.core.errors import EngineError, FailedPrecondition
from mlengine.engine.home import alone, make_private, open_private
from mlengine.engine.settings import SHARED_FOLDERS, Settings, shown
from mlengine.runtime.wholefile import write_whole
from mlengine.store import EventRecord, Store

__all__ = ["SharedFolder"]

_FACT = "folder"
_RECORDED = ("jobs", "models")
"""Folders of which nothing is worth anything without the records of it."""

_MOVED = (
    (*SHARED_FOLDERS, "mirrors", "newfolders"),  # the last two lie beside the jobs
    ("run/folder", "run/token", "run/records"),
)
"""What a home gives to the folder that it begins to share, and to `run` in there."""


class _Note(msgspec.Struct, frozen=True):
    """The newest change of the records, and which database had it."""

    database: str
    seq: int
    time: str


class SharedFolder:
    """Where jobs, buckets, models and request logs lie; made, and closed to others, at once.

    Args:
        settings: They name the folder, and the database that it belongs to.

    Raises:
        FailedPrecondition: It is open to others, or the database is no one that could be shared,
            or not where an earlier mlengine put it.
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
        self._records_note = self.path / "run" / "records"
        self._noted = 0
        self._refuse_records_elsewhere()
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
            FailedPrecondition: The records are of engines that use another folder, there are none
                of what lies in this one, or newer ones were kept here.
        """
        if not store.events(limit=1):  # nor is anything written yet: a copy wants an empty target
            self._refuse_without_records()
            self._refuse_older(store)
        own = self._once("folder", lambda: uuid.uuid4().hex)
        known = store.fact(_FACT, own)
        if known == own:
            self._refuse_older(store)
            return
        raise FailedPrecondition(
            f"The database {self._settings.store_name} is in use with another folder than "
            f"{self.path}: the jobs, buckets and models of its records are not here.",
            self._way_to(known),
        )

    def note(self, store: Store) -> None:
        """Note how far the records have come, for a later `claim`.

        What keeps it from being written is no trouble: an older note refuses nobody wrongly.
        """
        with contextlib.suppress(EngineError, OSError):
            newest = store.newest_event()
            if newest is None or newest.seq == self._noted:
                return
            note = _Note(self._database(), newest.seq, newest.time)
            write_whole(self._records_note, msgspec.json.encode(note))
            self._noted = newest.seq

    def _refuse_older(self, store: Store) -> None:
        """Refuse records that have not the newest change that was ever noted."""
        try:
            note = msgspec.json.decode(self._records_note.read_bytes(), type=_Note)
        except (OSError, msgspec.MsgspecError):  # the first start of all, or a power cut
            return
        found = store.events(after_seq=note.seq - 1, limit=1)
        if found and (found[0].seq, found[0].time) == (note.seq, note.time):
            return
        raise FailedPrecondition(
            f"The database {self._database()} does not have the newest records of {self.path}: "
            f"they came to change {note.seq} of {note.time} in {note.database}, and this one "
            f"{_told(store.newest_event())}.",
            "Set 'database' (or MLENGINE_DATABASE) to the one that has them, or copy that one into "
            "an empty one. To go on without them, from a backup perhaps, remove "
            f"{self._records_note}: files that no record names stay where they are.",
        )

    def _database(self) -> str:
        return str(shown("database", self._settings.database_url))

    def _way_to(self, known: str) -> str:
        """Say what to do about a database that belongs to the folder with this id."""
        home = self._settings.home
        if self._settings.shared and _text(home / "run" / _FACT) == known:
            kept, run = (" ".join(n for n in names if (home / n).exists()) for names in _MOVED)
            there, there_run = shlex.quote(str(self.path)), shlex.quote(str(self.path / "run"))
            return (
                f"They are in {home}. When no job runs, and after 'mlengine down', move them: "
                f"'cd {shlex.quote(str(home))}; mv {kept} {there}; mv {run} {there_run}'."
            )
        remedy = (
            "Give this home a database of its own: unset 'database'."
            if self._settings.is_sqlite
            else "Set 'shared' to the folder of the other engines."
        )
        return (
            f"{remedy} If this is that folder, restored without its id, write {known} into "
            f"{self.path / 'run' / _FACT}."
        )

    def _refuse_records_elsewhere(self) -> None:
        """Refuse to begin anew in a home whose records an earlier mlengine put outside it.

        It wrote the home's path into the URL as it is: %2F became a slash, a ? the end.
        """
        home = self._settings.home
        file, was_used = home / "engine.db", (home / "run" / _FACT).exists()
        earlier = Path(unquote(str(file).partition("?")[0]))
        if self._settings.database or file.exists() or not was_used or not earlier.is_file():
            return
        raise FailedPrecondition(
            f"The records of {home} are not in it: an earlier mlengine kept them in {earlier}.",
            f"Copy them: '{_copying(sqlite_url(earlier), sqlite_url(file))}'.",
        )

    def _refuse_without_records(self) -> None:
        """Refuse a database that nothing was ever written to, where jobs or models lie."""
        left = [name for name in _RECORDED if any((self.path / name).iterdir())]
        if not left:
            return
        what, settings = " and ".join(left), self._settings
        file = settings.home / "engine.db"
        source = sqlite_url(file)
        if source == settings.database_url or not file.exists():
            source = "URL_OF_THE_OLD_ONE"
        raise FailedPrecondition(
            f"The database {settings.store_name} is empty, but {self.path} holds {what} that "
            "another database has the records of: an engine would know nothing of it.",
            f"Copy the records first: '{_copying(source, self._database())}'; or set 'database' "
            f"back. To begin anew without them, move {what} out of {self.path}, and run/records "
            "with them if it is there.",
        )

    def _once(self, name: str, make: Callable[[], str]) -> str:
        """Return what a file of ours says; the first engine that asks writes it."""
        path = self.path / "run" / name
        with alone(self.path / "run" / "shared.lock"):
            if not path.exists():
                write_whole(path, f"{make()}\n".encode(), durable=True)
            path.chmod(0o600)
            return path.read_text().strip()


def _copying(source: str, target: str) -> str:
    """Write the command that copies a database, as a shell takes it."""
    return shlex.join(["python", "-m", "mlengine.store.copy", source, target])


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def _told(event: EventRecord | None) -> str:
    return f"to change {event.seq} of {event.time}" if event else "is empty"
