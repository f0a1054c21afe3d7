"""Study configurations that tests share, and a service over a store of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlengine.core.clock import SystemClock
from mlengine.core.resources import Operation
from mlengine.core.studies import CompleteTrialRequest, Study, SuggestTrialsRequest, Trial
from mlengine.core.wire import decode
from mlengine.store import Store, open_store
from mlengine.tuning.advisor import Advisor
from mlengine.tuning.studies import Studies
from tests.waiting import wait_until

__all__ = ["DOUBLE", "GRID", "Service", "config", "study"]

DOUBLE: dict[str, Any] = {
    "parameter": "x",
    "type": "DOUBLE",
    "doubleValueSpec": {"minValue": -1, "maxValue": 1},
}
GRID: dict[str, Any] = {
    "parameter": "n",
    "type": "INTEGER",
    "integerValueSpec": {"minValue": "1", "maxValue": "24"},
}


def config(*parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a configuration: one metric to minimise, at random, unless `more` says otherwise."""
    metrics = [{"metric": "loss", "goal": "MINIMIZE"}]
    found = {"metrics": metrics, "algorithm": "RANDOM_SEARCH", "parameters": list(parameters)}
    return found | more


def study(*parameters: dict[str, Any], **more: Any) -> Study:
    """Return a study that is to be made."""
    return decode(Study, {"studyConfig": config(*parameters, **more)}, at="study")


class Service:
    """The service over a database; every call is about the study ``s``."""

    def __init__(self, folder: Path, *, advisor: Advisor | None = None) -> None:
        self.url = f"sqlite:///{folder / 'engine.db'}"
        self.store: Store = open_store(self.url)
        clock = SystemClock()
        self.advisor = advisor or Advisor(clock)
        self.studies = Studies(self.store, self.advisor, clock=clock)

    def close(self) -> None:
        self.studies.close()
        self.store.close()

    def make(self, *parameters: dict[str, Any], **more: Any) -> Study:
        return self.studies.create("p", "local", "s", study(*parameters, **more))

    def suggest(self, client: str = "me", count: int = 1) -> list[Trial]:
        request = SuggestTrialsRequest(client_id=client, suggestion_count=count)
        operation = self.studies.suggest("p", "local", "s", request)
        found = self.ended(operation.name.rpartition("/")[2]).response or {}
        return [decode(Trial, trial, at="trial") for trial in found.get("trials", ())]

    def ended(self, operation_id: str) -> Operation:
        def done() -> bool:
            return self.store.operation("p", operation_id).operation.done

        wait_until(done, message=f"{operation_id} is done")
        return self.store.operation("p", operation_id).operation

    def trials(self) -> list[Trial]:
        return self.studies.trials("p", "local", "s")

    def complete(self, trial: str, value: float | str | None = None, **more: Any) -> Trial:
        body: dict[str, Any] = dict(more)
        if value is not None:
            body["finalMeasurement"] = {"metrics": [{"metric": "loss", "value": value}]}
        request = decode(CompleteTrialRequest, body, at="request")
        return self.studies.complete("p", "local", "s", trial, request)
