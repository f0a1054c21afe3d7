"""The engine's runtimes: what there is, building and removing them, and who still needs what."""

from __future__ import annotations

import contextlib
import datetime
import logging
import re
from pathlib import Path

from mlengine.core.clock import rfc3339
from mlengine.core.errors import Cancelled, FailedPrecondition, Unavailable
from mlengine.core.resources import Runtime
from mlengine.core.states import STARTED_JOB_STATES, VersionState
from mlengine.environments import RuntimeOnDisk
from mlengine.models.surroundings import SurroundingsOf
from mlengine.store import JobRecord, Store
from mlengine.training import notes
from mlengine.training.jobs import folder_of

__all__ = ["Runtimes"]

_log = logging.getLogger(__name__)


class Runtimes:
    """Runtimes as resources, over the environments on disk.

    Args:
        surroundings: Knows what versions are served in, and where environments are built.
        store: Which jobs have not ended.
        jobs_root: The folder of all jobs; their attempts' files name what they run in.
        max_bytes: What may stay on disk; 0 is no limit.
    """

    def __init__(
        self, surroundings: SurroundingsOf, store: Store, jobs_root: Path, *, max_bytes: int
    ) -> None:
        self._environments = surroundings.environments
        self._store = store
        self._jobs_root = jobs_root
        self._surroundings = surroundings
        self._max_bytes = max_bytes
        self._closing = False

    def list(self) -> list[Runtime]:
        """Return every runtime, the engine's own first."""
        return [self.get(recipe.name) for recipe in self._environments.catalogue]

    def get(self, name: str) -> Runtime:
        """Return a runtime by its name or an alias."""
        return self._resource(name, self._environments.describe(name))

    def _resource(self, name: str, found: RuntimeOnDisk) -> Runtime:
        recipe, entry = self._environments.catalogue.get(name), found.entry
        return Runtime(
            name=recipe.name,
            description=recipe.description,
            aliases=list(recipe.aliases),
            python=str(recipe.python),
            interpreter=found.interpreter,
            requirements=list(recipe.lock),
            built=recipe.is_local or entry is not None,
            digest=found.digest,
            size_bytes=entry.size_bytes if entry else 0,
            last_use_time=_time(entry.used_s) if entry else "",
            problem=found.problem,
            log=str(found.log or ""),
        )

    def build(self, name: str) -> Runtime:
        """Build a runtime, and return it.

        Raises:
            FailedPrecondition: It cannot be built here.
            Unavailable: The engine ends before it is.
        """
        found = self._environments.describe(name)
        if not found.interpreter:
            raise FailedPrecondition(found.problem)
        try:
            built = self._environments.build(name, cancelled=lambda: self._closing)
        except Cancelled:
            raise Unavailable(
                f"The engine ended before the runtime {name} was built.", "Build it again."
            ) from None
        return self._resource(name, built)

    def let_go(self) -> None:
        """Give up what is being built: the engine is to end, and an installer takes minutes."""
        self._closing = True

    def delete(self, name: str) -> None:
        """Remove a runtime's environments, unless a job or a version is using one."""
        self._environments.delete(name, in_use=self.in_use())

    def collect(self, keep_bytes: int | None = None) -> int:
        """Remove what was used longest ago beyond a size; return the bytes freed."""
        limit = self._max_bytes if keep_bytes is None else keep_bytes
        if keep_bytes is None and not limit:
            return 0
        return self._environments.collect(limit, in_use=self.in_use())

    def tidy(self) -> None:
        """Keep to the limit; a step of the reconciler."""
        freed = self.collect()
        if freed:
            _log.info("removed environments that nobody used: %d MB", freed >> 20)

    def in_use(self) -> set[Path]:
        """Return the environments of versions, and those that files of unfinished attempts name.

        A version that sleeps needs its environment too, and soon. An attempt outlives the engine
        that started it, so no lock that the engine holds could speak for it: its own specification
        does.
        """
        found: set[Path] = set()
        for record in self._store.jobs_in(STARTED_JOB_STATES):
            found |= self._named(record)
        versions = self._store.versions_in(set(VersionState) - {VersionState.FAILED})
        return found | self._in(self._surroundings.named({version.uid for version in versions}))

    def _named(self, record: JobRecord) -> set[Path]:
        attempt_dir = folder_of(self._jobs_root, record) / str(record.attempt)
        text = notes.environment_note(attempt_dir)
        with contextlib.suppress(OSError):  # not that far yet
            text = f"{text}\n{(attempt_dir / 'spec.json').read_text()}"
        return self._in(text)

    def _in(self, text: str) -> set[Path]:
        builds = self._environments.builds
        names = re.findall(re.escape(f"{builds}/") + r"([0-9a-f]+-[0-9a-f]+)", text)
        return {builds / name for name in names}


def _time(seconds: float) -> str:
    return rfc3339(datetime.datetime.fromtimestamp(seconds, datetime.UTC))
