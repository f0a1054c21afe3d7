"""Starts a batch prediction confined: its model is as little trusted as a worker's.

    python -m mlengine.runtime.batchstart SPEC.json

It may read its model, its input files and its libraries, and write to the folder of its progress
and output, to that of its shards, and to the one that it works in. It is confined before anything
heavy is imported, for Landlock confines the thread that asks, and libraries start threads.

Standard library only until then, Python >= 3.7.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from mlengine.runtime.confine import confine
from mlengine.runtime.manifest import manifest_of

__all__ = ["main", "plan_of"]


def main(argv: list[str]) -> int:
    """Run the batch that a specification file describes, confined; return the exit status."""
    if len(argv) != 1:
        print("usage: python -m mlengine.runtime.batchstart SPEC.json", file=sys.stderr)
        return 2
    plan = plan_of(json.loads(Path(argv[0]).read_bytes()), argv[0])
    for folder in plan["write"]:
        Path(folder).mkdir(parents=True, exist_ok=True)
    os.environ.update(HOME=str(Path.cwd()), TMPDIR=str(Path.cwd()))
    for gap in confine(plan):
        print(f"not confined in full: {gap}", file=sys.stderr)
    return int(importlib.import_module("mlengine.runtime.batch").main(argv))


def plan_of(spec: dict[str, Any], file: str) -> dict[str, Any]:
    """Return how the batch of a specification is confined.

    Args:
        spec: As `mlengine.runtime.batch` takes it.
        file: Where it lies.
    """
    package = Path(__file__).resolve().parents[2]
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    imports = [path for path in sys.path if path and Path(path) != Path.cwd()]
    return {
        "read": [
            spec["artifact"], str(manifest_of(Path(spec["artifact"]))), *spec["inputs"], file,
            sys.prefix, sys.base_prefix,
            str(Path(sys.executable).resolve().parents[1]), str(package), *imports,
            *filter(None, libraries),
        ],
        "write": [
            str(Path(spec["progress"]).parent), str(Path(spec["shards_dir"]).parent),
            str(Path.cwd()),
        ],
        "network": bool(spec.get("network")),
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
