"""Of the stores that have one database open at most one leads; a crash passes the lead on."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection

import pytest

from mlengine.store import Store, open_store
from tests.conformance.store.technologies import Technology
from tests.waiting import wait_until


@pytest.fixture
def rivals(store: Store, technology: Technology, url: str) -> Iterator[list[Store]]:
    """The stores of every engine of the database, one of them `store`."""
    others = [open_store(url) for _ in range(technology.engines - 1)]
    yield [store, *others]
    for other in others:
        other.close()


def test_the_first_to_ask_leads_and_keeps_leading(rivals: list[Store]) -> None:
    assert [rival.lead() for rival in rivals] == [True] + [False] * (len(rivals) - 1)
    assert [rival.lead() for rival in reversed(rivals)] == [False] * (len(rivals) - 1) + [True]


def test_of_many_that_ask_at_once_one_leads(rivals: list[Store]) -> None:
    with ThreadPoolExecutor(8 * len(rivals)) as pool:
        asked = [rival for _ in range(8) for rival in rivals]
        answers = list(pool.map(lambda rival: (id(rival), rival.lead()), asked))
    leaders = {who for who, leads in answers if leads}
    assert len(leaders) == 1
    assert all(leads == (who in leaders) for who, leads in answers)


def test_a_lead_that_is_let_go_passes_on(
    store: Store, technology: Technology, rivals: list[Store]
) -> None:
    assert store.lead()
    store.close()
    if technology.engines > 1:
        wait_until(rivals[1].lead)
        assert not rivals[2].lead()
        assert not store.lead()


def test_databases_are_led_one_by_one(
    store: Store, technology: Technology, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = open_store(technology.new_url(tmp_path_factory.mktemp("other")))
    assert store.lead()
    assert other.lead()
    other.close()


def lead_until_killed(url: str, leads: Connection) -> None:
    store = open_store(url)
    leads.send(store.lead())
    leads.poll(None)  # for ever


def test_a_leader_that_is_killed_leads_no_more(store: Store, url: str) -> None:
    context = multiprocessing.get_context("forkserver")
    mine, its = context.Pipe()
    process = context.Process(target=lead_until_killed, args=(url, its))
    process.start()
    assert mine.poll(30)
    assert mine.recv()
    process.kill()
    process.join(60)
    wait_until(store.lead)
