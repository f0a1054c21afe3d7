"""The peer of `benchmarks.training`: `ray job submit` on a running cluster of one node."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["cluster"]

_RAY = str(Path(sys.executable).with_name("ray"))


@contextlib.contextmanager
def cluster(folder: Path, *, wanted: bool) -> Iterator[Callable[[], float] | None]:
    """Run a cluster; give what submits ``python -m trainer.task`` and returns the seconds to it."""
    if not wanted:
        yield None
        return
    env = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": "http://127.0.0.1:8265"}
    start = [_RAY, "start", "--head", "--include-dashboard=true", "--block",
             "--dashboard-host=127.0.0.1", "--node-ip-address=127.0.0.1"]  # fmt: skip
    with (folder / "ray.log").open("w") as log:
        head = subprocess.Popen(
            start, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _until_ready(env)
        yield lambda: _submit(env, folder)
    finally:
        head.terminate()
        head.wait(60)


def _submit(env: dict[str, str], folder: Path) -> float:
    began_s = time.time()
    done = subprocess.run(
        [_RAY, "job", "submit", "--working-dir", str(folder), "--",
         sys.executable, "-m", "trainer.task"],
        env=env, check=True, capture_output=True, text=True,
    )  # fmt: skip
    (line,) = (x for x in done.stdout.splitlines() if x.startswith("first line at "))
    return float(line.split()[-1]) - began_s


def _until_ready(env: dict[str, str]) -> None:
    until_s = time.monotonic() + 120
    while time.monotonic() < until_s:
        asked = subprocess.run([_RAY, "job", "list"], env=env, capture_output=True, check=False)
        if asked.returncode == 0:
            return
    raise SystemExit("Ray's cluster did not start; see its log.")
