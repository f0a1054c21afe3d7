"""Who asks for metrics waits for their turn, and is told what was read before."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from mlengine.core.errors import Unavailable
from mlengine.training import looks
from mlengine.training.eventfiles import Budget
from mlengine.training.looks import Looks, Place
from mlengine.training.metrics import Metrics, Reading


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Reading]:
    """Every reading that was begun."""
    found: list[Reading] = []

    class Counted(Reading):
        def __init__(self) -> None:
            super().__init__()
            found.append(self)

    monkeypatch.setattr(looks, "Reading", Counted)
    return found


def place(folder: Path, *values: float) -> Place:
    path = folder / "hypertune" / "master-0.metrics"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"loss": str(v), "global_step": str(n), "timestamp": 1.0} for n, v in enumerate(values)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Place(None, [folder])


def test_what_was_read_is_read_on(tmp_path: Path, begun: list[Reading]) -> None:
    some = Looks()
    assert some.look("a", {"": place(tmp_path, 1.0)})[0].values == [1.0]
    assert some.look("a", {"": place(tmp_path, 1.0, 2.0)})[0].values == [1.0, 2.0]
    assert some.look("a", {"": place(tmp_path, 1.0, 2.0)}, tag="other") == []
    assert len(begun) == 1


def test_trials_are_runs_of_their_own(tmp_path: Path) -> None:
    places = {"": Place(None, []), "7": place(tmp_path, 0.5)}
    assert [s.run for s in Looks().look("a", places)] == ["7/master-replica-0"]


def test_what_was_asked_for_longest_ago_is_forgotten_first(
    tmp_path: Path, begun: list[Reading]
) -> None:
    some = Looks(most_kept=4)
    places = {uid: {"": place(tmp_path / uid, 1.0, 2.0)} for uid in "abc"}
    for uid in ("a", "b", "a", "c", "a"):
        some.look(uid, places[uid])
    assert len(begun) == 3
    some.look("b", places["b"])
    assert len(begun) == 4


def test_a_job_with_more_than_may_be_kept_is_answered_all_the_same(tmp_path: Path) -> None:
    some = Looks(most_kept=1)
    for _again in range(2):
        assert some.look("a", {"": place(tmp_path, 1.0, 2.0)})[0].points == 2


def test_one_job_is_read_at_a_time_and_who_waits_for_long_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, go_on = threading.Event(), threading.Event()

    class Slow(Reading):
        def look(self, *args: object, budget: Budget | None = None) -> Metrics:
            inside.set()
            assert go_on.wait(30)
            return Metrics([], False, {})

    monkeypatch.setattr(looks, "Reading", Slow)
    some = Looks(wait_s=0.01)
    first = threading.Thread(target=some.look, args=("a", {"": Place(None, [])}))
    first.start()
    assert inside.wait(30)
    with pytest.raises(Unavailable, match="being read"):
        some.look("b", {"": Place(None, [])})
    go_on.set()
    first.join()
    assert some.look("b", {"": Place(None, [])}) == []
