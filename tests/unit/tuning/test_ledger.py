"""The books of a study against a model of them, through everything that a client may do."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mlengine.core.errors import FailedPrecondition, NotFound
from mlengine.core.studies import Measurement, MetricValue, Trial, TrialParameter
from tests.unit.tuning.studycases import GRID, Service

CLIENTS = st.sampled_from(["a", "b", "c"])
PENDING = ("ACTIVE", "STOPPING")
TRIALS = st.integers(1, 12)


class Ledger(RuleBasedStateMachine):
    """A grid of 24 points; `self.books` is trial → (state, client, value, measurements)."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="mlengine-ledger-"))
        self.service = Service(self.folder)
        self.service.make(GRID, algorithm="GRID_SEARCH")
        self.books: dict[int, list[object]] = {}
        self.last = 0

    def teardown(self) -> None:
        self.service.close()
        shutil.rmtree(self.folder)

    def held(self, client: str) -> list[int]:
        return [n for n, (state, owner, *_) in self.books.items()
                if state in PENDING and owner == client]  # fmt: skip

    @rule(client=CLIENTS, count=st.integers(1, 3))
    def suggest(self, client: str, count: int) -> None:
        held = self.held(client)[:count]
        found = [int(t.name.rpartition("/")[2]) for t in self.service.suggest(client, count)]
        requested = [n for n, book in self.books.items() if book[0] == "REQUESTED"]
        taken = requested[: count - len(held)]
        fresh = found[len(held) + len(taken) :]
        assert found == held + taken + fresh
        assert fresh == list(range(self.last + 1, self.last + 1 + len(fresh)))
        for number in taken + fresh:
            self.books[number] = ["ACTIVE", client, None, 0]
        self.last += len(fresh)

    @rule(point=st.integers(1, 24))
    def wish(self, point: int) -> None:
        trial = Trial(parameters=[TrialParameter(parameter="n", int_value=point)])
        try:
            self.service.studies.create_trial("p", "local", "s", trial)
        except FailedPrecondition:  # every point was tried, and the study is over
            return
        self.last += 1
        self.books[self.last] = ["REQUESTED", "", None, 0]

    @rule(number=TRIALS, value=st.floats(-1, 1))
    def complete(self, number: int, value: float) -> None:
        book = self.books.get(number)
        try:
            self.service.complete(str(number), value)
        except (FailedPrecondition, NotFound):
            assert book is None or book[0] == "COMPLETED"
            return
        assert book is not None
        book[0], book[2] = "COMPLETED", value

    @rule(number=TRIALS)
    def measure(self, number: int) -> None:
        book = self.books.get(number)
        point = Measurement(metrics=[MetricValue(metric="loss", value=1.0)])
        try:
            self.service.studies.add_measurement("p", "local", "s", str(number), point)
        except (FailedPrecondition, NotFound):
            assert book is None or book[0] not in PENDING
            return
        assert book is not None
        book[3] = int(str(book[3])) + 1

    @rule(number=TRIALS)
    def stop(self, number: int) -> None:
        book = self.books.get(number)
        try:
            self.service.studies.stop("p", "local", "s", str(number))
        except (FailedPrecondition, NotFound):
            assert book is None or book[0] not in PENDING
            return
        assert book is not None
        book[0] = "STOPPING"

    @precondition(lambda self: self.books)
    @rule(number=TRIALS)
    def delete(self, number: int) -> None:
        if number in self.books:
            self.service.studies.delete_trial("p", "local", "s", str(number))
            del self.books[number]

    @rule()
    def restart(self) -> None:
        self.service.close()
        self.service = Service(self.folder)

    @invariant()
    def the_books_agree(self) -> None:
        found = {
            int(t.name.rpartition("/")[2]): [
                t.state,
                t.client_id,
                t.final_measurement.metrics[0].value if t.final_measurement else None,
                len(t.measurements),
            ]
            for t in self.service.trials()
        }
        assert found == dict(sorted(self.books.items()))


Ledger.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestLedger = Ledger.TestCase
