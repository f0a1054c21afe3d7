"""The line before click: old names, global flags anywhere, what stands behind ``--``."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.cli.argv import ArgvError, read_line

ROOTS = [
    [], ["ai-platform"], ["ml-engine"], ["beta", "ai-platform"], ["alpha", "ml-engine"],
    ["ai-platform", "beta"], ["beta"], ["beta", "ml"], ["ml"],
]  # fmt: skip


@pytest.mark.parametrize("root", ROOTS, ids=" ".join)
def test_every_old_root_names_the_same_tree(root: list[str]) -> None:
    assert read_line([*root, "jobs", "list"]).words == ("jobs", "list")


@given(st.permutations(["--format=json", "-q", "--limit=3", "jobs", "list"]))
def test_global_flags_may_stand_anywhere(words: list[str]) -> None:
    line = read_line(words)
    assert sorted(line.words) == ["jobs", "list"]
    assert (line.flags.format, line.flags.quiet, line.flags.limit) == ("json", True, "3")


def test_a_value_may_follow_its_flag_as_the_next_word() -> None:
    line = read_line(["jobs", "--project", "demo", "describe", "--format", "value(jobId)", "j"])
    assert line.words == ("jobs", "describe", "j")
    assert (line.flags.project, line.flags.format) == ("demo", "value(jobId)")


def test_global_flags_may_be_written_with_underscores() -> None:
    line = read_line(["jobs", "list", "--page_size=5", "--sort_by", "a_b", "--log_http"])
    assert line == read_line(["jobs", "list", "--page-size=5", "--sort-by", "a_b", "--log-http"])
    assert line.flags.sort_by == "a_b"
    assert read_line(["x", "--a_b", "_q", "--", "--page_size=5"]).words == ("x", "--a_b", "_q")
    with pytest.raises(ArgvError, match="--flags-file is not supported"):
        read_line(["jobs", "list", "--flags_file=f"])


@pytest.mark.parametrize("words", [["--filter="], ["--filter", ""]])
def test_an_empty_filter_is_none(words: list[str]) -> None:
    assert read_line(["jobs", "list", *words, "-q"]).flags == read_line(["-q"]).flags


@given(st.lists(st.sampled_from(["--project", "-q", "--format=x", "--", "a b", "", "$(id)"])))
def test_what_stands_behind_two_hyphens_is_the_trainers_word_for_word(rest: list[str]) -> None:
    line = read_line(["jobs", "submit", "training", "j", "--", *rest])
    assert line.rest == tuple(rest)
    assert line.words == ("jobs", "submit", "training", "j")
    assert line.flags == read_line([]).flags


def test_no_hyphens_differ_from_hyphens_with_nothing_behind() -> None:
    assert read_line(["x"]).rest is None
    assert read_line(["x", "--"]).rest == ()


@pytest.mark.parametrize(
    "flag", ["--account=me", "--configuration", "--impersonate-service-account", "--flags-file=f"]
)
def test_flags_that_mean_nothing_here_are_refused_by_name(flag: str) -> None:
    with pytest.raises(ArgvError, match=flag.partition("=")[0]):
        read_line(["jobs", "list", flag])


@pytest.mark.parametrize("words", [["--limit", "0"], ["--limit=x"], ["--page-size=-1"],
                                   ["--verbosity=loud"], ["--format"], ["--project="],
                                   ["--filter"]])  # fmt: skip
def test_bad_values_of_global_flags_are_usage_errors(words: list[str]) -> None:
    with pytest.raises(ArgvError):
        read_line(["jobs", "list", *words])
