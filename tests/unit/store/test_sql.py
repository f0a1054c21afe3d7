from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from mlengine.core.clock import SystemClock
from mlengine.core.errors import InvalidArgument
from mlengine.core.resources import Bucket
from mlengine.store.sql import SqlStore


class StoppedClock(SystemClock):
    def now(self) -> datetime.datetime:
        return datetime.datetime(2018, 3, 2, 6, 50, 6, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    "url",
    [
        "engine.db",
        "",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:////tmp/engine.db?mode=ro",
        "mysql://me:secret@localhost/engine",
        "postgresql+psycopg2://me:secret@localhost/engine",
        "postgresql://me:secret@localhost",
        "postgresql://me:sec@ret@localhost/engine",
        "postgresql://me:secret@localhost:port/engine",
        "postgresql://me:secret@localhost/engine?mode=secret",
    ],
)
def test_a_url_that_names_no_usable_database_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InvalidArgument, match=r"sqlite|postgresql") as refusal:
        SqlStore.open(url)
    assert "sec" not in str(refusal.value)


def test_events_carry_the_time_of_the_clock_that_was_given(tmp_path: Path) -> None:
    store = SqlStore.open(f"sqlite:///{tmp_path}/engine.db", clock=StoppedClock())
    store.add_bucket(Bucket(name="b-1"))
    assert [event.time for event in store.events()] == ["2018-03-02T06:50:06Z"]
    store.close()
