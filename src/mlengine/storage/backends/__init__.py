"""Port: the bytes of one bucket.

Names are those of objects inside the bucket: segments joined by single slashes, never absolute,
never with ``.`` or ``..`` (`paths.check_name`). A backend may rely on that and still must not trust
the disk: a trainer writes into a folder-backed bucket while the engine reads it.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from mlengine.core.clock import rfc3339
from mlengine.core.resources import Object

__all__ = ["Backend", "ObjectInfo"]


class ObjectInfo(NamedTuple):
    """One object as it was seen; `size` is bytes, `updated` is aware UTC.

    Of a file of this machine, `inode` and `changed_ns` (its own time, to the nanosecond) tell one
    writing of it from the next; elsewhere they are 0.
    """

    bucket: str
    name: str
    size: int
    updated: datetime.datetime
    inode: int = 0
    changed_ns: int = 0

    @property
    def uri(self) -> str:
        """The object as ``gs://BUCKET/NAME``."""
        return f"gs://{self.bucket}/{self.name}"

    def resource(self) -> Object:
        """Return it as the API's message."""
        return Object(
            bucket=self.bucket, name=self.name, size=self.size, updated=rfc3339(self.updated)
        )


class Backend(Protocol):
    """Contract, held by `tests/conformance/storage` on every technology:

    1. `list` yields regular objects only, sorted by name (code points), each once, lazily: its
       memory grows with the largest folder, never with the bucket.
    2. `list` skips links, devices, unfinished writes and names that no URI can say; with `strict`
       it raises `FailedPrecondition` at the first of them (unfinished writes excepted).
    3. `write` is whole or nothing: a reader sees the old object, or the new one to the last byte,
       also when the chunks raise, the disk is full, or the process is killed. The last complete
       writer wins. When it returns, the object is durable.
    4. `open_read` answers regular objects only and never follows a link; the file it returns stays
       readable to its end when the object is replaced meanwhile.
    5. `stat`, `open_read` and `delete` of nothing raise `NotFound`; a folder is nothing.
    6. `local_path` is the real path of an object or prefix, existing or not, or None where bytes
       are not files of this machine.
    7. `sweep` removes unfinished writes that no living writer holds; it returns how many.
    8. Errors are `core.errors`; a full, failing or unreachable medium is `Unavailable`. No message
       shows a path of the machine. Methods are thread-safe.
    """

    def list(
        self, prefix: str = "", *, after: str = "", strict: bool = False
    ) -> Iterator[ObjectInfo]:
        """Yield the objects whose name starts with `prefix` and sorts behind `after`."""
        ...

    def stat(self, name: str) -> ObjectInfo: ...
    def open_read(self, name: str, *, offset: int = 0, single_link: bool = False) -> BinaryIO:
        """Open from byte `offset`; `single_link` also refuses a file with a second hard link."""
        ...

    def write(self, name: str, chunks: Iterable[bytes]) -> ObjectInfo: ...
    def delete(self, name: str) -> None: ...
    def local_path(self, name: str) -> Path | None: ...
    def sweep(self, *, older_than_s: float, now_s: float) -> int:
        """`now_s` is the wall clock as seconds since 1970, as file times are."""
        ...
