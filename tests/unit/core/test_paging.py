"""Page sizes follow the API's rule; tokens open only the list they were made for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.errors import InvalidArgument, OutOfRange
from mlengine.core.paging import page_size, page_token, position


@pytest.mark.parametrize(("asked", "got"), [(0, 20), (1, 1), (100, 100), (101, 100), (10**9, 100)])
def test_page_size_has_a_default_and_a_ceiling(asked: int, got: int) -> None:
    assert page_size(asked) == got


def test_a_negative_page_size_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="page_size"):
        page_size(-1)


@given(st.text(max_size=200), st.lists(st.text(max_size=20), max_size=4), st.binary(max_size=64))
def test_a_token_gives_its_place_back(place: str, scope: list[str], key: bytes) -> None:
    assert position(page_token(place, *scope, key=key), *scope, key=key) == place


def test_no_token_is_the_start() -> None:
    assert position("", "jobs") == ""


@pytest.mark.parametrize(
    "other", [("models", "p", ""), ("jobs", "q", ""), ("jobs", "p", "x"), ("jobsp", "", "")]
)
def test_a_token_of_another_list_is_refused(other: tuple[str, ...]) -> None:
    with pytest.raises(OutOfRange, match="page_token"):
        position(page_token("a", "jobs", "p", ""), *other)


def test_a_token_sealed_with_another_key_is_refused() -> None:
    with pytest.raises(OutOfRange):
        position(page_token("a", "jobs", key=b"one"), "jobs", key=b"two")


@given(st.text(max_size=100).filter(bool))
def test_a_made_up_token_is_refused(token: str) -> None:
    with pytest.raises(OutOfRange):
        position(token, "jobs")


def test_every_changed_character_is_noticed() -> None:
    token = page_token("place-of-some-length", "jobs", key=b"k")
    for i, char in enumerate(token[:-1]):
        forged = token[:i] + ("A" if char != "A" else "B") + token[i + 1 :]
        with pytest.raises(OutOfRange):
            position(forged, "jobs", key=b"k")
