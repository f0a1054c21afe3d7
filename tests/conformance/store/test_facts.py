from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from mlengine.store import Store, open_store

_SAYERS = 8


def test_the_first_to_say_a_fact_is_believed_for_ever(store: Store, url: str) -> None:
    assert store.newest_event() is None
    assert store.fact("folder", "a") == "a"
    assert store.fact("folder", "b") == "a"
    assert store.fact("other", "b") == "b"
    again = open_store(url)
    assert again.fact("folder", "c") == "a"
    again.close()
    assert [e.kind for e in store.events()] == ["fact.added", "fact.added"]


def test_of_many_at_once_one_is_believed_by_all(url: str, store: Store) -> None:
    stores = [open_store(url) for _ in range(_SAYERS)]
    start = threading.Barrier(_SAYERS)

    def say(number: int) -> str:
        start.wait()
        return stores[number].fact("folder", str(number))

    with ThreadPoolExecutor(_SAYERS) as sayers:
        heard = set(sayers.map(say, range(_SAYERS)))
    for opened in stores:
        opened.close()
    assert len(heard) == 1
    assert store.fact("folder", "late") in heard
