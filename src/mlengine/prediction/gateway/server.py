"""What all connections of a gateway share: snapshot, limits, clock, counts, and their deadlines."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import logging
import resource
import time
from pathlib import Path
from typing import Any, cast

import msgspec

from mlengine.core.clock import SystemClock
from mlengine.core.errors import EngineError, Unavailable
from mlengine.prediction.gateway.answers import GoodHeads, error_answer, json_head
from mlengine.prediction.gateway.bell import Bell
from mlengine.prediction.gateway.burst import Burst
from mlengine.prediction.gateway.desk import MOST_BYTES, Desk
from mlengine.prediction.gateway.desks import Desks
from mlengine.prediction.gateway.guard import Guard
from mlengine.prediction.gateway.heads import HeadMemo, KnownHead
from mlengine.prediction.gateway.http1 import CallerConnection
from mlengine.prediction.gateway.info import QUOTA_FILE
from mlengine.prediction.gateway.quota import Quotas
from mlengine.prediction.gateway.relay import EnginePool
from mlengine.prediction.gateway.requestlog import RequestLogs
from mlengine.prediction.gateway.split import Splits
from mlengine.prediction.gateway.switchboard import Switchboard
from mlengine.prediction.gateway.vigil import Vigil
from mlengine.prediction.requestlog.ids import PredictionIds
from mlengine.prediction.requestlog.writer import Writer
from mlengine.prediction.routing import Limits, Snapshot

__all__ = ["Server"]

_log = logging.getLogger("mlengine.gateway")

_TICK_S = 0.25
_SAVE_QUOTAS_S = 1.0
_DRAIN_POLL_S = 0.02
_LAST_WORDS_S = 1.0  # for callers to read that there will be no answer
_RESERVED_DESCRIPTORS = 48  # control, log, workers, listening, and connections that are shed
_MOST_CONNECTIONS = 4096
_EXTRA_CONNECTIONS = 16  # beyond the limit: told so, and asked for their health


class Server:
    """The state of a running gateway.

    Args:
        snapshot: What to begin with.
        loop: The loop that everything runs in.
        run_dir: Where the day's quotas are written down; None: nowhere.
        has_grpc: Whether connections of a gRPC door share this process's descriptors.
    """

    def __init__(
        self, snapshot: Snapshot, *, loop: asyncio.AbstractEventLoop, run_dir: Path | None = None,
        has_grpc: bool = False,
    ) -> None:  # fmt: skip
        self.limits: Limits = snapshot.limits
        self.guard = Guard(snapshot)
        self.heads = HeadMemo()
        self.bell = Bell()
        self.burst = Burst()
        self.vigil = Vigil(loop, is_allowed=snapshot.may_stay_awake)
        self.desks: Desks = Desks(loop=loop, burst=self.burst, vigil=self.vigil, books=self)
        self.switchboard = Switchboard(
            snapshot, wake=self.bell.ring, loop=loop, burst=self.burst, vigil=self.vigil,
            desks=self.desks,
        )  # fmt: skip
        self.wall_s = time.time
        self.ids = PredictionIds(self.wall_s())
        self.writer = Writer()
        self.logs = RequestLogs(self.ids, self.writer, loop.time)
        self.logs.replace(snapshot)
        self.quotas = Quotas(loop.time)
        self._quota_file = run_dir / QUOTA_FILE if run_dir is not None else None
        self._quotas_due_s = 0.0
        self._restore_quotas()
        # How long answers take: uvloop's clock goes in whole milliseconds, and most take less.
        self.fine_s = time.monotonic
        self.splits = Splits(self.switchboard.link, self.fine_s, self.ids)
        self.splits.replace(snapshot)
        self.engine_pool = EnginePool(snapshot.engine_socket, loop=loop)
        self.stopping = False
        self.refused: dict[int, int] = {}  # HTTP status → requests that no version answered
        self.relayed = 0
        self.now_s = loop.time
        self.date_line = b""
        self.good_heads = GoodHeads(b"")
        self._loop = loop
        self._clock = SystemClock()
        self._connections: set[CallerConnection] = set()
        self.most_grpc_connections = _most_grpc(snapshot.limits) if has_grpc else 0
        self._max_connections = _most_http(snapshot.limits, self.most_grpc_connections)
        self._set_date()

    def accept(self) -> asyncio.Protocol:
        """Return the protocol of a connection that was just accepted."""
        excess = len(self._connections) - self._max_connections
        if excess >= _EXTRA_CONNECTIONS:
            return _ShedConnection()
        return CallerConnection(self, shed=excess >= 0)

    def opened(self, connection: CallerConnection) -> None:
        """Count a connection."""
        self._connections.add(connection)

    def closed(self, connection: CallerConnection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)

    @property
    def open_connections(self) -> int:
        """How many callers are connected."""
        return len(self._connections)

    def idle_until_s(self) -> float:
        """Return until when a caller who is answered now may be silent."""
        return self.now_s() + self.limits.idle_timeout_s

    def may_be_in_lane(self, known: KnownHead) -> Desk | None:
        """Return the desk whose lane takes requests with this head, if one does."""
        is_short = known.body_bytes <= MOST_BYTES and not self.stopping
        if not is_short or self.splits.find(known.target) is not None:
            return None
        try:
            group = self.switchboard.link(known.target)
        except EngineError:
            return None
        log = self.logs.found.get(group.version)
        return group.desk if log is None or not log.access else None

    def count_refusal(self, error: EngineError) -> None:
        """Count a request that was answered without a version."""
        self.refused[error.http_status] = self.refused.get(error.http_status, 0) + 1

    def gauges(self) -> dict[str, float]:
        """Return what ``/metrics`` shows of the gateway itself."""
        return {
            "connections": len(self._connections),
            "relayed_total": self.relayed,
            "known_heads": len(self.heads),
            "awake": self.vigil.is_kept,
            "desks": len(self.desks),
            "snapshot_generation": self.switchboard.snapshot.generation,
        }

    def replace(self, snapshot: Snapshot) -> None:
        """Decide by this snapshot from now on."""
        self.desks.answer_all()
        self.desks.forget_heads()
        self.limits = snapshot.limits
        self.vigil.is_allowed = snapshot.may_stay_awake
        self.guard = Guard(snapshot)
        self.heads = HeadMemo()
        self._max_connections = _most_http(snapshot.limits, self.most_grpc_connections)
        if snapshot.engine_socket != self.engine_pool.socket:
            self.engine_pool.forget()
            self.engine_pool.socket = snapshot.engine_socket
        # First: what is routed anew by the switchboard is drawn by the new split.
        self.splits.replace(snapshot)
        self.switchboard.replace(snapshot)
        self.logs.replace(snapshot)

    def stats(self) -> dict[str, Any]:
        """Return what is counted of each version that was asked."""
        found = self.switchboard.stats()
        for name, counts in self.logs.stats().items():
            if name in found:
                found[name] |= counts
        return found

    async def run_ticks(self) -> None:
        """Watch deadlines for ever."""
        while True:
            await asyncio.sleep(_TICK_S)
            now_s = self.now_s()
            self._set_date()
            self.ids.set_time(self.wall_s())
            self.logs.flush()
            if now_s >= self._quotas_due_s:
                self._quotas_due_s = now_s + _SAVE_QUOTAS_S
                self._save_quotas()
            for connection in list(self._connections):
                connection.tick(now_s)
            self.switchboard.tick(now_s)
            self.desks.tick(now_s)
            self.engine_pool.tick(now_s)

    async def drain(self, timeout_s: float) -> None:
        """End idle connections; wait for the others to get their answers, or else an error."""
        self.stopping = True
        self.desks.answer_all()
        self.desks.forget_heads()  # who asks from now on is told that his connection ends
        deadline_s = self.now_s() + timeout_s
        while self._connections and self.now_s() < deadline_s:
            for connection in list(self._connections):
                connection.close_if_idle()
            await asyncio.sleep(_DRAIN_POLL_S)
        for connection in list(self._connections):
            connection.give_up(Unavailable("The gateway is stopping.", "Try again."))
        deadline_s = self.now_s() + _LAST_WORDS_S
        while self._connections and self.now_s() < deadline_s:
            await asyncio.sleep(_DRAIN_POLL_S)

    def close(self) -> None:
        """Write down what is not written yet."""
        self.desks.end()
        self.logs.flush()
        self._save_quotas()
        self.writer.close()

    def _save_quotas(self) -> None:
        taken = self.quotas.taken() if self._quota_file is not None else None
        if self._quota_file is not None and taken is not None:
            self.writer.replace(self._quota_file, msgspec.json.encode(taken))

    def _restore_quotas(self) -> None:
        if self._quota_file is None or not self._quota_file.exists():
            return
        try:
            self.quotas.restore(msgspec.json.decode(self._quota_file.read_bytes()))
        except (OSError, msgspec.MsgspecError, KeyError, ValueError, AttributeError) as error:
            _log.warning("the day's quotas begin anew: %s: %s", self._quota_file, error)

    def _set_date(self) -> None:
        text = email.utils.format_datetime(self._clock.now(), usegmt=True)
        line = b"date: %b\r\n" % text.encode()
        if line != self.date_line:
            self.date_line = line
            self.good_heads = GoodHeads(line)


class _ShedConnection(asyncio.Protocol):
    """A connection for which there is no room: it is told so and closed."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop's are no subclasses
        status, lines, body = error_answer(
            Unavailable("Too many connections are open.", "Try again.")
        )
        transport.write(
            b"%b%bconnection: close\r\ncontent-length: %d\r\n\r\n%b"
            % (json_head(status), lines, len(body), body)
        )
        with contextlib.suppress(OSError, RuntimeError):
            transport.write_eof()
        transport.close()


def _free_descriptors() -> int:
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft - _RESERVED_DESCRIPTORS - _EXTRA_CONNECTIONS


def _most_grpc(limits: Limits) -> int:
    """Return how many connections a gRPC door may hold: it must never starve the HTTP door."""
    return min(limits.max_connections or _MOST_CONNECTIONS, max(_free_descriptors() // 4, 4))


def _most_http(limits: Limits, grpc: int) -> int:
    # A relayed request holds two descriptors.
    affordable = max((_free_descriptors() - grpc) // 2, 4)
    return min(limits.max_connections or _MOST_CONNECTIONS, affordable)
