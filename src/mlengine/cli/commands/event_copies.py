"""Event files of job directories in object stores: TensorBoard reads files, so it gets copies."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from pathlib import Path

from mlengine.cli.session import Session
from mlengine.core.errors import EngineError
from mlengine.storage.paths import BucketPath, inside, parse_uri

__all__ = ["EventCopies"]

_EVERY_S = 10.0


class EventCopies:
    """Keeps copies up to date until the program ends, which removes them.

    Args:
        session: Its engine is asked for the objects.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._places: list[tuple[BucketPath, Path]] = []

    def of(self, uri: str) -> Path:
        """Copy the event files of a job directory; return the folder that they are in."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="mlengine-events-")
            threading.Thread(target=self._refresh, name="event files", daemon=True).start()
        bucket, name = parse_uri(uri)
        where = BucketPath(bucket, name if not name or name.endswith("/") else name + "/")
        folder = Path(self._folder.name) / bucket / name
        folder.mkdir(parents=True, exist_ok=True)
        self._copy(where, folder)
        self._places.append((where, folder))
        return folder

    def _refresh(self) -> None:
        while True:
            threading.Event().wait(_EVERY_S)
            for where, folder in [*self._places]:
                with contextlib.suppress(EngineError, OSError):  # away: looked at again
                    self._copy(where, folder)

    def _copy(self, where: BucketPath, folder: Path) -> None:
        engine = self._session.engine
        objects = self._session.walk(
            lambda size, token: engine.list_objects(
                where.bucket, prefix=where.name, page_size=size, page_token=token
            )
        )
        for found in objects:
            if "tfevents" not in found.name.rpartition("/")[2]:
                continue
            path = inside(folder, found.name.removeprefix(where.name))
            path.parent.mkdir(parents=True, exist_ok=True)
            known = path.stat().st_size if path.exists() else -1
            if known < found.size:
                self._append(where.bucket, found.name, path, max(known, 0))

    def _append(self, bucket: str, name: str, path: Path, known: int) -> None:
        """Write what is new behind what is there: TensorBoard holds the file open."""
        at = 0
        with path.open("ab") as out:
            for chunk in self._session.engine.read_object(bucket, name):
                out.write(chunk[max(known - at, 0) :])
                at += len(chunk)
