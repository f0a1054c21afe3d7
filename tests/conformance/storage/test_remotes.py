"""What only stores behind a network can do wrong, on real servers: cuts, races, lists, rests."""

from __future__ import annotations

import contextlib
import datetime
import os
import random
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mlengine.core.errors import Aborted, EngineError, Unavailable
from mlengine.storage.backends.gcs import GcsStore
from mlengine.storage.backends.remote import RemoteBackend, open_remote
from mlengine.storage.backends.remotes import IN_ONE_CALL_BYTES, Spool
from mlengine.storage.gcs.conditions import Conditions
from mlengine.storage.gcs.messages import ConditionNotMet
from mlengine.storage.gcs.remoteshelf import RemoteShelf
from mlengine.storage.paths import Backing
from mlengine.storage.records import ObjectRecord
from tests.conformance.storage.pagers import pager
from tests.live.objectstores import KEYS, environment, gcs_environment, s3_environment
from tests.live.relays import Relay
from tests.unit.storage.sidecar.conftest import OFFLINE, RunningSidecar

KINDS = ["gcs", "s3"]
LARGE = IN_ONE_CALL_BYTES + (5 << 20)
OLD = b"old" * 1000


def variables(kind: str, url: str) -> dict[str, str]:
    return gcs_environment(url) if kind == "gcs" else s3_environment(url)


def opened(kind: str, place: str, url: str = "") -> RemoteBackend:
    """Open a bucket, at another URL than the session's if one is given."""
    with environment(variables(kind, url)) if url else contextlib.nullcontext():
        return open_remote(Backing(kind, f"conformance/{place}"), bucket="data")


@pytest.fixture
def place() -> str:
    return secrets.token_hex(8)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextlib.contextmanager
def relayed(url: str, budgets: Callable[[], int | None]) -> Iterator[Relay]:
    relay = Relay(url, budgets)
    yield relay
    relay.close()


def body_of(backend: RemoteBackend, name: str) -> bytes:
    with backend.open_read(name) as file:
        return file.read()


# --- cut connections ----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_an_upload_that_is_cut_shows_the_old_object_or_the_new_one(
    stores: dict[str, str], kind: str, seed: int, place: str
) -> None:
    if kind == "s3" and seed > 2:
        pytest.skip("moto is slow")
    chance = random.Random(seed)
    size = chance.choice([1000, 5 << 20, LARGE])
    new = chance.randbytes(size)
    budgets = [chance.randrange(size + 2000) for _turn in range(chance.randrange(1, 4))]
    direct = opened(kind, place)
    direct.write("x", [OLD])
    with relayed(stores[kind], lambda: budgets.pop() if budgets else None) as relay:
        opened(kind, place, relay.url).write("x", [new])
        assert relay.cuts
    assert body_of(direct, "x") == new


def test_an_upload_that_never_gets_through_leaves_the_old_object(
    stores: dict[str, str], kind: str, place: str
) -> None:
    direct = opened(kind, place)
    direct.write("x", [OLD])
    chance = random.Random(place)
    with relayed(stores[kind], lambda: chance.randrange(LARGE // 2)) as relay:
        with pytest.raises(Unavailable) as refused:
            opened(kind, place, relay.url).write("x", [bytes(LARGE)])
    assert relay.url not in str(refused.value)
    assert body_of(direct, "x") == OLD
    assert [info.name for info in direct.list()] == ["x"]


def test_what_is_read_over_a_connection_that_breaks_is_whole(
    stores: dict[str, str], kind: str, place: str
) -> None:
    content = random.Random(1).randbytes(6 << 20)
    opened(kind, place).write("x", [content])
    budgets = [1 << 20, 3 << 20]
    with relayed(stores[kind], lambda: budgets.pop() if budgets else None) as relay:
        with opened(kind, place, relay.url).open_read("x") as file:
            assert file.read() == content
        assert relay.cuts


def test_what_is_replaced_while_a_connection_breaks_is_never_mixed(
    stores: dict[str, str], kind: str, place: str
) -> None:
    direct = opened(kind, place)
    direct.write("x", [b"a" * (6 << 20)])
    is_replaced = threading.Event()
    # Whichever connection carries the old one is cut, however many a slow machine needs before.
    with relayed(stores[kind], lambda: None if is_replaced.is_set() else 2 << 20) as relay:
        with opened(kind, place, relay.url).open_read("x") as file:
            assert file.read(1000) == b"a" * 1000
            direct.write("x", [b"b" * (6 << 20)])
            is_replaced.set()
            with pytest.raises(Aborted, match="was replaced"):
                file.read()


def test_an_upload_goes_on_where_it_was_cut_if_the_server_can_say_where(tmp_path: Path) -> None:
    """As Google's does, and our own API; an emulator is sent everything again."""
    with contextlib.closing(RunningSidecar(tmp_path, OFFLINE)) as sidecar:
        budgets = [11 << 20]
        origin = f"http://127.0.0.1:{sidecar.port}"
        with relayed(origin, lambda: budgets.pop() if budgets else None) as relay:
            with environment(gcs_environment(f"{relay.url}/{sidecar.secret}")):
                store = GcsStore("mine", "", str, resumes=True)
            content = random.Random(2).randbytes(LARGE)
            with contextlib.closing(Spool()) as spool:
                spool.append(content)
                store.put("large", spool, ObjectRecord())
            assert relay.cuts == 1
            assert relay.carried < LARGE + (9 << 20)  # at most a chunk of 8 MiB went twice
        assert sidecar.read("large") == content


# --- preconditions ------------------------------------------------------------------------------


def spooled(content: bytes) -> Spool:
    spool = Spool()
    spool.append(content)
    return spool


def test_a_write_happens_only_on_the_version_that_it_names(kind: str, place: str) -> None:
    store = opened(kind, place).store
    first = store.put("x", spooled(b"1"), ObjectRecord(), only_if="")
    with pytest.raises(Aborted):
        store.put("x", spooled(b"2"), ObjectRecord(), only_if="")
    second = store.put("x", spooled(b"22"), ObjectRecord(), only_if=first.version)
    with pytest.raises(Aborted):
        store.put("x", spooled(b"3"), ObjectRecord(), only_if=first.version)
    assert store.head("x") == second
    assert second.generation != first.generation
    with pytest.raises(Aborted):
        store.read(first, 0)


def test_of_several_that_make_an_object_one_does(kind: str, place: str) -> None:
    made: list[int] = []

    def make(number: int) -> None:
        with contextlib.suppress(ConditionNotMet):
            draft = shelf.draft("lock")
            draft.append(str(number).encode())
            shelf.commit(draft, ObjectRecord(), Conditions(generation=0))
            made.append(number)

    backend = opened(kind, place)
    shelf = RemoteShelf(backend, "data")
    threads = [threading.Thread(target=make, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert body_of(backend, "lock") == str(made[0]).encode()
    assert len(made) == 1


def test_no_change_of_several_writers_is_lost(kind: str, place: str) -> None:
    turns = 3

    def count() -> None:
        for _turn in range(turns):
            while True:
                file, before = shelf.open("count")
                assert file is not None
                with file:
                    value = int(file.read())
                draft = shelf.draft("count")
                draft.append(str(value + 1).encode())
                try:
                    shelf.commit(draft, ObjectRecord(), Conditions(generation=before.generation))
                    break
                except ConditionNotMet:
                    continue

    backend = opened(kind, place)
    backend.write("count", [b"0"])
    shelf = RemoteShelf(backend, "data")
    threads = [threading.Thread(target=count) for _number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert body_of(backend, "count") == str(turns * 3).encode()


# --- leftovers and long lists -------------------------------------------------------------------


def test_uploads_that_were_never_finished_are_ended_and_younger_ones_are_not(place: str) -> None:
    backend = opened("s3", place)
    client = backend.store._client  # type: ignore[attr-defined]
    where = {"Bucket": "conformance", "Key": f"{place}/large"}
    client.create_multipart_upload(**where)
    now_s = datetime.datetime.fromisoformat("2100-01-01T00:00:00Z").timestamp()
    century_s = 100 * 366 * 86400.0
    assert backend.sweep(older_than_s=century_s, now_s=now_s) == 0
    assert backend.sweep(older_than_s=3600, now_s=now_s) == 1
    left = client.list_multipart_uploads(Bucket="conformance", Prefix=place)
    assert not left.get("Uploads")


LISTS = """
import itertools, resource, sys
from mlengine.storage.backends.remote import open_remote
from mlengine.storage.paths import Backing
found = open_remote(Backing(sys.argv[1], "many"), bucket="data").list()
count = sum(1 for _info in itertools.islice(found, 3000))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
count += sum(1 for _info in found)
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize(("kind", "objects"), [("gcs", 100_000), ("s3", 20_000)])
def test_a_list_of_100_000_objects_holds_a_page_at_a_time(kind: str, objects: int) -> None:
    with pager(objects) as (url, sizes):
        listing = subprocess.run(
            [sys.executable, "-c", LISTS, kind], env={**os.environ, **variables(kind, url)},
            capture_output=True, text=True, timeout=200, check=True,
        )  # fmt: skip
        count, grown_kib = map(int, listing.stdout.split())
        assert count == objects
        # Of 100,000, the names and times alone take 21,000.
        assert kind == "s3" or grown_kib < 12_000
        assert len(sizes) == objects // 1000
        sizes.clear()
        behind = opened(kind, "", url).list(after=f"big/o{objects - 2:06}")
        assert not sizes
        assert [info.name for info in behind] == [f"big/o{objects - 1:06}"]
        assert len(sizes) == 1


# --- secrets ------------------------------------------------------------------------------------


def test_no_error_quotes_an_address_or_a_key(kind: str, place: str) -> None:
    hidden = "http://127.0.0.1:9/hidden-path"
    with environment(variables(kind, hidden)):
        backend = open_remote(Backing(kind, f"conformance/{place}"), bucket="data")
    with pytest.raises(EngineError) as caught:
        backend.stat("x")
    assert isinstance(caught.value, Unavailable)
    assert caught.value.__cause__ is None
    for secret in ("127.0.0.1", "hidden", *KEYS.values()):
        assert secret not in f"{caught.value!r} {caught.value}"
