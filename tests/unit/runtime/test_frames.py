from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mlengine.runtime.frames import HEADER_BYTES, PREDICT, Frame, FrameReader, pack

REQUESTS = st.lists(
    st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1), st.binary(max_size=60))
)


@given(REQUESTS, st.lists(st.integers(1, 50), min_size=1))
def test_frames_survive_any_cutting_of_the_stream(
    requests: list[tuple[int, int, bytes]], cuts: list[int]
) -> None:
    stream = b"".join(pack(*request) for request in requests)
    reader = FrameReader(max_payload_bytes=40)
    frames: list[Frame] = []
    at = turn = 0
    while at < len(stream):
        size = cuts[turn % len(cuts)]
        frames += reader.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
    assert reader.is_between_frames
    assert [(f.id, f.kind, f.payload_bytes) for f in frames] == [
        (request_id, kind, len(payload)) for request_id, kind, payload in requests
    ]
    assert [f.payload for f in frames] == [p if len(p) <= 40 else None for _, _, p in requests]


def test_an_oversized_frame_is_reported_at_its_header_and_the_next_one_is_read() -> None:
    reader = FrameReader(max_payload_bytes=4)
    big = pack(1, PREDICT, b"x" * 100)
    assert reader.feed(big[:HEADER_BYTES]) == [Frame(1, PREDICT, None, 100)]
    assert not reader.is_between_frames
    assert reader.feed(big[HEADER_BYTES:] + pack(2, PREDICT, b"y")) == [Frame(2, PREDICT, b"y", 1)]
