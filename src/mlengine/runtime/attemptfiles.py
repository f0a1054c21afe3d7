"""The files of an attempt's folder: names, durable writes, and the sentences of an exit record.

    spec.json         what to run (written by the launcher)
    supervisor.lock   flock held while a supervisor lives; inside: who it is, and the attempt's tag
    cancel            exists: somebody wants the attempt to end
    started.json      every replica was started
    exit.json         how it ended; no process of the attempt is left

Standard library only, Python >= 3.7.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlengine.runtime import failpoints
from mlengine.runtime.wholefile import sync_folder

__all__ = ["CANCEL", "EXIT", "LOCK", "SPEC", "STARTED", "failure_text", "notify", "read_json",
           "signal_name", "write_json"]  # fmt: skip

SPEC, LOCK, CANCEL = "spec.json", "supervisor.lock", "cancel"
STARTED, EXIT = "started.json", "exit.json"


def read_json(path: Path) -> Any:
    """Return a file's JSON, or None when there is no such file or it is empty.

    Raises:
        ValueError: The file holds something else.
    """
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return json.loads(data.decode("utf-8")) if data.strip() else None


def write_json(path: Path, value: Any) -> None:
    """Write a file so that it appears whole, and survives a power cut, or not at all."""
    aside = path.with_name(path.name + ".tmp")
    descriptor = os.open(str(aside), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(json.dumps(value).encode("ascii"))
        file.flush()
        os.fsync(file.fileno())
    failpoints.hit("file.written")
    aside.replace(path)
    failpoints.hit("file.renamed")
    sync_folder(path.parent)


def notify(address: str, event: Mapping[str, Any]) -> None:
    """Tell the engine by datagram, best effort: it may be away, and the files are the truth."""
    if not address:
        return
    with contextlib.suppress(OSError):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.setblocking(False)
            out.sendto(json.dumps(event).encode("ascii"), address)


def failure_text(replica: Mapping[str, Any], *, last_line: str) -> str:
    """Say how one replica failed, as the service did, with the reason it gave itself.

    Example:
        >>> failure_text(
        ...     {
        ...         "role": "ps",
        ...         "index": 0,
        ...         "exit_code": 7,
        ...         "signal": None,
        ...         "oom": False,
        ...         "last_error": "",
        ...     },
        ...     last_line="",
        ... )[-50:]
        ' 7. Termination reason: Error. It printed nothing.'
    """
    name = f"The replica {replica['role']} {replica['index']}"
    if replica.get("spawn_error"):
        return f"{name} could not be started: {replica['spawn_error']}"
    if replica.get("lost"):
        return f"{name} was lost: {replica['lost']}"
    number = replica["signal"]
    status = str(replica["exit_code"])
    if number is not None:
        status = f"{number}({signal_name(number)})"
    if replica["oom"]:
        text = f"{name} ran out-of-memory and exited with a non-zero status of {status}."
        limit = replica.get("memory_limit_bytes", 0)
        return f"{text} Its limit was {limit / (1 << 30):.1f} GiB." if limit else text
    kind = "Error" if number is None else "Signal"
    text = f"{name} exited with a non-zero status of {status}. Termination reason: {kind}."
    if replica["last_error"]:
        return f"{text} {replica['last_error']}"
    if last_line:
        return f"{text} Its last line: {_shortened(last_line.strip())}"
    return f"{text} It printed nothing."


def _shortened(line: str) -> str:
    """Keep both ends of a long line: the first says what is wrong, the last often with what."""
    return line if len(line) <= 500 else f"{line[:350]} … {line[-147:]}"


def signal_name(number: int) -> str:
    """Return ``SIGKILL`` for 9, ``signal 40`` for one that has no name.

    Example:
        >>> signal_name(9), signal_name(40)
        ('SIGKILL', 'signal 40')
    """
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
