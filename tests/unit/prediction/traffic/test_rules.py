"""The rules by which predictions are shared out."""

from __future__ import annotations

import collections
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlengine.core.errors import InvalidArgument
from mlengine.prediction.traffic.rules import (
    WHOLE,
    check_sticky_by,
    check_weights,
    choose,
    field_reader,
    position,
    reapportion,
)

WEIGHTS = st.dictionaries(
    st.sampled_from(["v1", "v2", "v3", "v4"]), st.integers(0, 1000), min_size=1
).filter(lambda weights: any(weights.values()))


def sizes(segments: list[tuple[int, str]]) -> collections.Counter[str]:
    found: collections.Counter[str] = collections.Counter()
    begin = 0
    for end, version in segments:
        assert begin < end
        found[version] += end - begin
        begin = end
    assert begin == WHOLE
    return found


@settings(max_examples=30)
@given(st.lists(WEIGHTS, min_size=1, max_size=4))
def test_shares_are_exact_after_any_changes(changes: list[dict[str, int]]) -> None:
    segments: list[tuple[int, str]] = []
    for weights in changes:
        segments = reapportion(segments, weights)
        total = sum(weights.values())
        found = sizes(segments)
        for version, parts in weights.items():
            assert abs(found[version] - WHOLE * parts / total) < len(weights)
            assert bool(found[version]) == bool(parts)
        assert set(found) <= set(weights)


@settings(max_examples=30)
@given(st.lists(WEIGHTS, min_size=2, max_size=4), st.lists(st.integers(0, WHOLE - 1), max_size=50))
def test_only_what_must_move_moves_from_who_shrinks_to_who_grows(
    changes: list[dict[str, int]], numbers: list[int]
) -> None:
    segments: list[tuple[int, str]] = []
    for weights in changes:
        before, segments = segments, reapportion(segments, weights)
        if not before:
            continue
        old, new = sizes(before), sizes(segments)
        ends = [end - 1 for end, _version in (*before, *segments)]
        for number in (*numbers, *ends):
            frm, to = choose(before, number), choose(segments, number)
            assert frm == to or (new[frm] < old[frm] and new[to] > old[to])
        moved = sum(
            end - begin
            for begin, end in itertools.pairwise(
                sorted({0, *(end for end, _ in before), *(end for end, _ in segments)})
            )
            if choose(before, begin) != choose(segments, begin)
        )
        assert moved == sum(max(0, old[version] - new[version]) for version in old)


def test_a_canary_stays_two_pieces_all_the_way() -> None:
    segments = reapportion([], {"v1": 1})
    for percent in (1, 5, 10, 25, 50, 90, 100):
        segments = reapportion(segments, {"v1": 100 - percent, "v2": percent})
        assert len(segments) == (2 if percent < 100 else 1)


@given(st.text(max_size=40), st.text(max_size=20))
def test_a_value_has_one_place(value: str, salt: str) -> None:
    place, name = position(salt, value)
    assert (place, name) == position(salt, value)
    assert 0 <= place < WHOLE


def test_places_are_even_and_another_salts_are_others() -> None:
    segments = reapportion([], {"v1": 3, "v2": 1})
    drawn = [choose(segments, position("a", f"user {i}")[0]) for i in range(20_000)]
    other = [choose(segments, position("b", f"user {i}")[0]) for i in range(20_000)]
    assert abs(drawn.count("v2") - 5000) < 300  # nearly five standard deviations, drawn once
    both = sum(one == two == "v2" for one, two in zip(drawn, other, strict=True))
    assert abs(both - 1250) < 200


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"instances": [{"u": "ann", "x": [1, {"u": 2}]}, {"u": "bob"}]}', "ann"),
        (b'{"u": "ann", "instances": [{"u": "bob"}]}', "ann"),
        (b'{"u": null, "instances": [{"u": "bob"}]}', "bob"),
        (b'{"u": 7, "instances": []}', "7"),
        (b'{"u": "7", "instances": []}', "7"),
        (b'{"u": "\\u00e9\\n"}', "é\n"),
        (b'{"u": "", "instances": [{"x": 1}]}', ""),
        (b'{"instances": [[1, 2], {"u": "bob"}]}', ""),
        (b'{"instances": [{"x": 1}, {"u": "bob"}]}', ""),
        (b'{"instances": {"u": "bob"}}', ""),
        (b'{"u": "\xff"}', ""),
        (b"[]", ""),
        (b'{"x": ' + b"[" * 200_000, ""),
        (b'{"instances": [{"x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}]}", ""),
        (b"", ""),
    ],
)
def test_a_field_is_read_beside_the_instances_or_in_the_first(body: bytes, value: str) -> None:
    assert field_reader("u")(body) == value


def test_a_field_may_have_any_name() -> None:
    check_sticky_by("field:the user's id, é", field="f")
    assert field_reader("the user's id, é")('{"the user\'s id, é": 1}'.encode()) == "1"


@given(st.binary(max_size=200))
def test_no_body_breaks_the_reader(body: bytes) -> None:
    assert isinstance(field_reader("u")(body), str)


@pytest.mark.parametrize("key", ["header:X-User", "field:user_id", "field:a b", "header:x!"])
def test_keys_that_name_something_are_taken(key: str) -> None:
    check_sticky_by(key, field="f")


@pytest.mark.parametrize(
    "key", ["", "X-User", "header:", "header:a b", "header:é", "field:", "field:instances",
            "cookie:a", "field:" + "x" * 101, 'field:a"b', "field:a\nb"]
)  # fmt: skip
def test_other_keys_are_refused(key: str) -> None:
    with pytest.raises(InvalidArgument, match=r"no key to stick by.*header:X-User"):
        check_sticky_by(key, field="f")


@pytest.mark.parametrize(
    ("weights", "problem"),
    [
        ({"v1": -1}, "-1 parts"),
        ({"v1": 1_000_001}, "1000001 parts"),
        ({"v1": 0, "v2": 0}, "No version"),
        ({f"v{i}": 1 for i in range(21)}, "21 versions"),
    ],
)
def test_parts_that_make_no_sense_are_refused(weights: dict[str, int], problem: str) -> None:
    with pytest.raises(InvalidArgument, match=problem):
        check_weights(weights, field="f")
