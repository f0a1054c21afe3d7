"""A listing of very many objects in an object store: how long it takes, and what the engine holds.

Runs ``python -m benchmarks.listing [--objects N] [--store gcs] [--store s3]``. Starts
fake-gcs-server and moto on loopback with N objects each, and an engine with a bucket in it; then a
client lists the bucket page by page, through the engine, and counts what comes. Fails unless that
is every object, once and in order. The engine's memory is read from the kernel: its peak counts
whatever it held for a moment.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from mlengine.core.resources import Bucket
from tests.live.engines import LiveEngine, live_engine
from tests.live.objectstores import (
    environment,
    fake_gcs,
    gcs_environment,
    moto_s3,
    s3_environment,
)

_STORE = "bench"
_PAGE = 1000
_ATTRIBUTES = "user.metadata"  # where fake-gcs-server keeps what it says of a file


class _Listing(NamedTuple):
    objects: int
    pages: int
    seconds: float
    before_bytes: int
    peak_bytes: int


def main() -> int:
    """Measure and show."""
    parser = argparse.ArgumentParser(prog="benchmarks.listing")
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--store", action="append", choices=_STORES)
    options = parser.parse_args()
    names = [f"ml/many/{number // 1000:04}/o{number:07}" for number in range(options.objects)]
    print(f"{'bucket':<16}{'objects':>10}{'pages':>8}{'seconds':>10}{'objects/s':>12}"
          f"{'before MiB':>12}{'peak MiB':>10}{'growth MiB':>12}")  # fmt: skip
    for scheme in options.store or _STORES:
        backing = f"{scheme}://{_STORE}/ml"
        with tempfile.TemporaryDirectory() as name, _STORES[scheme](Path(name), names) as variables:
            with environment(variables), live_engine(Path(name) / "home") as engine:
                _show(backing, _listed(engine, backing, options.objects))
    return 0


@contextlib.contextmanager
def _gcs(folder: Path, names: list[str]) -> Iterator[dict[str, str]]:
    files = folder / "files"
    files.mkdir()
    with fake_gcs(folder, _STORE, files=files) as url:
        first, *others = (files / _STORE / name for name in names)
        _upload(url, names[0])
        attributes = os.getxattr(first, _ATTRIBUTES)
        for path in others:  # as if each had been uploaded, in seconds
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            os.setxattr(path, _ATTRIBUTES, attributes)
        yield gcs_environment(url)


@contextlib.contextmanager
def _s3(_folder: Path, names: list[str]) -> Iterator[dict[str, str]]:
    with moto_s3(_STORE) as url:
        from moto.s3.models import s3_backends  # its server runs in this very process

        store = next(b["aws"] for _, b in s3_backends.items() if _STORE in b["aws"].buckets)
        for name in names:
            store.put_object(_STORE, name, b"")
        yield s3_environment(url)


_STORES = {"gcs": _gcs, "s3": _s3}


def _upload(url: str, name: str) -> None:
    place = f"{url}/upload/storage/v1/b/{_STORE}/o?uploadType=media&name={quote(name, safe='')}"
    asked = urllib.request.Request(place, b"", {"Content-Type": "text/plain"}, method="POST")
    with urllib.request.urlopen(asked, timeout=60) as answer:
        answer.read()


def _listed(engine: LiveEngine, backing: str, objects: int) -> _Listing:
    engine.client.create_bucket(Bucket(name="far", backing=backing))
    engine.client.list_objects("far", page_size=_PAGE)  # what the first one loads is no growth
    before, began_s = _memory(engine.pid, "VmRSS"), time.perf_counter()
    seen, pages, token, last = 0, 0, "", ""
    while True:
        page = engine.client.list_objects("far", page_size=_PAGE, page_token=token)
        for found in page.items:
            if found.name <= last:
                raise SystemExit(f"{backing}: {found.name} came after {last}")
            last, seen = found.name, seen + 1
        pages, token = pages + 1, page.next_page_token
        if not token:
            break
    seconds = time.perf_counter() - began_s
    if seen != objects:
        raise SystemExit(f"{backing}: {seen} objects came instead of {objects}")
    return _Listing(seen, pages, seconds, before, _memory(engine.pid, "VmHWM"))


def _memory(pid: int, name: str) -> int:
    with contextlib.closing(Path(f"/proc/{pid}/status").open()) as status:
        (line,) = (line for line in status if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def _show(backing: str, listing: _Listing) -> None:
    before, peak = listing.before_bytes / 2**20, listing.peak_bytes / 2**20
    print(f"{backing:<16}{listing.objects:>10,}{listing.pages:>8}{listing.seconds:>10.1f}"
          f"{listing.objects / listing.seconds:>12,.0f}{before:>12.1f}{peak:>10.1f}"
          f"{peak - before:>12.1f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
