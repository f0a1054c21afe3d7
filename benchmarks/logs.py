"""What a replica's log costs: lines through a real supervisor, against ``cat`` on the same pipe.

Runs ``python -m benchmarks.logs``. A trainer prints the same line again and again, as fast as its
pipe takes it. In one run, in turns:

* cat: ``writer | cat > file``, the floor: bytes moved through a pipe to a file and nothing else.
* below: a quota that no line exceeds; every line becomes a record.
* beyond: a quota of 4 MiB; nearly all is dropped, the first and the newest lines are kept.

CPU seconds are those of the writer and whatever reads it. Fails when a log is not what it must be:
all lines in order below the quota, the drop note and the last line beyond it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mlengine.runtime import supervisor
from mlengine.training import logs

_TASK = "master-replica-0"
_BEYOND_BYTES = 4 << 20
_SHOWN_CPU_S = 0.005


class Cost(NamedTuple):
    """What one run took."""

    wall_s: float
    cpu_s: float


def main() -> int:
    """Measure and show; an answer that is wrong raises."""
    options = _parse()
    work = Path(tempfile.mkdtemp(prefix="mlengine-logs-"))
    size_bytes = options.megabytes * 1_000_000 // options.width * options.width
    below_bytes = size_bytes // options.width * (options.width + 400) * 2
    kinds = {"cat": 0, "below": below_bytes, "beyond": _BEYOND_BYTES}
    costs: dict[str, list[Cost]] = {kind: [] for kind in kinds}
    try:
        for _ in range(options.rounds):
            for kind, quota_bytes in kinds.items():
                costs[kind].append(_round(work, size_bytes, options.width, quota_bytes))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    _show(costs, size_bytes, options.width)
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--megabytes", type=int, default=200, help="printed in each run")
    parser.add_argument("--width", type=int, default=80, help="bytes of a line, its end included")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def _round(work: Path, size_bytes: int, width: int, quota_bytes: int) -> Cost:
    """Print so many bytes; no quota stands for the floor."""
    line = "x" * (width - 1)
    writer = f"yes {line} | head -c {size_bytes}"
    if not quota_bytes:
        return _timed(["sh", "-c", f"{writer} | cat > {work / 'floor'}"])
    folder = work / "1"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    spec = {
        "replicas": [{
            "task": _TASK, "role": "master", "index": 0, "cwd": str(work),
            "argv": ["sh", "-c", f"{writer}; echo the end"], "env": {"PATH": os.environ["PATH"]},
        }],
        "log_quota_bytes": quota_bytes,
    }  # fmt: skip
    (folder / "spec.json").write_text(json.dumps(spec))
    cost = _timed([sys.executable, "-I", "-S", supervisor.__file__, str(folder)])
    _check(work, quota_bytes, size_bytes // width)
    return cost


def _timed(argv: Sequence[str]) -> Cost:
    """Run to the end; the CPU time is that of the process and all that it waited for."""
    began_s = time.perf_counter()
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    _pid, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - began_s
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{argv[0]} ended with {process.returncode}")
    return Cost(wall_s, usage.ru_utime + usage.ru_stime)


def _check(work: Path, quota_bytes: int, printed: int) -> None:
    """Hold the log to its promises; the first line is the engine's, as are those after the end."""
    count, cursor, last = 0, "", [""] * 4
    while True:
        entries, cursor = logs.read(work, cursor=cursor, limit=100_000)
        if not entries:
            break
        count += len(entries)
        last = [*last, *(e.message for e in entries[-4:])][-4:]
    files = (work / "1").glob(f"{_TASK}.log*.jsonl")
    if sum(f.stat().st_size for f in files) > quota_bytes * 1.02:
        raise RuntimeError("the quota was exceeded")
    if quota_bytes != _BEYOND_BYTES:
        if count != printed + 4 or last[1] != "the end":
            raise RuntimeError(f"{printed:,} lines were printed, {count - 4:,} are in the log")
    elif not last[0].endswith("the end") or "lines of this log were dropped" not in last[3]:
        raise RuntimeError(f"the log ends with {last}")


def _show(costs: dict[str, list[Cost]], size_bytes: int, width: int) -> None:
    print(f"{size_bytes / 1e6:,.0f} MB in lines of {width} bytes; medians")
    print("| kind | MB/s | lines/s | CPU s | MB a CPU s |")
    print("| --- | --- | --- | --- | --- |")
    for kind, found in costs.items():
        wall_s = statistics.median(c.wall_s for c in found)
        cpu_s = max(statistics.median(c.cpu_s for c in found), _SHOWN_CPU_S)
        print(
            f"| {kind} | {size_bytes / 1e6 / wall_s:,.0f} | {size_bytes / width / wall_s:,.0f}"
            f" | {cpu_s:.2f} | {size_bytes / 1e6 / cpu_s:,.0f} |"
        )


if __name__ == "__main__":
    sys.exit(main())
