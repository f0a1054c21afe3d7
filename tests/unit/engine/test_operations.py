"""Cancelling an operation that ends at the same moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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


def test_an_operation_that_ends_while_it_is_cancelled_stays_as_it_ended(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'engine.db'}")
    store.add_operation("p", "op-1", {"operationType": "CREATE_VERSION"})
    unused: Any = None
    racing: Any = _EndsWhenRead(store)
    engine = LocalEngine(
        Settings(home=tmp_path), racing, unused, unused, unused, unused, unused, unused, unused,
        unused, clock=PlayedClock(), page_key=b"k" * 32, leading=lambda: True,
    )  # fmt: skip
    engine.cancel_operation("p", "op-1")
    operation = store.operation("p", "op-1").operation
    assert operation.done
    assert operation.response == {"name": "v1"}
    assert "isCancellationRequested" not in operation.metadata
    store.close()
