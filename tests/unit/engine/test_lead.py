from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlengine.engine.lead import Lead
from mlengine.store import Store, StoreAway, open_store


class Turns:
    """Gives the lead as it was told to, then keeps to the last."""

    def __init__(self, *answers: bool | None) -> None:
        self._answers = list(answers)

    def lead(self) -> bool:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if answer is None:
            raise StoreAway("The database is away.")
        return answer


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path}/engine.db")
    yield opened
    opened.close()


def test_the_only_engine_of_a_file_leads(store: Store) -> None:
    assert Lead(store).held()


def test_a_step_of_the_leader_is_run_by_the_leader_only(store: Store) -> None:
    done: list[int] = []
    turns = Turns(False, True, None, True)
    step = Lead(turns).only(lambda: done.append(1))  # type: ignore[arg-type]
    counts = []
    for _turn in range(4):
        step()
        counts.append(len(done))
    assert counts == [0, 1, 1, 2]


def test_a_change_of_the_lead_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    lead = Lead(Turns(True, True, False, False, True, True))  # type: ignore[arg-type]
    with caplog.at_level(logging.INFO, logger="mlengine.engine.lead"):
        for _turn in range(6):
            lead.held()
    assert [("This engine leads" in r.message) for r in caplog.records] == [True, False, True]


def test_a_step_keeps_its_name_for_the_log(store: Store) -> None:
    assert Lead(store).only(store.close).__qualname__ == "SqlStore.close"
