"""The floor: the library's own call, with no server around it.

`python bare.py MODEL FOLDER INSTANCES SECONDS` prints calls a second and CPU time of one.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from answering import load

name, folder = sys.argv[1], Path(sys.argv[2])
count, seconds = int(sys.argv[3]), float(sys.argv[4])
answer = load(name, folder)
rows = json.loads((folder / name / "rows.json").read_bytes())["instances"]
while len(rows) < count:
    rows = rows * 2
answer(rows[:count])
calls, cpu_s, begin_s = 0, time.process_time(), time.perf_counter()
while (taken_s := time.perf_counter() - begin_s) < seconds:
    at = (calls * count) % (len(rows) - count + 1)
    answer(rows[at : at + count])
    calls += 1
used_us = (time.process_time() - cpu_s) / max(calls, 1) * 1e6
print(json.dumps({"requests_per_s": calls / taken_s, "cpu_us": used_us}))
