"""All replicas of one attempt: started together, watched, stopped together.

    RUNNING ──▶ (EVALUATING) ──▶ STOPPING ──▶ (nothing is left)
       │             └─ the chief ended well and evaluators live: only the others are stopped
       │  the chief ended, another replica failed, cancelled, or out of time
       └─ in STOPPING: TERM to every group, after the grace period KILL to every process

The chief speaks for the job: once it has ended well, whatever the others still do is only in the
way, and they are given little time; but evaluators, who evaluate and export the chief's last
checkpoint, are given the time to end by themselves. Until then any other end than exit 0, of
anybody, is the end of all. What they leave running is nobody's result: see `strays`.

One thread, one selector. `run` returns only when no process of the attempt is left, whatever it
did to get away: the supervisor is their subreaper, so every orphan becomes its child.

Standard library only, Python >= 3.7.
"""

from __future__ import annotations

import math
import os
import selectors
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlengine.runtime import failpoints, processes
from mlengine.runtime.attemptfiles import CANCEL, failure_text
from mlengine.runtime.endings import culprits, ending
from mlengine.runtime.replica import Replica
from mlengine.runtime.sidecar import Sidecars
from mlengine.runtime.strays import Strays

__all__ = ["Gang"]

_TICK_S = 0.25  # how late a `cancel` file without a signal may be seen
_STOPPING_TICK_S = 0.02
_STRAY_GRACE_S = 1.0
_LONGEST_GRACE_AFTER_SUCCESS_S = 5.0
_DRAIN_S = 2.0
_UNKILLABLE_S = 10.0
_OOM_WINDOW_S = 5.0


class Gang:
    """Runs the replicas of an attempt to their end.

    Args:
        spec: The attempt's specification.
        folder: The attempt's folder, where a cancel request appears.
        replicas: The chief first.
        wake_descriptor: Becomes readable when a signal arrives.
        cancel_signalled: Tells whether a signal asked for the end.
        sidecars: Helpers of the replicas; they end last and are not waited for.
        note_started: Writes down the replicas' processes again, when there is a new one.
    """

    def __init__(
        self, spec: Mapping[str, Any], folder: Path, replicas: Sequence[Replica], *,
        wake_descriptor: int, cancel_signalled: Callable[[], bool], sidecars: Sidecars,
        note_started: Callable[[], None],
    ) -> None:  # fmt: skip
        self._grace_s = float(spec.get("grace_s", 10))
        self._evaluator_grace_s = float(spec.get("evaluator_grace_s", 120))
        self._limit_s: float | None = spec.get("max_running_s")
        self._cancel_file = folder / CANCEL
        self._cancel_signalled = cancel_signalled
        self._replicas = list(replicas)
        self._sidecars = sidecars
        self._note_started = note_started
        self._selector = selectors.DefaultSelector()
        self._selector.register(wake_descriptor, selectors.EVENT_READ, None)
        self._outcome = ""
        self._blamed: list[Replica] = []
        self._began_s = time.monotonic()
        self._kill_at_s = float("inf")
        self._evaluate_until_s: float | None = None
        self._kill_others_at_s = float("inf")
        self._strays = Strays()
        self._strays_only = False
        self._complained = False
        self._oom_kills: deque[tuple[float, int]] = deque([(self._began_s, _oom_kills())])

    def start(self, tag: str) -> bool:
        """Start all replicas; return False when one could not be, or all are unwanted already."""
        self._decide()
        self._sidecars.attach(
            self._selector, tag, lambda text: self._replicas[0].say("ERROR", text)
        )
        for replica in self._replicas:
            if self._outcome:
                break
            replica.spawn(tag)
            self._watch(replica)
            if replica.spawn_error:
                self._stop("failed", [replica])
        return not self._outcome

    def run(self) -> dict[str, Any]:
        """Watch until nothing is left; return the outcome and its message."""
        while not self._over():
            self._listen(_STOPPING_TICK_S if self._outcome else self._until_limit_s())
            self._reap()
            self._decide()
            if self._outcome:
                self._press()
        self._drain()
        for replica in self._replicas:
            self._close(replica)
        return {
            "outcome": self._outcome,
            "replicas": [r.record() for r in self._replicas],
            "message": self._message(),
        }

    def kill(self) -> None:
        """Kill everything at once; for a supervisor that cannot go on."""
        while processes.freeze_and_kill(self._mine) or not self._sidecars.end():
            self._reap()

    def _watch(self, replica: Replica) -> None:
        known = self._selector.get_map()
        for descriptor in replica.streams:
            if descriptor not in known:
                self._selector.register(descriptor, selectors.EVENT_READ, replica)

    def _decide(self) -> None:
        if self._outcome:
            return
        chief = self._replicas[0]
        failed = [r for r in self._replicas if r.failed]
        # A request that came before the end was seen wins: who asked was told that it will be kept.
        if self._cancel_wanted():
            self._stop("cancelled", [])
        elif chief.ended and not chief.failed:
            # Before the failures: a peer of a chief that has gone often trips over its absence.
            self._let_evaluators_end()
        elif failed:
            self._stop("failed", failed)
        elif self._until_limit_s() <= 0:
            self._stop("timed_out", [])

    def _cancel_wanted(self) -> bool:
        return self._cancel_signalled() or self._cancel_file.exists()

    def _let_evaluators_end(self) -> None:
        """Stop everybody else; once no evaluator is left, or its time is over, the attempt."""
        now_s = time.monotonic()
        evaluators = [r for r in self._replicas if r.role == "evaluator" and not r.ended]
        others = [r for r in self._replicas if r not in evaluators]
        if self._evaluate_until_s is None:
            self._evaluator_grace_s = max(self._until_limit_s(self._evaluator_grace_s), 0.0)
            self._evaluate_until_s = now_s + self._evaluator_grace_s
            self._kill_others_at_s = now_s + min(self._grace_s, _LONGEST_GRACE_AFTER_SUCCESS_S)
            for replica in others:
                if replica.running and evaluators and self._evaluator_grace_s:
                    replica.terminate()
        if not evaluators or now_s >= self._evaluate_until_s:
            left = self._left_running()
            if self._strays.may_go_on(left, now_s, most_s=self._until_limit_s(math.inf)):
                return
            self._tell_of(left)
            for evaluator in evaluators:
                grace = f"evaluator_grace_s or maxRunningTime gave it {self._evaluator_grace_s:g} s"
                evaluator.say("WARNING", f"The chief ended well before this evaluator: {grace}.")
            self._stop("succeeded", [])
        elif now_s >= self._kill_others_at_s:
            sessions = {r.pid for r in others}
            self._tell_of([row for row in self._left_running() if row.session in sessions])
            self._kill(others)

    def _tell_of(self, strays: Sequence[processes.Process]) -> None:
        text = self._strays.tell(strays)
        if text:
            self._replicas[0].say("WARNING", text)

    def _kill(self, replicas: Sequence[Replica]) -> None:
        """Kill these replicas and what is in their sessions."""
        sessions = {r.pid for r in replicas}
        processes.freeze_and_kill(lambda: [p for p in self._mine() if p.session in sessions])

    def _stop(self, outcome: str, blamed: list[Replica]) -> None:
        failpoints.hit("gang.before-stop")
        self._outcome, self._blamed = outcome, blamed
        grace_s = self._grace_s
        if outcome == "succeeded":
            grace_s = min(grace_s, _LONGEST_GRACE_AFTER_SUCCESS_S)
        self._kill_at_s = time.monotonic() + grace_s
        groups = {r.pid for r in self._replicas if not r.ended}
        for replica in self._replicas:
            if replica.running:
                replica.terminate()
        for row in self._mine():
            if row.group not in groups:
                processes.send(row, signal.SIGTERM)

    def _press(self) -> None:
        """Escalate: when the grace period is over, kill whatever lives."""
        now_s = time.monotonic()
        if not self._strays_only and not self._living():
            # Nobody is left whose result counts; a forgotten child gets a moment, not the period.
            self._strays_only = True
            self._kill_at_s = min(self._kill_at_s, now_s + _STRAY_GRACE_S)
        if now_s >= self._kill_at_s:
            failpoints.hit("gang.before-kill")
            met = processes.freeze_and_kill(self._mine)
            if met and now_s - self._kill_at_s > _UNKILLABLE_S and not self._complained:
                self._complained = True
                pids = ", ".join(f"{row.pid} (state {row.state})" for row in met)
                self._replicas[0].say("ERROR", f"Killed processes hang in the kernel: {pids}.")

    def _close(self, replica: Replica) -> None:
        """Take the rest of what it printed, say how it ended, and make its log durable."""
        for descriptor in list(replica.streams):
            replica.close_pipe(descriptor)
        severity, text = ending(replica, self._outcome)
        if text:
            replica.say(severity, text)
        replica.finish()

    def _over(self) -> bool:
        # Helpers go last: until then a replica in its grace period may save through them.
        over = bool(self._outcome) and not self._living() and not self._mine()
        return over and self._sidecars.end()

    def _living(self) -> bool:
        return any(r.running for r in self._replicas)

    def _mine(self) -> list[processes.Process]:
        """Return every process of the attempt but its helpers."""
        helpers = self._sidecars.pids
        return [
            row
            for row in processes.descendants([os.getpid()], processes.snapshot())
            if row.pid not in helpers
        ]

    def _left_running(self) -> list[processes.Process]:
        """Return what replicas that have ended left behind."""
        mine = self._mine()
        living = [r.pid for r in self._replicas if r.running]
        theirs = {row.pid for row in processes.descendants(living, {row.pid: row for row in mine})}
        return [row for row in mine if row.pid not in theirs.union(living)]

    def _until_limit_s(self, longest_s: float = _TICK_S) -> float:
        if self._limit_s is None:
            return longest_s
        return min(longest_s, self._began_s + self._limit_s - time.monotonic())

    def _listen(self, timeout_s: float) -> bool:
        """Move what the replicas print to their logs; return whether anything came."""
        ready = self._selector.select(max(0.0, timeout_s))
        for key, _events in ready:
            descriptor = key.fd
            if key.data is None:
                _empty(descriptor)
            elif not key.data.read(descriptor):
                self._selector.unregister(descriptor)
        for replica in self._replicas:
            replica.log.tend()
        self._sidecars.tend()
        return bool(ready)

    def _drain(self) -> None:
        """Read on to the end of every pipe; who else holds one open is no reason to wait long."""
        until_s = time.monotonic() + _DRAIN_S
        while any(r.streams for r in self._replicas) and time.monotonic() < until_s:
            if not self._listen(_STOPPING_TICK_S):
                break

    def _reap(self) -> None:
        self._sample_oom_kills()
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for replica in self._replicas:
                if replica.pid == pid and not replica.ended:
                    if not self._outcome and replica.respawn(status):
                        self._watch(replica)
                        self._note_started()
                    else:
                        replica.note_exit(status, oom_suspected=self._oom_kill_seen())
            self._sidecars.note_exit(pid)

    def _sample_oom_kills(self) -> None:
        now_s = time.monotonic()
        if now_s - self._oom_kills[-1][0] >= 1.0:
            self._oom_kills.append((now_s, _oom_kills()))
            while len(self._oom_kills) > 1 and now_s - self._oom_kills[1][0] >= _OOM_WINDOW_S:
                self._oom_kills.popleft()

    def _oom_kill_seen(self) -> bool:
        return _oom_kills() > self._oom_kills[0][1]

    def _message(self) -> str:
        if self._outcome == "cancelled":
            return "The job was cancelled."
        if self._outcome == "timed_out":
            limit = f"{self._limit_s:g}s"
            return f"The job ran longer than its maxRunningTime of {limit}; it was stopped."
        blamed = culprits(self._blamed, self._replicas)
        texts = [failure_text(r.record(), last_line=r.last_line()) for r in blamed]
        return " ".join(texts)


def _empty(descriptor: int) -> None:
    try:
        while os.read(descriptor, 4096):
            pass
    except BlockingIOError:
        pass


def _oom_kills() -> int:
    """How many processes the kernel has killed for lack of memory since boot, cgroups' included."""
    try:
        with open("/proc/vmstat", "rb") as file:
            for row in file:
                if row.startswith(b"oom_kill "):
                    return int(row.split()[1])
    except OSError:
        pass
    return 0
