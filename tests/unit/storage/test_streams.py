"""Parts of files, and what ``-`` may stand for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.errors import InvalidArgument
from mlengine.storage.streams import Span, check_streams, parse_span

NUMBER = st.integers(0, 12)


@given(st.lists(st.binary(max_size=5)), NUMBER, NUMBER | st.none(), NUMBER)
def test_a_part_is_the_same_however_the_bytes_come(
    chunks: list[bytes], start: int, end: int | None, last: int
) -> None:
    whole = b"".join(chunks)
    assert b"".join(Span(start, end).cut(chunks)) == whole[start:end]
    assert b"".join(Span(last=last).cut(chunks)) == whole[max(len(whole) - last, 0) :]


def test_what_lies_behind_a_part_is_not_asked_for() -> None:
    asked = iter([b"ab", b"cd", b"ef"])
    assert b"".join(Span(1, 3).cut(asked)) == b"bc"
    assert [*asked] == [b"ef"]


@pytest.mark.parametrize(
    ("text", "span"),
    {"0-4": Span(0, 5), "7-": Span(7), "-3": Span(last=3), "2-2": Span(2, 3)}.items(),
)
def test_a_range_is_read(text: str, span: Span) -> None:
    assert parse_span(text) == span


@pytest.mark.parametrize("text", ["", "-", "4-2", "5", "a-b", "1-2-3", " 1-2", "-1-"])
def test_a_range_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="names no bytes"):
        parse_span(text)


@pytest.mark.parametrize(
    ("sources", "destination", "flags"),
    [
        (["-"], "-", {}),
        (["-", "a"], "gs://b/x/", {}),
        (["-"], "gs://b/x", {"recursive": True}),
        (["gs://b/x"], "-", {"recursive": True}),
        (["gs://b/x"], "-", {"move": True}),
    ],
)
def test_what_a_stream_cannot_be_is_refused(
    sources: list[str], destination: str, flags: dict[str, bool]
) -> None:
    with pytest.raises(InvalidArgument):
        check_streams(sources, destination, **flags)
