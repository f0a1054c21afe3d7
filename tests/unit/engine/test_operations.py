"""Cancelling an operation that ends at the same moment; and where an engine is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlengine.core.errors import OutOfRange
from mlengine.engine.local import LocalEngine
from mlengine.engine.settings import Settings
from mlengine.store import OperationRecord, Store, open_store
from tests.fakes.clock import PlayedClock


class _EndsWhenRead:
    """A store in which an operation ends as soon as somebody has looked at it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def operation(self, project: str, operation_id: str) -> OperationRecord:
        found = self._store.operation(project, operation_id)
        self._store.finish_operation(project, operation_id, response={"name": "v1"})
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def _engine(home: Path, store: Any = None) -> LocalEngine:
    unused: Any = None
    return LocalEngine(
        Settings(home=home), store, unused, unused, unused, unused, unused, unused, unused,
        unused, clock=PlayedClock(), page_key=b"k" * 32, leading=lambda: True,
    )  # fmt: skip


def test_an_operation_that_ends_while_it_is_cancelled_stays_as_it_ended(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'engine.db'}")
    store.add_operation("p", "op-1", {"operationType": "CREATE_VERSION"})
    engine = _engine(tmp_path, _EndsWhenRead(store))
    engine.cancel_operation("p", "op-1")
    operation = store.operation("p", "op-1").operation
    assert operation.done
    assert operation.response == {"name": "v1"}
    assert "isCancellationRequested" not in operation.metadata
    store.close()


def test_locations_come_in_pages(tmp_path: Path) -> None:
    engine = _engine(tmp_path)
    whole = [location.name for location in engine.list_locations("p").items]
    found, token = [], ""
    for _page in whole:
        page = engine.list_locations("p", page_size=1, page_token=token)
        (one,), token = page.items, page.next_page_token
        found.append(one.name)
    assert found == whole
    assert token == engine.list_locations("p").next_page_token == ""
    with pytest.raises(OutOfRange):
        engine.list_locations("p", page_token="made-up")


def test_a_project_that_is_called_by_its_number_is_told_it(tmp_path: Path) -> None:
    engine = _engine(tmp_path)
    assert engine.get_config("191212").service_account_project == 191212
    assert not engine.get_config("demos-191212").service_account_project
