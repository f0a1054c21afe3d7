"""Carries a replica's files between this machine and a node that does not see them.

Before the replica starts, all that its places mean is sent. While it runs, every few seconds, what
it wrote or removed is done here too, and what other replicas of its attempt changed is sent; once
more, completely, when it has ended, before anybody hears that it has. So what a trainer wrote is
where it would be if the node saw the folders, and a bucket is never behind a job's success.
"""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
import itertools
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mlengine.runtime.freight import Part, Writer, batches, files_of, is_beneath, parts_of, stamp

__all__ = ["Call", "Carrier"]

Call = Callable[..., Awaitable[Any]]
"""Calls a method of the node's depot by its name."""


class Carrier:
    """The files of one replica.

    Args:
        call: Calls its depot.
        places: What is carried: files, folders, patterns, beginnings of names.
        aside: A folder of this machine for what has not wholly arrived.
    """

    def __init__(self, call: Call, places: Sequence[str], aside: Path) -> None:
        self._call, self._places = call, list(places)
        self._aside = aside
        self._known: dict[str, list[int]] = {}
        self.files = self.size_bytes = 0

    async def send(self) -> None:
        """Have the node have what is here."""
        there = await asyncio.to_thread(files_of, self._places)
        told = {name: stamp(name) for name in there}
        news = [name for name in there if told[name] != self._known.get(name)]
        await self.put(itertools.chain.from_iterable(map(_parts, news)))
        gone = [name for name in self._known if name not in told]
        if gone:
            await self._call("put", [], gone)
        self._known = told

    async def put(self, parts: Iterable[Part]) -> None:
        """Send parts."""
        messages = batches(parts)
        while (batch := await asyncio.to_thread(next, messages, None)) is not None:
            await self._call("put", batch)
            self.files += sum(bool(part[6]) for part in batch)
            self.size_bytes += sum(len(part[2]) for part in batch)

    async def fetch(self) -> bool:
        """Do here what the replica did there; return whether there was anything to do."""
        news, gone = await self._call("changes", self._places)
        for name, told in news:
            if await self._fetch_one(name, told):
                self._known[name] = stamp(name)
                await self._call("settled", [(name, told)], [])
        for name in gone:
            if name in self._known and stamp(name) == self._known[name] and self._is_ours(name):
                await asyncio.to_thread(Path(name).unlink, missing_ok=True)
            self._known.pop(name, None)
        if gone:
            await self._call("settled", [], gone)
        return bool(news or gone)

    async def _fetch_one(self, name: str, told: Sequence[int]) -> bool:
        """Write a file here as it is there; return whether it stayed the same meanwhile."""
        if not self._is_ours(name):
            return False
        self._aside.mkdir(mode=0o700, exist_ok=True)
        writer, at = Writer("", str(self._aside)), 0
        with contextlib.closing(writer):
            while True:
                parts = await self._call("get", name, list(told), at)
                if not parts:
                    return False
                whole = await asyncio.to_thread(writer.write, [(name, *parts[0][1:])])
                if whole:
                    return True
                at += len(parts[0][2])

    def _is_ours(self, name: str) -> bool:
        """Tell whether a name is one that the node may write: whoever can use Ray speaks for it."""
        if not name.startswith("/") or ".." in name.split("/"):
            return False
        for place in self._places:
            folder = place if Path(place).is_dir() else str(Path(place).parent)
            meant = name.startswith(place) or fnmatch.fnmatchcase(name, place)
            if meant and is_beneath(_real(name), str(Path(folder).resolve())):
                return True
        return False


def _real(name: str) -> str:
    """Return where writing to a name would write."""
    return str(Path(name).parent.resolve() / Path(name).name)


def _parts(name: str) -> Iterator[Part]:
    with contextlib.suppress(OSError):  # removed since
        yield from parts_of(name, name)
