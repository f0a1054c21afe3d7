"""The agent: one process of the engine's machine through which all attempts use a Ray cluster.

    python -P -m mlengine.training.launchers.rayagent ADDRESS SOCKET VIEW

Connecting to Ray takes seconds and a hundred megabytes, so it is done once, not once an attempt.
The agent decides nothing about a job: it places an attempt's replicas, passes what their outposts
say to the attempt's supervisor, and passes its orders back (see `runtime.farlink`). Supervisors
outlive it: when it ends, they take their replicas for lost once those must be dead. It outlives the
engine, and ends when neither an engine nor an attempt has needed it for a while, or when the
cluster is gone: then another one is started with a fresh connection.

VIEW is a file in which it says what the cluster has, or why there is none.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sys
import threading
import time
from collections import deque
from pathlib import Path

import msgspec

from mlengine.runtime import farlink
from mlengine.runtime.concealment import conceal
from mlengine.runtime.frames import pack
from mlengine.runtime.wholefile import write_whole
from mlengine.training.launchers.rayattempt import RayAttempt
from mlengine.training.launchers.raycluster import RayCluster, Unreachable
from mlengine.training.launchers.rayplaces import ClusterView, Node
from mlengine.training.launchers.raystream import Peer

__all__ = ["main"]

_LOOK_S = 2.0
_IDLE_S = 5.0
_REMEMBERED = 10_000

EXIT_ALREADY_RUNNING = 4


def main(arguments: list[str]) -> int:
    """Serve until nobody needs it; return the exit code."""
    address, place, view = arguments
    os.umask(0o077)
    conceal()  # the cluster's token is in its environment
    lock = os.open(f"{place}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return EXIT_ALREADY_RUNNING
    with contextlib.suppress(OSError):
        os.setsid()
    agent = _Agent(RayCluster(address), Path(view))
    asyncio.run(agent.serve(Path(place)))
    # Ray's own farewell may hang with a cluster that is gone; it takes back what we held anyway.
    sys.stderr.flush()
    os._exit(0)


class _Agent:
    """Takes connections; watches the cluster, and whether it is needed."""

    def __init__(self, cluster: RayCluster, view: Path) -> None:
        self._cluster = cluster
        self._file = view
        self._view = ClusterView(problem="not connected yet")
        self._ready = asyncio.Event()
        self._seen_s = time.monotonic()
        self._peers = 0
        self._attempts: dict[str, RayAttempt] = {}
        self._over: deque[str] = deque(maxlen=_REMEMBERED)
        self._ports: deque[int] = deque(maxlen=2048)

    async def serve(self, place: Path) -> None:
        """Listen until nobody needs it, or the cluster is gone."""
        place.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._meet, place)
        self._publish(self._view)
        threading.Thread(
            target=self._watch, args=(asyncio.get_running_loop(),), daemon=True
        ).start()
        needed_s = time.monotonic()
        while time.monotonic() - needed_s < _IDLE_S and not self._useless():
            await asyncio.sleep(0.25)
            self._notice_silence()
            if self._peers or self._attempts or not self._ready.is_set():
                needed_s = time.monotonic()
        server.close()

    def _useless(self) -> bool:
        """Tell whether the cluster is gone and nobody waits to be told so."""
        return bool(self._view.problem) and self._ready.is_set() and not self._attempts

    # --- the cluster, watched by a thread ---

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            self._cluster.connect()
        except Unreachable as error:
            view = ClusterView(problem=str(error), final=error.final)
            loop.call_soon_threadsafe(self._see, view)
            return
        silence = threading.Event()
        while True:
            try:
                nodes = self._cluster.nodes()
                loop.call_soon_threadsafe(self._see, ClusterView(nodes=nodes))
            except Exception as error:
                sys.stderr.write(f"{type(error).__name__}: {error}\n")
            silence.wait(_LOOK_S)

    def _see(self, view: ClusterView) -> None:
        self._seen_s = time.monotonic()
        if view != self._view:
            self._publish(view)
        self._ready.set()

    def _publish(self, view: ClusterView) -> None:
        self._view = view
        with contextlib.suppress(OSError):
            write_whole(self._file, msgspec.json.encode(view))

    def _notice_silence(self) -> None:
        unseen_s = time.monotonic() - self._seen_s
        if self._ready.is_set() and unseen_s > farlink.CERTAIN_S and not self._view.problem:
            text = f"The cluster at {self._cluster.address} has not answered for {unseen_s:.0f} s."
            self._publish(ClusterView(problem=text))

    # --- what an attempt needs to know ---

    async def ready(self) -> ClusterView:
        """Return the cluster as it is seen now, as soon as there was a first look."""
        await self._ready.wait()
        return self._view

    @property
    def problem(self) -> str:
        """Why the cluster cannot be used any more; empty if it can."""
        return self._view.problem if self._ready.is_set() else ""

    def nodes(self) -> list[Node]:
        """Return the nodes that are alive."""
        return self._view.nodes

    # --- connections ---

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._peers += 1
        peer = Peer(reader, writer)
        beats = asyncio.create_task(self._beat(peer))
        try:
            frame = await peer.receive()
            if frame is not None and frame.kind == farlink.ASK:
                tag = (frame.payload or b"").decode("utf-8", "replace")
                gone = tag in self._over and tag not in self._attempts
                await peer.send(farlink.GONE if gone else farlink.BEAT, 0, b"")
            elif frame is not None and frame.kind == farlink.OPEN:
                await self._run(peer, frame.payload or b"")
        except ConnectionError:
            pass
        finally:
            beats.cancel()
            self._peers -= 1
            writer.close()

    async def _run(self, peer: Peer, payload: bytes) -> None:
        order = msgspec.json.decode(payload)
        attempt = RayAttempt(order, peer, self._cluster, self, self._ports)
        self._attempts[attempt.tag] = attempt
        try:
            await attempt.run()
        finally:
            del self._attempts[attempt.tag]
            self._over.append(attempt.tag)

    async def _beat(self, peer: Peer) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await peer.post(pack(0, farlink.BEAT))
                await asyncio.sleep(_LOOK_S)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
