from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.errors import InvalidArgument, OutOfRange
from mlengine.core.resources import Job
from mlengine.engine import Page
from mlengine.engine.listing import list_page


class Row(NamedTuple):
    seq: int


def _page(rows: Sequence[Row], *, filter: str = "", size: int = 0, token: str = "") -> Page[Job]:
    def fetch(before: int | None, limit: int) -> Sequence[Row]:
        older = [r for r in rows if before is None or r.seq < before]
        return sorted(older, key=lambda r: -r.seq)[:limit]

    def view(row: Row) -> Job:
        return Job(job_id=f"j{row.seq}", state="FAILED" if row.seq % 3 == 0 else "QUEUED")

    return list_page(
        fetch, view, ("jobs", "p"), filter=filter, page_size=size, page_token=token, key=b"k"
    )


def _walk(rows: Sequence[Row], *, filter: str, size: int) -> list[str]:
    names: list[str] = []
    token = ""
    while True:
        page = _page(rows, filter=filter, size=size, token=token)
        assert len(page.items) <= size
        names += [job.job_id for job in page.items]
        if not page.next_page_token:
            return names
        token = page.next_page_token


@given(st.sets(st.integers(1, 900)), st.integers(1, 100), st.sampled_from(["", "state:FAILED"]))
def test_pages_joined_are_the_list(seqs: set[int], size: int, filter: str) -> None:
    rows = [Row(s) for s in seqs]
    wanted = [s for s in sorted(seqs, reverse=True) if not filter or s % 3 == 0]
    assert _walk(rows, filter=filter, size=size) == [f"j{s}" for s in wanted]


def test_a_walk_is_stable_while_jobs_are_added() -> None:
    rows = [Row(s) for s in range(1, 31)]
    first = _page(rows, size=10)
    later = _page([*rows, Row(31), Row(32)], size=10, token=first.next_page_token)
    assert [j.job_id for j in later.items] == [f"j{s}" for s in range(20, 10, -1)]


def test_the_default_page_has_twenty() -> None:
    page = _page([Row(s) for s in range(1, 31)])
    assert len(page.items) == 20
    assert page.next_page_token


def test_a_token_of_another_list_is_refused() -> None:
    rows = [Row(s) for s in range(1, 31)]
    token = _page(rows, size=5).next_page_token
    with pytest.raises(OutOfRange):
        _page(rows, size=5, token=token, filter="state:FAILED")
    with pytest.raises(OutOfRange):
        _page(rows, size=5, token="forged")
    with pytest.raises(InvalidArgument):
        _page(rows, size=-1)
