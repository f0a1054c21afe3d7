"""The engine's side of a gateway: start it, adopt it, tell it the routes, ask it, stop it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from mlengine.core.errors import FailedPrecondition, Unavailable
from mlengine.prediction.gateway import ahead
from mlengine.prediction.gateway.doors import Doors
from mlengine.prediction.gateway.info import (
    CONTROL_SOCKET,
    GATEWAY_FILE,
    LOG_NAME,
    ROUTING_FILE,
    GatewayInfo,
)
from mlengine.prediction.routing import Snapshot, encode_snapshot
from mlengine.prediction.sockets import socket_dir
from mlengine.prediction.tally import Batch
from mlengine.prediction.workers.launch import find_by_words
from mlengine.runtime.processes import Process, living, look, noted, send
from mlengine.runtime.wholefile import write_whole

__all__ = ["GatewayControl", "ensure_gateway", "gateway_process", "read_gateway"]

_PLAIN = Doors()
_POLL_S = 0.01
_ensuring = threading.Lock()  # two threads that see it dead start one gateway, not two
_CALL_TIMEOUT_S = 5.0
_TAIL_BYTES = 2000


class GatewayControl:
    """Client of a gateway's control socket.

    Args:
        run_dir: The home's ``run`` folder.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._lock = threading.Lock()

    def push(self, snapshot: Snapshot, *, save: bool = True) -> int:
        """Make the gateway route by a snapshot, now and, if it is saved, after its next start.

        Returns:
            The generation that the gateway has taken.

        Raises:
            Unavailable: No gateway is up. The next one will begin with this snapshot.
            OSError: It cannot be written down, as on a full disk; the gateway that is up has it.
        """
        with self._lock:
            problem = self._saved(snapshot) if save else None
            line = b'{"routing":' + encode_snapshot(snapshot) + b"}"
            generation = int(self._call(line)["generation"])
        if problem is not None:
            raise problem
        return generation

    def _saved(self, snapshot: Snapshot) -> OSError | None:
        try:
            self.save(snapshot)
        except OSError as error:
            return error
        return None

    def save(self, snapshot: Snapshot) -> None:
        """Write what the next gateway begins with; it holds a digest, so nobody else may read."""
        write_whole(self._run_dir / ROUTING_FILE, encode_snapshot(snapshot), durable=True)

    def stats(self) -> dict[str, dict[str, Any]]:
        """Return, by full version name: requests, errors, load, held, last_use_time."""
        versions: dict[str, dict[str, Any]] = self._call(b'{"stats":true}')["versions"]
        return versions

    def draining(self) -> list[str]:
        """Return the sockets of workers that get no more predictions, but have some to answer."""
        sockets: list[str] = self._call(b'{"stats":true}')["draining"]
        return sockets

    def refuse(self, version: str, problem: str) -> None:
        """Fail the predictions that wait for a version to wake: it cannot."""
        self._call(msgspec.json.encode({"asleep": version, "problem": problem}))

    def tally(self, known: Batch) -> Batch:
        """Return what was counted of splits; the last batch again if `known` is another one."""
        known = msgspec.structs.replace(known, counted=[])
        answer = self._call(b'{"tally":' + msgspec.json.encode(known) + b"}")
        return msgspec.convert(answer["tally"], Batch, strict=False)

    def shutdown(self, *, timeout_s: float = 15.0) -> None:
        """Stop the gateway after its answers are out; by force when that takes too long."""
        process = gateway_process(self._run_dir)
        if process is None:
            return
        try:
            self._call(b'{"shutdown":true}')
        except Unavailable:  # it hangs, or is of a home that was moved: its socket is elsewhere
            send(process, signal.SIGTERM)
        if not _wait_gone(process, timeout_s):
            send(process, signal.SIGKILL)
            _wait_gone(process, timeout_s)

    def _call(self, line: bytes) -> dict[str, Any]:
        path = socket_dir(self._run_dir) / CONTROL_SOCKET
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as talk:
                talk.settimeout(_CALL_TIMEOUT_S)
                talk.connect(str(path))
                talk.sendall(line + b"\n")
                with talk.makefile("rb") as lines:
                    answer: dict[str, Any] = msgspec.json.decode(lines.readline())
        except (OSError, msgspec.MsgspecError) as error:
            raise Unavailable(f"The gateway does not answer: {error}.", "Try again.") from None
        if not answer.get("ok"):
            raise FailedPrecondition(f"The gateway refused: {answer.get('error')}")
        return answer


def ensure_gateway(
    run_dir: Path, *, host: str = "127.0.0.1", port: int = 0, log: Path | None = None,
    python: str = sys.executable, timeout_s: float = 10.0, doors: Doors = _PLAIN,
) -> GatewayInfo:  # fmt: skip
    """Return the gateway that listens on host and port; start one if there is none.

    One that runs is adopted if it listens where it is wanted, else replaced. With port 0 a new one
    takes the port of the last one if that is free, so that the URL stays.

    Raises:
        FailedPrecondition: It cannot listen, with its own words.
    """
    with _ensuring:
        return _ensure(run_dir, host, port, log, python, timeout_s, doors)


def read_gateway(run_dir: Path) -> GatewayInfo | None:
    """Return what the newest gateway wrote, whether it lives or not."""
    try:
        return msgspec.json.decode((run_dir / GATEWAY_FILE).read_bytes(), type=GatewayInfo)
    except (OSError, msgspec.MsgspecError):
        return None


def gateway_process(run_dir: Path) -> Process | None:
    """Return the process of the gateway if it lives.

    It stays that of a home that is moved; a copy of the home has none before it starts its own.
    """
    info = read_gateway(run_dir)
    if info is None:
        return None
    if not info.boot_id:  # an older one; believed, so that it does not keep the port for ever
        return living(info.pid, info.started)
    return noted(msgspec.structs.asdict(info), run_dir)


def _ensure(
    run_dir: Path, host: str, port: int, log: Path | None, python: str, timeout_s: float,
    doors: Doors,
) -> GatewayInfo:  # fmt: skip
    last = read_gateway(run_dir)
    if last is not None and gateway_process(run_dir) is not None:
        fits = last.host == host and port in (0, last.port) and last.doors == doors
        if fits and _is_there(last, run_dir):
            return last
        GatewayControl(run_dir).shutdown()
        if not fits:
            last = None
    if port == 0 and last is not None and last.host == host:
        try:
            return _start(run_dir, host, last.port, log, python, timeout_s, doors)
        except FailedPrecondition:
            pass  # somebody took the port meanwhile
    return _start(run_dir, host, port, log, python, timeout_s, doors)


def _is_there(info: GatewayInfo, run_dir: Path) -> bool:
    """Return whether the folder still lies where the gateway was told, and looks for all else."""
    try:
        return run_dir.samefile(info.run_dir)
    except OSError:
        return False


def _start(
    run_dir: Path, host: str, port: int, log: Path | None, python: str, timeout_s: float,
    doors: Doors,
) -> GatewayInfo:  # fmt: skip
    flags = ["--host", host, "--port", str(port), *doors.flags]
    path = log or run_dir / LOG_NAME
    begun = ahead.take(run_dir, flags) if python == sys.executable else None
    # An engine that is killed between the start and the first word of a gateway leaves one that
    # holds the port, and that nobody would ever stop. The folder alone may be in any command.
    for stray in find_by_words(ahead.MODULE, str(run_dir)):
        if begun is None or stray.pid != begun.pid:
            send(stray, signal.SIGKILL)
            _wait_gone(stray, timeout_s)
    argv = [python, "-m", ahead.MODULE, str(run_dir), *flags]
    info = _first_word(begun, run_dir, timeout_s) if begun is not None else None
    # One that was begun and died may have died of what it was begun with.
    info = info or _first_word(ahead.spawn(argv, path), run_dir, timeout_s)
    if info is not None:
        return info
    raise FailedPrecondition(
        f"The gateway did not start: {_tail(path) or 'it said nothing'}", f"Its log is {path}."
    )


def _first_word(
    child: subprocess.Popen[bytes], run_dir: Path, timeout_s: float
) -> GatewayInfo | None:
    """Return what a gateway says once it listens; None: it has ended, or was ended, before."""
    # Reaped by a thread, so that a dead gateway is never a zombie that looks alive.
    threading.Thread(target=child.wait, name="gateway-reaper", daemon=True).start()
    pause = threading.Event()
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        info = read_gateway(run_dir)
        if info is not None and info.pid == child.pid:
            return info
        if child.poll() is not None:
            return None
        pause.wait(_POLL_S)
    child.kill()
    return None


def _tail(path: Path) -> str:
    data = path.read_bytes()[-_TAIL_BYTES:] if path.exists() else b""
    lines = [line for line in data.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _wait_gone(process: Process, timeout_s: float) -> bool:
    pause = threading.Event()
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        now = look(process.pid)
        if now is None or now.started != process.started or not now.alive:
            return True
        pause.wait(_POLL_S)
    return False
