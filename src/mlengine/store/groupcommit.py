"""Writes that wait at one moment, committed at once: a commit costs one flush of the disk.

A database of one writer makes the others wait. Here they wait in a queue, and whoever's turn it is
runs the work of all of them, in their order, in its own transaction:

    leader     ──turn──▶ takes the queue ▶ BEGIN ▶ work, work, work ▶ COMMIT ▶ tells each
    follower   ──────────────────── waits ────────────────────────────────────▶ returns
    next one   ───────────── waits ───────────────────────────────▶ leads

So each is still durable when its call returns, and undone if that raises: when a work of several
fails, all are undone and each is run again alone. A leader leads once; it hands on to one that has
come meanwhile, so nobody works for others for longer than one commit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from mlengine.store import StoreAway

if TYPE_CHECKING:
    from mlengine.store.database import Transaction

__all__ = ["GroupCommit"]

T = TypeVar("T")

_MOST = 64  # in one transaction: others wait for it, and it is run again if one of them fails


class _Wish:
    """A work, and what became of it."""

    def __init__(self, work: Callable[[Transaction], Any]) -> None:
        self.work = work
        self.woken = threading.Event()
        self.over = False
        self.result: Any = None
        self.error: Exception | None = None

    def end(self, result: Any, error: Exception | None = None) -> None:
        self.result, self.error, self.over = result, error, True
        self.woken.set()


class GroupCommit:
    """Runs works in transactions that they share.

    Args:
        run: Runs a work in one transaction of its own, waiting for the turn to write. It may run it
            more than once, each time on what was there before.
        patience_s: How long to wait before `Unavailable`.
    """

    def __init__(
        self, run: Callable[[Callable[[Transaction], Any]], Any], *, patience_s: float
    ) -> None:
        self._run, self._patience_s = run, patience_s
        self._guard = threading.Lock()
        self._waiting: list[_Wish] = []
        self._led = False  # somebody leads, or was told to

    def __call__(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` with others: durable when this returns, undone if this raises."""
        wish = _Wish(work)
        with self._guard:
            self._waiting.append(wish)
            leads, self._led = not self._led, True
        if not leads:
            self._wait(wish)
        if not wish.over:
            self._lead()
        if wish.error is not None:
            raise wish.error
        result: T = wish.result
        return result

    def _wait(self, wish: _Wish) -> None:
        """Wait until a work was done, or is to lead."""
        if wish.woken.wait(self._patience_s):
            return
        with self._guard:
            if wish in self._waiting and not wish.woken.is_set():
                self._waiting.remove(wish)
                raise StoreAway(
                    f"The database was busy for {self._patience_s:g} s.", "Try again in a moment."
                )
        wish.woken.wait()  # it is being done right now

    def _lead(self) -> None:
        taken: list[_Wish] = []

        def work(tx: Transaction) -> list[Any]:
            if not taken:  # the turn has come: whoever waits by now goes along
                taken.extend(self._take())
            return [wish.work(tx) for wish in taken]

        try:
            for wish, result in zip(taken, self._run(work), strict=True):
                wish.end(result)
        except Exception as error:
            taken = taken or self._take(1)  # its own, if the turn never came
            self._settle(taken, error)
        finally:
            for wish in taken or self._take(1):
                if not wish.over:  # this thread was interrupted
                    wish.end(None, StoreAway("The write was broken off.", "Try again."))
            self._hand_on()

    def _take(self, most: int = _MOST) -> list[_Wish]:
        with self._guard:
            taken, self._waiting = self._waiting[:most], self._waiting[most:]
        return taken

    def _settle(self, taken: list[_Wish], error: Exception) -> None:
        """Give every work its own end after a transaction that was undone."""
        if len(taken) == 1:
            taken[0].end(None, error)
            return
        for wish in taken:
            try:
                wish.end(self._run(wish.work))
            except Exception as its_own:
                wish.end(None, its_own)

    def _hand_on(self) -> None:
        with self._guard:
            self._led = bool(self._waiting)
            if self._led:
                self._waiting[0].woken.set()
