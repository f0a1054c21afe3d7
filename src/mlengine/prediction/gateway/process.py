"""The gateway: ``python -m mlengine.prediction.gateway.process RUN_DIR --host H --port P``.

It listens, writes ``gateway.json`` once it does, and obeys JSON lines on its control socket:

    {"routing": SNAPSHOT}                   routes so from now on
    {"stats": true}                         tells what it has counted
    {"tally": BATCH}                        hands over counts; BATCH is the last that was taken
    {"subscribe": true}                     is told here of versions to wake: see `bell`
    {"asleep": VERSION, "problem": TEXT}    fails those who wait for a version
    {"shutdown": true}                      ends

With ``--wait`` it first waits to be told the rest of its command: see `ahead`. It begins with
``routing.json``, so a restarted gateway serves before the engine has spoken to it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import uvloop

from mlengine.core.access import is_loopback
from mlengine.core.errors import EngineError, FailedPrecondition
from mlengine.prediction.gateway import ahead
from mlengine.prediction.gateway.desks import prepare
from mlengine.prediction.gateway.doors import Doors
from mlengine.prediction.gateway.info import CONTROL_SOCKET, GATEWAY_FILE, ROUTING_FILE, GatewayInfo
from mlengine.prediction.gateway.server import Server
from mlengine.prediction.routing import Snapshot, decode_snapshot, read_snapshot
from mlengine.prediction.sockets import socket_dir
from mlengine.prediction.tally import Batch
from mlengine.runtime.processes import note
from mlengine.runtime.wholefile import write_whole

if TYPE_CHECKING:
    from mlengine.prediction.gateway.grpcfront import GrpcFront

__all__ = ["main"]

_log = logging.getLogger("mlengine.gateway")

_BACKLOG = 2048
_DRAIN_S = 10.0
_MAX_COMMAND_BYTES = 64 << 20
_NO_COMMAND = (
    "No command is in it. Send 'routing', 'stats', 'tally', 'subscribe', 'asleep' or 'shutdown'."
)


class _Command(msgspec.Struct):
    routing: msgspec.Raw = msgspec.Raw()
    stats: bool = False
    tally: Batch | None = None
    shutdown: bool = False
    subscribe: bool = False
    asleep: str = ""
    problem: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    """Run until told to stop; return the exit status."""
    parser = argparse.ArgumentParser(prog="mlengine.prediction.gateway.process")
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tls-cert", default="")
    parser.add_argument("--tls-key", default="")
    parser.add_argument("--grpc-port", type=int, default=-1)
    parser.add_argument(ahead.WAIT, action="store_true", help="Read all other flags from stdin.")
    options = parser.parse_args(argv)
    if options.wait:
        if ahead.had_desk(options.run_dir):
            with contextlib.suppress(ImportError):  # workers answer where there is no numpy
                prepare()
        flags = ahead.wait()
        if flags is None:
            return 0
        options = parser.parse_args([str(options.run_dir), *flags])
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    os.umask(0o077)
    _raise_descriptor_limit()
    try:
        doors = Doors(options.tls_cert, options.tls_key, options.grpc_port)
        uvloop.run(_serve(options.run_dir, options.host, options.port, doors))
    except (EngineError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(run_dir: Path, host: str, port: int, doors: Doors) -> None:
    loop = asyncio.get_running_loop()
    snapshot = read_snapshot(run_dir / ROUTING_FILE)
    _check_exposure(host, snapshot)
    has_grpc = doors.grpc_port >= 0
    server = Server(snapshot, loop=loop, run_dir=run_dir, has_grpc=has_grpc)
    listening = _listen(host, port)
    bound_port = listening.getsockname()[1]
    tls = doors.tls()
    front = await loop.create_server(
        server.accept, sock=listening, backlog=_BACKLOG, ssl=tls,
        ssl_handshake_timeout=snapshot.limits.header_timeout_s if tls else None,
    )  # fmt: skip
    grpc = await _open_grpc(server, host, doors)
    stop = asyncio.Event()
    control = _Control(server, stop)
    control_path = socket_dir(run_dir) / CONTROL_SOCKET
    control_path.unlink(missing_ok=True)
    back = await asyncio.start_unix_server(
        control.talk, str(control_path), limit=_MAX_COMMAND_BYTES
    )
    control_path.chmod(0o600)
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    ticks = loop.create_task(server.run_ticks())
    _announce(run_dir, host, bound_port, doors, grpc.port if grpc else 0)
    _log.info("listening on %s:%d", host, bound_port)
    await stop.wait()
    front.close()
    if grpc is not None:
        await asyncio.gather(grpc.stop(_DRAIN_S), server.drain(_DRAIN_S))
    else:
        await server.drain(_DRAIN_S)
    ticks.cancel()
    back.close()
    server.close()
    _withdraw(run_dir, control_path)
    _log.info("stopped")


async def _open_grpc(server: Server, host: str, doors: Doors) -> GrpcFront | None:
    if doors.grpc_port < 0:
        return None
    try:
        from mlengine.prediction.gateway.grpcfront import GrpcFront
    except ModuleNotFoundError as error:
        raise FailedPrecondition(
            f"gRPC needs the library {error.name!r}, which is not installed.",
            "Install it: pip install 'mlengine[grpc]'",
        ) from None
    front = GrpcFront(server, host=host, port=doors.grpc_port, certificate=doors.certificate)
    await front.start()
    return front


class _Control:
    """Obeys the engine."""

    def __init__(self, server: Server, stop: asyncio.Event) -> None:
        self._server = server
        self._stop = stop
        self._decoder = msgspec.json.Decoder(_Command)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one client line by line; who still listens when the gateway ends is cut off."""
        with contextlib.suppress(ConnectionError, ValueError, asyncio.CancelledError):
            while line := await reader.readline():
                writer.write(msgspec.json.encode(self._obey(line, writer)) + b"\n")
                await writer.drain()
        self._server.bell.remove(writer)
        writer.close()

    def _obey(self, line: bytes, writer: asyncio.StreamWriter) -> dict[str, Any]:
        try:
            command = self._decoder.decode(line)
            if bytes(command.routing):
                snapshot = decode_snapshot(command.routing)
                self._server.replace(snapshot)
                return {"ok": True, "generation": snapshot.generation}
        except (EngineError, msgspec.MsgspecError) as error:
            return {"ok": False, "error": str(error)}
        if command.shutdown:
            self._stop.set()
            return {"ok": True}
        if command.tally is not None:
            return {"ok": True, "tally": self._server.splits.tally.batch(command.tally)}
        if command.stats:
            return {
                "ok": True,
                "generation": self._server.switchboard.snapshot.generation,
                "connections": self._server.open_connections,
                "versions": self._server.stats(),
                "draining": self._server.switchboard.draining(),
            }
        if command.subscribe:
            self._server.bell.add(writer)
            self._server.switchboard.ask_again()
            return {"ok": True}
        if command.asleep:
            self._server.switchboard.refuse(command.asleep, command.problem)
            return {"ok": True}
        return {"ok": False, "error": _NO_COMMAND}


def _check_exposure(host: str, snapshot: Snapshot) -> None:
    """Refuse an address that others can reach while anybody could call."""
    if is_loopback(host):
        return
    if not snapshot.token_digest:
        raise FailedPrecondition(
            f"The gateway will not listen on {host!r} without a token.",
            "Start it through the engine, which makes one; or use 127.0.0.1.",
        )
    if not snapshot.allowed_hosts:
        raise FailedPrecondition(
            f"The gateway will not listen on {host!r} without a host name to answer to.",
            "Set 'allowed_hosts' to the names that callers use.",
        )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise FailedPrecondition(
            f"Cannot listen on {host}:{port}: {error.strerror}.",
            "Choose another port with --port, or stop what uses it.",
        ) from None
    listening.setblocking(False)
    return listening


def _announce(run_dir: Path, host: str, port: int, doors: Doors, grpc_port: int) -> None:
    shown = f"[{host}]" if ":" in host else host
    info = GatewayInfo(
        **note(os.getpid(), run_dir), run_dir=str(run_dir), host=host, port=port,
        url=f"{doors.scheme}://{shown}:{port}", doors=doors, grpc_port=grpc_port,
    )  # fmt: skip
    write_whole(run_dir / GATEWAY_FILE, msgspec.json.encode(info))


def _withdraw(run_dir: Path, control_path: Path) -> None:
    """Remove our own traces, unless a successor has written its own."""
    path = run_dir / GATEWAY_FILE
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        if msgspec.json.decode(path.read_bytes(), type=GatewayInfo).pid == os.getpid():
            path.unlink()
            control_path.unlink()


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 65_536) if hard != resource.RLIM_INFINITY else 65_536
    if soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    sys.exit(main())
