"""A gateway that is begun before it can be told what to do: it imports while its engine does.

    engine ──begin──▶ python … --wait RUN_DIR    imports, numpy too if the last gateway had a desk
       │ imports, opens the store, writes routing.json                │
       └───────────────take: one line, its flags─────────────────────▶ listens

What it knows it reads after that line, so it begins with the newest routes, as any does. It ends if
its engine does: the line never comes, and the pipe closes.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mlengine.prediction.gateway.info import GATEWAY_FILE, ROUTING_FILE
from mlengine.runtime.processes import noted

__all__ = ["MODULE", "WAIT", "begin", "had_desk", "spawn", "take", "wait"]

MODULE = "mlengine.prediction.gateway.process"
WAIT = "--wait"
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH",
                   "PYTHONPATH")  # fmt: skip
_begun: dict[Path, subprocess.Popen[bytes]] = {}


def begin(run_dir: Path, log: Path) -> None:
    """Begin a gateway for a home whose engine starts, unless one lives that it may adopt."""
    try:
        last = json.loads((run_dir / GATEWAY_FILE).read_bytes())
        if noted(last, run_dir) is not None:
            return
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # none was noted, or by an engine that noted less: a new one is wanted
    with contextlib.suppress(OSError):  # whoever wants it starts it then, and is told why not
        _begun[run_dir] = spawn([sys.executable, "-m", MODULE, str(run_dir), WAIT], log, waits=True)


def take(run_dir: Path, flags: Sequence[str]) -> subprocess.Popen[bytes] | None:
    """Let the gateway that was begun for a home go on with these flags; None: there is none."""
    child = _begun.pop(run_dir, None)
    if child is None or child.stdin is None or child.poll() is not None:
        return None
    try:
        with child.stdin as told:
            told.write(json.dumps(list(flags)).encode() + b"\n")
    except OSError:
        child.kill()
        return None
    return child


def spawn(argv: Sequence[str], log: Path, *, waits: bool = False) -> subprocess.Popen[bytes]:
    """Start a gateway's process.

    Raises:
        OSError: The log cannot be opened, or there can be no process.
    """
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(log, "ab", opener=lambda path, flags: os.open(path, flags, 0o600)) as out:
        return subprocess.Popen(
            argv, stdin=subprocess.PIPE if waits else subprocess.DEVNULL, stdout=out, stderr=out,
            start_new_session=True, cwd="/",
            # Small products of a few rows gain nothing by threads, and each of them has memory.
            env={k: os.environ[k] for k in _KEPT_VARIABLES if k in os.environ}
            | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip


# --- in the gateway's process ---


def wait() -> list[str] | None:
    """Return the flags that the engine has sent; None: it has gone."""
    line = sys.stdin.buffer.readline()
    return json.loads(line) if line.endswith(b"\n") else None


def had_desk(run_dir: Path) -> bool:
    """Tell whether the last gateway of a home could answer predictions by itself."""
    try:
        return b'"desk":"/' in (run_dir / ROUTING_FILE).read_bytes()
    except OSError:
        return False
