"""Processes that have one database open and are let go at the same moment."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from mlengine.store import Store, open_store

__all__ = ["PRELOAD", "Rivals", "rivals"]

PRELOAD = ["mlengine.store.sql", "mlengine.store.sqlite", "mlengine.store.postgres", "psycopg"]
"""What a fork server imports first: a process then costs milliseconds, not a second."""

Task = Callable[..., Any]


class Rivals(NamedTuple):
    """Processes with a store each."""

    pipes: Sequence[Connection]

    def __len__(self) -> int:
        return len(self.pipes)

    def at_once(self, *calls: tuple[Task, tuple[Any, ...]]) -> list[Any]:
        """Have each process run a call ``(function, arguments)`` with its store as first argument.

        Returns:
            What each returned or raised.
        """
        for pipe, call in zip(self.pipes, calls, strict=True):
            pipe.send(call)
        for pipe in self.pipes:
            pipe.recv()  # it has read its call
        for pipe in self.pipes:
            pipe.send("go")
        return [pipe.recv() for pipe in self.pipes]


@contextlib.contextmanager
def rivals(url: str, count: int) -> Iterator[Rivals]:
    """Run so many processes until the block ends."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    pairs = [context.Pipe() for _ in range(count)]
    processes = [context.Process(target=_serve, args=(url, its)) for _mine, its in pairs]
    for process in processes:
        process.start()
    for _mine, its in pairs:
        its.close()
    pipes = [mine for mine, _its in pairs]
    try:
        assert all(pipe.poll(60) and pipe.recv() == "open" for pipe in pipes)
        yield Rivals(pipes)
    finally:
        for pipe in pipes:
            pipe.close()
        for process in processes:
            process.join(60)
            assert process.exitcode == 0


def _serve(url: str, pipe: Connection) -> None:
    store = open_store(url)
    pipe.send("open")
    with contextlib.suppress(EOFError):
        while True:
            task, args = pipe.recv()
            pipe.send("ready")
            pipe.recv()
            pipe.send(_outcome(store, task, args))
    store.close()


def _outcome(store: Store, task: Task, args: tuple[Any, ...]) -> Any:
    try:
        return task(store, *args)
    except Exception as error:
        return error
