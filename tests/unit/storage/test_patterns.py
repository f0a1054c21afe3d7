from __future__ import annotations

import fnmatch
import functools
import time

from hypothesis import given
from hypothesis import strategies as st

from mlengine.storage.patterns import compile_pattern, has_wildcards, literal_prefix

NAME = st.text("ab/.", max_size=10)
PATTERN = st.lists(st.sampled_from(["a", "b", "/", ".", "*", "?", "**", "**/"]), max_size=7).map(
    "".join
)


def means(pattern: str, name: str) -> bool:
    """The rules, said the slow way: every wildcard tries every length."""

    @functools.cache
    def rest(p: int, n: int) -> bool:
        if p == len(pattern):
            return n == len(name)
        stars = len(pattern[p:]) - len(pattern[p:].lstrip("*"))
        if stars >= 2:
            after = p + stars
            if pattern[after : after + 1] == "/" and (p == 0 or pattern[p - 1] == "/"):
                # A run of whole folders, also an empty one.
                ends = [n, *(i + 1 for i in range(n, len(name)) if name[i] == "/")]
                return any(rest(after + 1, end) for end in ends)
            return any(rest(after, end) for end in range(n, len(name) + 1))
        if stars == 1:
            segment = len(name[n:].partition("/")[0])
            return any(rest(p + 1, end) for end in range(n, n + segment + 1))
        if n == len(name):
            return False
        fits = name[n] != "/" if pattern[p] == "?" else name[n] == pattern[p]
        return fits and rest(p + 1, n + 1)

    return rest(0, 0)


@given(PATTERN, NAME)
def test_a_pattern_means_what_the_slow_rules_say(pattern: str, name: str) -> None:
    assert bool(compile_pattern(pattern).fullmatch(name)) == means(pattern, name)


@given(st.text("ab*?", max_size=8).filter(lambda p: "**" not in p), st.text("ab", max_size=8))
def test_within_one_segment_it_is_fnmatch(pattern: str, name: str) -> None:
    assert bool(compile_pattern(pattern).fullmatch(name)) == fnmatch.fnmatchcase(name, pattern)


@given(PATTERN, NAME)
def test_every_match_starts_with_the_literal_prefix(pattern: str, name: str) -> None:
    if compile_pattern(pattern).fullmatch(name):
        assert name.startswith(literal_prefix(pattern))


def test_characters_of_regular_expressions_are_plain() -> None:
    for name in ("a.b", "a+b", "[a]", "(a|b)", "a$", "^a", "a{2}"):
        assert compile_pattern(name).fullmatch(name)
    assert not compile_pattern("a.b").fullmatch("axb")
    assert compile_pattern("a*\n").fullmatch("ab\n")


def test_no_pattern_holds_the_engine() -> None:
    name = ("a" * 250 + "/") * 4 + "a" * 20
    start = time.monotonic()
    for pattern in ("*a" * 200 + "b", "**a" * 200 + "b", "**/*a" * 100 + "b", "*?" * 200 + "b/c"):
        assert not compile_pattern(pattern).fullmatch(name)
    assert time.monotonic() - start < 60  # backtracking would take years


def test_wildcards_are_seen() -> None:
    assert [has_wildcards(p) for p in ("a*", "a?b", "**", "[a]", "a")] == [True] * 3 + [False] * 2
