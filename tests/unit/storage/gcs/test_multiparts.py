from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.errors import InvalidArgument
from mlengine.storage.gcs.multiparts import MultipartReader

BOUNDARY = b"==7=="


def written(content: bytes, eol: bytes) -> bytes:
    lines = [
        b"--" + BOUNDARY,
        b"Content-Type: application/json; charset=UTF-8",
        b"",
        b'{"name": "x"}',
        b"--" + BOUNDARY,
        b"content-type: text/plain",
        b"",
        content,
        b"--" + BOUNDARY + b"--",
    ]
    return eol.join(lines)


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@given(
    content=st.one_of(
        st.binary(max_size=300),
        st.lists(st.sampled_from([b"\r", b"\n", b"--", b"==7=", b"x", BOUNDARY]), max_size=20).map(
            b"".join
        ),
    ),
    eol=st.sampled_from([b"\r\n", b"\n"]),
    size=st.integers(1, 400),
)
def test_the_bytes_come_out_as_they_went_in(content: bytes, eol: bytes, size: int) -> None:
    if eol + b"--" + BOUNDARY in eol + content:
        return  # no writer may choose such a boundary
    reader = MultipartReader(pieces(written(content, eol), size), BOUNDARY)
    assert reader.small_part() == b'{"name": "x"}'
    kind, chunks = reader.last_part()
    assert (kind, b"".join(chunks)) == ("text/plain", content)


@given(cut=st.integers(1, 200))
def test_a_body_that_breaks_off_is_never_a_whole_one(cut: int) -> None:
    whole = written(b"content " * 5, b"\r\n")[:-2]
    with pytest.raises(InvalidArgument):
        reader = MultipartReader([whole[: -cut - 2]], BOUNDARY)
        reader.small_part()
        b"".join(reader.last_part()[1])


def test_a_part_that_should_be_small_is_not_held_when_it_is_not() -> None:
    head = b"--" + BOUNDARY + b"\r\n\r\n"
    endless = (b"x" * 65536 for _ in iter(int, 1))
    reader = MultipartReader([head], BOUNDARY)
    reader._chunks = endless
    with pytest.raises(InvalidArgument, match="too long"):
        reader.small_part()
