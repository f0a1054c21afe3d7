"""Models, versions, what these run in, and the checks before READY.

A version's artefact is copied and hashed when it is created, so later edits of its source have no
effect; it becomes READY only after a worker loaded it and answered. Loading is not done here: the
`Loader` that the engine passes in does it, in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from mlengine.store import VersionRecord

__all__ = ["Loader"]


class Loader(Protocol):
    """What makes a version answer predictions.

    1. `load` returns once a worker loaded the artefact and answered, and the front door leads to
       it; it may be called for a version that is loaded already, and then changes nothing.
    2. `load` raises `FailedPrecondition` with the loader's own words when the artefact is bad, or
       a package of the version cannot be installed; nothing keeps running then. It raises
       `Cancelled` soon after `cancelled` has said so while packages are installed.
    3. `unload` returns once no request can reach the version and its worker is gone, and of a
       DELETING one all that its worker printed; it may be called twice.
    4. `publish` makes the front door route by the store's newest records.
    """

    def load(
        self, record: VersionRecord, artifact: Path, *, cancelled: Callable[[], bool]
    ) -> None: ...
    def unload(self, record: VersionRecord) -> None: ...
    def publish(self) -> None: ...
