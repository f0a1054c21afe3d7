"""What a bucket in an object store costs: seconds of each call, beside a folder's.

Runs ``python -m benchmarks.objectstores``. Starts fake-gcs-server and moto on loopback, or measures
``--backing gcs://BUCKET/PREFIX`` (once more for others) as the environment reaches it. Each bucket
in turns: write and read small objects, write and read a large one, list a thousand names. On
loopback the figures are what our side, and those servers, cost; a network adds its own.
"""

from __future__ import annotations

import argparse
import contextlib
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mlengine.core.resources import Bucket
from mlengine.storage import Buckets
from tests.fakes.bucket_table import BucketTableFake
from tests.live.objectstores import (
    environment,
    fake_gcs,
    gcs_environment,
    moto_s3,
    s3_environment,
)

_SMALL = b"x" * 1000
_LARGE_BYTES = 64 << 20
_CHUNK = b"y" * (1 << 20)


def main() -> int:
    """Measure and show."""
    parser = argparse.ArgumentParser(prog="benchmarks.objectstores")
    parser.add_argument("--backing", action="append", default=[])
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        backings = options.backing
        if not backings:
            gcs = stack.enter_context(fake_gcs(folder, "bench"))
            s3 = stack.enter_context(moto_s3("bench"))
            stack.enter_context(environment({**gcs_environment(gcs), **s3_environment(s3)}))
            backings = ["gcs://bench/x", "s3://bench/x"]
        print(f"{'bucket':<16}{'put 1 kB':>12}{'get 1 kB':>12}{'list 1000':>12}"
              f"{'put 64 MiB':>12}{'get 64 MiB':>12}")  # fmt: skip
        for backing in ["", *backings]:
            _measure(folder, backing, options.rounds)
    return 0


def _measure(folder: Path, backing: str, rounds: int) -> None:
    buckets = Buckets(BucketTableFake(), folder / "buckets")
    name = f"b{secrets.token_hex(4)}"
    buckets.create(Bucket(name=name, backing=backing))
    base = f"gs://{name}/{secrets.token_hex(4)}"

    def read(uri: str) -> None:
        with buckets.open_read(uri) as file:
            while file.read(1 << 20):
                pass

    puts = [_timed(partial(buckets.write, f"{base}/small/{n}", [_SMALL])) for n in range(rounds)]
    gets = [_timed(partial(read, f"{base}/small/{n}")) for n in range(rounds)]
    for number in range(rounds, 1000 if rounds >= 30 else rounds):
        buckets.write(f"{base}/small/{number}", [_SMALL])
    prefix = base.removeprefix(f"gs://{name}/")
    lists = [_timed(lambda: buckets.objects(name, prefix=prefix)) for _turn in range(5)]
    large = _timed(lambda: buckets.write(f"{base}/large", [_CHUNK] * (_LARGE_BYTES >> 20)))
    back = _timed(lambda: read(f"{base}/large"))
    for info in buckets.objects(name, prefix=prefix):
        buckets.delete_object(f"gs://{name}/{info.name}")
    figures = [*map(statistics.median, (puts, gets, lists)), large, back]
    print(f"{backing or 'a folder':<16}" + "".join(f"{1000 * s:>10.1f}ms" for s in figures))


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    raise SystemExit(main())
