"""The demo's loop, by the same commands, on engines that others keep.

Replicas run on a Ray cluster of three nodes, records are in PostgreSQL, bytes in a server that
speaks Google Cloud Storage's API. All three are started here on loopback, from packages, and ended
again. Run as ``python -m scripts.demo_cluster``, for the starters are those of the tests.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
import time
from pathlib import Path

from scripts.demo import Demo, run
from scripts.raycluster import ray_cluster
from tests.live.objectstores import fake_gcs, gcs_environment
from tests.live.postgres import missing, postgres_server

NODES = 3


def main() -> int:
    """Run the demo; return the exit status."""
    if problem := missing():
        print(f"ERROR: {problem}", file=sys.stderr)
        return 1
    home = Path(tempfile.mkdtemp(prefix="mlengine-demo-"))
    try:
        with contextlib.ExitStack() as servers:
            began_s = time.monotonic()
            print("Starting PostgreSQL, an object store and a Ray cluster ...", file=sys.stderr)
            postgres = servers.enter_context(postgres_server())
            store = servers.enter_context(fake_gcs(home, "team-bucket"))
            cluster = servers.enter_context(ray_cluster(nodes=NODES))
            print(f"... ready after {time.monotonic() - began_s:.0f} s.", file=sys.stderr)
            variables = {
                **gcs_environment(store),
                **cluster.variables,
                "MLENGINE_DATABASE": postgres.url(postgres.new_database("demo")),
                "MLENGINE_BACKEND": cluster.address,
            }
            demo = Demo(home, variables=variables, backing="gcs://team-bucket/mlengine")
            if run(demo, home):
                return 1
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print("\n  cat docs/scale-out.md           # the same with servers of your own")
    return 0


if __name__ == "__main__":
    sys.exit(main())
