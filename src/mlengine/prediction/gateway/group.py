"""The workers of one version as the gateway sees them: none, one or several links.

    prediction ─▶ its desk, if it has one, and it can be answered there (`desk`)
               ─▶ several links   ─▶ the one with the fewest predictions
               ─▶ no link (asleep) ─▶ held; the engine is asked at once to wake the version
                                        ├── a snapshot brings a socket ─▶ sent, in order
                                        ├── the engine says why it cannot, or is away ─▶ 503
                                        └── nothing for `hold_s` ─▶ 503

A prediction is sent once. One that was not sent yet belongs to nobody: it goes to another worker
when its own does not answer the door, is retired or put to sleep. A version whose desk is being
opened is not woken for those who may be answered there: they are held until it is known.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable

from mlengine.core.errors import EngineError, ResourceExhausted, Unavailable
from mlengine.prediction.gateway.burst import Burst
from mlengine.prediction.gateway.counts import AnswerCounts
from mlengine.prediction.gateway.desk import MOST_BYTES, Desk
from mlengine.prediction.gateway.desks import Desks
from mlengine.prediction.gateway.faults import no_worker
from mlengine.prediction.gateway.vigil import Vigil
from mlengine.prediction.gateway.workers import Prediction, WorkerLink
from mlengine.prediction.routing import Limits, Route
from mlengine.runtime.frames import PREDICT

__all__ = ["WorkerGroup"]

_MAX_HELD = 1000
_MAX_HELD_BYTES = 64 << 20


class WorkerGroup:
    """Sends the predictions of one version to its workers.

    Args:
        version: Full name of the version.
        wake: Asks the engine for a worker; False when no engine listens.
        loop: The gateway's.
        burst: That of the callers' connections.
        vigil: That of all workers.
        desks: Those of the gateway; None: workers answer all.
    """

    def __init__(
        self, version: str, *, wake: Callable[[str], bool], loop: asyncio.AbstractEventLoop,
        burst: Burst | None = None, vigil: Vigil | None = None, desks: Desks | None = None,
    ) -> None:  # fmt: skip
        self.version = version
        self.counts = AnswerCounts()
        self.requests = 0
        self.last_use_s = 0.0
        self.wakes = 0  # for which somebody waited
        self.failed_wakes = 0  # of which nothing came: no engine, no memory, no worker in time
        self._wake = wake
        self._loop = loop
        self._burst = burst
        self._vigil = vigil
        self._desks = desks
        self.desk: Desk | None = None
        self._desk_folder = ""  # where its numbers are; empty: there are none
        self._opening: object | None = None  # stands for the desk that is being opened
        self._is_unreadable = False  # nothing that is in the folder makes a desk
        self._links: list[WorkerLink] = []
        self._leaving: list[WorkerLink] = []
        self._held: collections.deque[tuple[Prediction, float]] = collections.deque()
        self._held_bytes = 0
        self._asked = False
        self._hold_s = 0.0
        self._errors = 0  # of links that are gone, and of predictions that no link ever had

    @property
    def load(self) -> int:
        """How many predictions are not answered yet."""
        return len(self._held) + sum(link.load for link in (*self._links, *self._leaving))

    @property
    def held(self) -> int:
        """How many predictions wait for the version to wake."""
        return len(self._held)

    @property
    def errors(self) -> int:
        """How many predictions failed."""
        return self._errors + sum(link.errors for link in (*self._links, *self._leaving))

    @property
    def links(self) -> list[WorkerLink]:
        """The connections to its workers, in the order of the route."""
        return self._links

    @property
    def stuck(self) -> list[str]:
        """Sockets of workers that took predictions and answer nobody any more."""
        return [link.socket for link in self._links if link.is_stuck]

    @property
    def draining(self) -> list[str]:
        """Sockets of workers that get no more predictions, but have some to answer."""
        return [link.socket for link in self._leaving]

    def submit(self, prediction: Prediction) -> None:
        """Send a prediction to the worker with the least to do, or hold it until there is one."""
        self.requests += 1
        self.last_use_s = self._loop.time()
        if self.desk is not None:
            if self.desk.take(prediction):
                return
        elif self._desk_folder and not (self._opening or self._is_unreadable):
            self._open_desk()
        links = self._links
        if len(links) == 1:
            links[0].submit(prediction)
        else:
            self.give(prediction)

    def used(self, requests: int) -> None:
        """Count requests that reached the desk by themselves."""
        self.requests += requests
        self.last_use_s = self._loop.time()

    def desk_opened(self, desk: Desk) -> None:
        """Have a desk from now on; those who were held go there first."""
        self.desk, self._opening = desk, None
        for prediction in self._release():
            if not desk.take(prediction):
                self.give(prediction)

    def desk_closed(self) -> None:
        """Have none until the next prediction."""
        self.desk = None

    def desk_failed(self) -> None:
        """Have none until there is another folder."""
        self._opening, self._is_unreadable = None, True
        for prediction in self._release():
            self.give(prediction)

    def lend(self) -> WorkerLink:
        """Return the worker with the least to do, for a body that goes there past its link.

        Raises:
            Unavailable: There is none.
        """
        if not self._links:
            self._errors += 1
            error = no_worker(self.version)
            self.counts.failed(error.http_status)
            raise error
        return min(self._links, key=_burden)

    def update(self, route: Route, limits: Limits) -> None:
        """Take the version's workers of a new snapshot; nothing that was accepted is lost."""
        self._hold_s = limits.predict_timeout_s
        was_opening = self._opening
        if route.desk != self._desk_folder:
            self._close_desk()
            self._desk_folder = route.desk
            self._is_unreadable = False
        unsent: list[Prediction] = []
        for link in [link for link in self._links if link.socket not in route.sockets]:
            self._links.remove(link)
            unsent += self._part_from(link)
        known = {link.socket for link in self._links}
        for socket in route.sockets:
            if socket not in known:
                self._links.append(
                    WorkerLink(
                        socket, version=self.version, timeout_s=limits.predict_timeout_s,
                        wait_s=limits.worker_wait_s, loop=self._loop, counts=self.counts,
                        burst=self._burst, vigil=self._vigil,
                    )
                )  # fmt: skip
        for link in self._links:
            link.timeout_s = limits.predict_timeout_s
            link.wait_s = limits.worker_wait_s
        if self._links:
            self.wakes += self._asked
            unsent += self._release()
        elif was_opening and not self._opening:  # nobody was woken for those who are held
            unsent += self._release()
        for prediction in unsent:
            self.give(prediction)

    def retire(self) -> list[Prediction]:
        """Take no more; return what was not sent yet. What is in flight is still answered."""
        self._close_desk()
        unsent = self._release()
        for link in self._links:
            unsent += self._part_from(link)
        self._links = []
        return unsent

    def take_followers(self) -> list[Prediction]:
        """Return what no worker has seen and may go to another version; keep the rest."""
        found = [one for link in self._links for one in link.take_followers()]
        held, self._held = self._held, collections.deque()
        for entry in held:
            if entry[0].follows_default:
                self._held_bytes -= len(entry[0].body)
                found.append(entry[0])
            else:
                self._held.append(entry)
        self._asked = self._asked and bool(self._held)
        found = [prediction for prediction in found if not prediction.gone]
        self.requests -= len(found)  # whoever gets them counts them: this version too, maybe
        return found

    def ask_again(self) -> None:
        """Ask a newly come engine for the worker that predictions wait for."""
        if self._held:
            self._asked = self._wake(self.version)

    def refuse(self, problem: str) -> None:
        """Fail what waits for the version to wake: it cannot."""
        self.failed_wakes += self._asked
        for prediction in self._release():
            if self._waits_for_desk(prediction):
                self.give(prediction)
            else:
                self._fail(prediction, Unavailable(problem, "Try again."))

    def tick(self, now_s: float) -> None:
        """Let overdue predictions fail; look after links that are down."""
        while self._held and self._held[0][1] <= now_s:
            prediction, _deadline_s = self._held.popleft()
            self._held_bytes -= len(prediction.body)
            self._fail(prediction, _does_not_wake(self.version, self._hold_s))
        if self._asked and not self._held:
            self._asked = False
            self.failed_wakes += 1
        for link in (*self._links, *self._leaving):
            link.tick(now_s)
        for link in [link for link in self._leaving if not link.load]:
            self._leaving.remove(link)
            self._errors += link.errors
        if len(self._links) > 1:
            self._relieve()

    # --- inner ---

    def give(self, prediction: Prediction) -> None:
        """Send a prediction to a worker, or hold it until there is one."""
        links = self._links
        if len(links) == 1:
            links[0].submit(prediction)
        elif links:
            min(links, key=_burden).submit(prediction)
        else:
            self._hold(prediction)

    def _open_desk(self) -> None:
        if self._desks is not None:
            self._opening = opening = object()
            self._desks.open(self, self._desk_folder, lambda: self._opening is opening)

    def _waits_for_desk(self, prediction: Prediction) -> bool:
        is_short = prediction.kind == PREDICT and len(prediction.body) <= MOST_BYTES
        return self._opening is not None and is_short

    def _close_desk(self) -> None:
        self._desk_folder, self._opening = "", None
        if self._desks is not None:
            self._desks.close(self)

    def _hold(self, prediction: Prediction) -> None:
        size = len(prediction.body)
        if len(self._held) >= _MAX_HELD or self._held_bytes + size > _MAX_HELD_BYTES:
            self._fail(prediction, _too_many(self.version))
            return
        if not self._asked and not self._waits_for_desk(prediction):
            self._asked = self._wake(self.version)
            if not self._asked:
                self.failed_wakes += 1
                self._fail(prediction, _nobody_wakes(self.version))
                return
        self._held.append((prediction, self._loop.time() + self._hold_s))
        self._held_bytes += size

    def _release(self) -> list[Prediction]:
        """Return what was held; the next prediction that finds no worker asks for one again."""
        held = [prediction for prediction, _deadline_s in self._held if not prediction.gone]
        self._held.clear()
        self._held_bytes = 0
        self._asked = False
        return held

    def _part_from(self, link: WorkerLink) -> list[Prediction]:
        unsent = link.retire()
        if link.load:
            self._leaving.append(link)
        else:
            self._errors += link.errors
        return unsent

    def _relieve(self) -> None:
        """Let what waits at a closed door go to workers whose doors are open."""
        down = [link for link in self._links if link.is_down]
        if len(down) < len(self._links):
            for link in down:
                for prediction in link.take_unsent():
                    self.give(prediction)
        for link in down:
            link.probe()

    def _fail(self, prediction: Prediction, error: EngineError) -> None:
        self._errors += 1
        self.counts.failed(error.http_status)
        if not prediction.gone:
            prediction.failed(error)


def _burden(link: WorkerLink) -> tuple[bool, int]:
    return link.is_down, link.load


def _does_not_wake(version: str, hold_s: float) -> Unavailable:
    return Unavailable(f"'{version}' did not wake within {hold_s:g} s.", "Try again.")


def _nobody_wakes(version: str) -> Unavailable:
    return Unavailable(
        f"'{version}' is asleep, and the engine that would wake it is away.", "Try again."
    )


def _too_many(version: str) -> ResourceExhausted:
    return ResourceExhausted(
        f"'{version}' is waking up, and too many predictions wait for it already.", "Try again."
    )
