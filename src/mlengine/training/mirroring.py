"""`Mirrors`: which jobs have one, and when what is in them is carried to the buckets.

While a job runs, every few seconds; before its success is believed, completely (`settle`); of a job
that was cancelled, lost, or failed while the object store was away, as soon as that is possible. A
mirror is a file in a folder, so an engine that was restarted, or leads now, goes on with it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mlengine.core.clock import Clock
from mlengine.core.errors import EngineError
from mlengine.storage import Buckets
from mlengine.store import JobRecord, Store
from mlengine.training.jobs import folder_of
from mlengine.training.mirrors import JobMirror, is_event_file

__all__ = ["Mirrors"]

_log = logging.getLogger(__name__)
_EVERY_S = 5.0
_AT_LEAST_EVERY_S = 300.0
_THREADS = 4


class Mirrors:
    """The mirrors of all jobs. Thread-safe.

    Args:
        store: Says which jobs are over.
        buckets: Where the originals are.
        jobs_root: The ``jobs`` folder; what is known of open mirrors lies beside it.
        clock: Measures the pauses.
        leading: Asked before anything is carried: engines of one database take turns.
    """

    def __init__(
        self,
        store: Store,
        buckets: Buckets,
        jobs_root: Path,
        *,
        clock: Clock,
        leading: Callable[[], bool] = lambda: True,
    ) -> None:
        self._leading = leading
        self._store, self._buckets, self._root, self._clock = store, buckets, jobs_root, clock
        self._states = jobs_root.with_name("mirrors")
        self._lock = threading.Lock()
        self._open: dict[str, JobMirror] = {}
        self._due_s: dict[str, float] = {}
        self._failed: dict[str, int] = {}
        self._busy: set[str] = set()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="mirrors")
        self._closing = False

    def of(self, record: JobRecord) -> JobMirror:
        """Return a job's mirror; it comes to be with its first use."""
        return self._mirror(record.uid, record.project, record.job_id)

    def known(self, record: JobRecord) -> JobMirror | None:
        """Return a job's mirror if it has one."""
        return self.of(record) if (self._states / f"{record.uid}.json").is_file() else None

    def folder(self, record: JobRecord) -> Path:
        """Return the folder of a job."""
        return folder_of(self._root, record)

    def tick(self) -> None:
        """Begin to carry what is due; the engine that leads calls this about every second."""
        if not self._states.is_dir():
            return
        now_s = self._clock.monotonic_s()
        for file in self._states.glob("*.json"):
            uid = file.stem
            with self._lock:
                if self._closing or uid in self._busy or self._due_s.get(uid, 0.0) > now_s:
                    continue
                self._busy.add(uid)
                self._pool.submit(self._turn, uid)

    def close(self) -> None:
        """Let what is being carried arrive, and begin nothing else."""
        with self._lock:
            self._closing = True
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _turn(self, uid: str) -> None:
        try:
            # It may have waited for its turn for minutes.
            is_over = self._leading() and self._carry(self._mirror(uid, "", ""))
            self._end_turn(uid, is_over=is_over)
        except EngineError as error:
            _log.warning("the files of job %s wait: %s", uid, error)
            self._end_turn(uid, has_failed=True)
        except Exception:
            _log.exception("the files of job %s", uid)
            self._end_turn(uid, has_failed=True)

    def _carry(self, mirror: JobMirror) -> bool:
        """Carry what has changed; return whether that was the last time.

        Raises:
            NotFound: The records know no such job, as those of a backup: its files are left alone.
        """
        if not mirror.is_open:
            return True
        if mirror.is_busy:
            return False  # a fetch for hours must not keep the others waiting
        project, job_id = mirror.owner
        # Asked first: what comes after it is complete.
        is_over = self._store.job(project, job_id).state.terminal
        left_out = mirror.push().left_out
        mirror.look(lambda info: is_event_file(info.name))
        if is_over:
            mirror.retire(left_out)
        return is_over

    def _end_turn(self, uid: str, *, is_over: bool = False, has_failed: bool = False) -> None:
        """Make the next turn due: later and later while none goes well."""
        with self._lock:
            self._busy.discard(uid)
            if is_over:
                self._open.pop(uid, None)
                self._failed.pop(uid, None)
                self._due_s.pop(uid, None)
                return
            times = self._failed[uid] = self._failed.get(uid, 0) + 1 if has_failed else 0
            pause_s = min(_EVERY_S * 2 ** min(times, 10), _AT_LEAST_EVERY_S)
            self._due_s[uid] = self._clock.monotonic_s() + pause_s

    def _mirror(self, uid: str, project: str, job_id: str) -> JobMirror:
        with self._lock:
            if uid not in self._open:
                self._open[uid] = JobMirror(
                    self._buckets, self._root / uid, self._states / f"{uid}.json", project, job_id
                )
            return self._open[uid]
