"""What --flatten, --filter, --sort-by and --limit leave of a list."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mlengine.cli.argv import GlobalFlags
from mlengine.cli.listing import select
from mlengine.cli.output import parse_format
from mlengine.core.errors import InvalidArgument
from mlengine.core.resources import Job, Model, TrainingInput
from tests.fakes.engine import FakeEngine
from tests.unit.cli.conftest import Run

ROWS: list[dict[str, Any]] = [
    {"jobId": "a", "n": "10", "out": {"trials": [{"id": "1"}, {"id": "2"}]}},
    {"jobId": "b", "n": "9"},
    {"jobId": "c"},
]


def test_a_list_inside_becomes_rows() -> None:
    flat = select(ROWS, GlobalFlags(flatten="out.trials[]"))
    assert [(row["jobId"], row.get("out")) for row in flat] == [
        ("a", {"trials": {"id": "1"}}), ("a", {"trials": {"id": "2"}}), ("b", None), ("c", None),
    ]  # fmt: skip
    assert ROWS[0]["out"]["trials"] == [{"id": "1"}, {"id": "2"}]


def test_numbers_sort_as_numbers_and_what_is_absent_comes_first() -> None:
    assert [row["jobId"] for row in select(ROWS, GlobalFlags(sort_by="n"))] == ["c", "b", "a"]
    assert [row["jobId"] for row in select(ROWS, GlobalFlags(sort_by="~n"))] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "order", [["-14", "-11", "-2", "5", "14"], ["-1.5", "1e-05", "+0.5", "2", "1E3", "1e", "a"]]
)
def test_texts_sort_as_numbers_where_filters_take_them_for_such(order: list[str]) -> None:
    rows = [{"rate": text} for text in sorted(order)]
    assert rows != (ordered := [{"rate": text} for text in order])
    assert select(rows, GlobalFlags(sort_by="rate")) == ordered
    assert select(rows, GlobalFlags(sort_by="~rate")) == ordered[::-1]


def test_the_limit_counts_what_passed_the_filter() -> None:
    kept = select(ROWS, GlobalFlags(filter="NOT jobId=a", limit="1"))
    assert [row["jobId"] for row in kept] == ["b"]


def test_gclouds_own_forms_of_a_filter_are_taken() -> None:
    kept = select(ROWS, GlobalFlags(filter="jobId=(a OR b) AND n~^1"))
    assert [row["jobId"] for row in kept] == ["a"]


TABLE = parse_format(
    "table(name.basename(), state:label=STATUS, at.date(tz=LOCAL):label=CREATED, "
    "parts[].size.list():label=SIZES)"
).columns
LISTED: list[dict[str, Any]] = [
    {"name": "m/b", "state": "FAILED", "at": "2026-01-02T00:00:00Z", "parts": [{"size": "9"}]},
    {"name": "m/a", "state": "QUEUED", "at": "2025-01-01T00:00:00Z"},
    {"name": "m/c", "at": "2026-01-01T00:00:00.5Z", "parts": [{"size": "10"}, {"size": "1"}]},
]


def listed(filter: str = "", sort_by: str = "") -> tuple[str, list[str]]:
    """Return the last letters of the names that `select` leaves, and its warnings."""
    told: list[str] = []
    flags = GlobalFlags(filter=filter, sort_by=sort_by)
    rows = select(LISTED, flags, columns=TABLE, warn=told.append)
    return "".join(row["name"][-1] for row in rows), told


@pytest.mark.parametrize(
    ("text", "left"),
    [("STATUS=failed", "b"), ("status:fail*", "b"), ("State=QUEUED", "a"), ("NAME:a", "a"),
     ("CREATED>2025-06-01", "bc"), ("SIZES=10", "c"), ('at.date("%Y")=2026', "bc"),
     ("at.date(format='%m-%d', tz=UTC)=01-02", "b"), ("name.basename()=C", "c"),
     ("CREATED.date('%Y')<2026", "a"), ("parts.len()=2", "c"), ("state.color(red=FAILED)=x", ""),
     ("name.scope(m)=(a b)", "ba"), ("parts.size.list()=9", "b")],
)  # fmt: skip
def test_a_filter_names_fields_in_any_case_and_headings(text: str, left: str) -> None:
    assert listed(filter=text) == (left, [])


@pytest.mark.parametrize(
    ("keys", "order"),
    [("CREATED", "acb"), ("~created", "bca"), ("AT", "acb"), ("NAME", "abc"), ("STATUS", "cba"),
     ("~Name.basename()", "cba"), ("PARTS[0].SIZE", "abc"), ("SIZES", "acb")],
)  # fmt: skip
def test_so_does_an_order(keys: str, order: str) -> None:
    assert listed(sort_by=keys) == (order, [])


def test_keys_that_no_row_has_are_told_of_once() -> None:
    left, told = listed(filter="foo=x OR stat=FAILED OR foo=y OR state=FAILED", sort_by="bar.x")
    assert left == "b"
    known = "Keys: NAME, STATUS, CREATED, SIZES, name, state, at, parts."
    assert told == [
        f"--filter keys were not present in any resource: foo, stat. {known}",
        f"--sort-by keys were not present in any resource: bar.x. {known}",
    ]
    assert listed(filter="stat=FAILED")[1] == [
        f"--filter keys were not present in any resource: stat. Did you mean 'state'? {known}"
    ]


def test_no_rows_tell_nothing_of_keys() -> None:
    told: list[str] = []
    assert select([], GlobalFlags(filter="foo=x", sort_by="bar"), warn=told.append) == []
    assert told == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [("at.daet()=1", "no transform 'daet.*Did you mean 'date'"), ("at.date(tz=No/Where)=1", "zone"),
     ("at.segment(x)=1", "needs a number")],
)  # fmt: skip
def test_a_transform_that_does_not_exist_is_refused_by_name(text: str, problem: str) -> None:
    with pytest.raises(InvalidArgument, match=problem):
        listed(filter=text)


def test_a_command_lists_what_gcloud_lists_for_a_filter(run: Run, engine: FakeEngine) -> None:
    basic = TrainingInput(scale_tier="BASIC")
    engine.create_job("default", Job(job_id="census", training_input=basic))
    engine.create_job("default", Job(job_id="census_2"))
    engine.create_model("default", Model(name="iris_sk"))

    for text in (
        "STATUS=QUEUED",
        "STATE=queued",
        "state:qu*",
        "jobId:CENSUS*",
        "CREATED>2018-01-01",
    ):
        done = run("jobs", "list", f"--filter={text}", "--format=value(jobId)")
        assert done == (0, "census_2\ncensus\n", ""), text
    tier = run("jobs", "list", "--filter=trainingInput.scaleTier=basic", "--format=value(jobId)")
    assert tier == (0, "census\n", "")
    for text in ("name:iris_sk", "NAME:IRIS_SK", "name.basename()=iris_sk"):
        done = run("models", "list", f"--filter={text}", "--format=value(name.basename())")
        assert done == (0, "iris_sk\n", ""), text
    assert run("jobs", "list", "--sort-by=JOB_ID", "--format=value(jobId)").out == (
        "census\ncensus_2\n"
    )
    # A field of jobs that is set in none of them is no mistake.
    assert run("jobs", "list", "--filter=errorMessage:*").err == "Listed 0 items.\n"


def test_a_command_warns_of_keys_that_nothing_has(run: Run, engine: FakeEngine) -> None:
    engine.create_job("default", Job(job_id="census"))
    done = run("jobs", "list", "--filter=foo=SUCCEEDED")
    assert done.code == 0 and not done.out
    assert done.err.startswith(
        "WARNING: --filter keys were not present in any resource: foo. Keys: JOB_ID, STATUS, "
    )
    assert done.err.endswith("\nListed 0 items.\n") and done.err.count("WARNING") == 1
    done = run("jobs", "list", "--sort-by=jobb", "--format=value(jobId)")
    assert done.out == "census\n" and "WARNING: --sort-by keys were not" in done.err
    done = run("jobs", "list", "--sort-by=jobId.nope()")
    assert done.code == 2 and "no transform 'nope()'" in done.err


def test_no_more_is_read_than_the_limit_asks_for() -> None:
    read: list[str] = []

    def rows() -> Iterator[dict[str, Any]]:
        for row in ROWS:
            read.append(row["jobId"])
            yield row

    select(rows(), GlobalFlags(limit="2"))
    assert read == ["a", "b"]


def test_a_list_inside_one_resource_becomes_rows_too(run: Run, engine: FakeEngine) -> None:
    engine.create_job("default", Job(job_id="J", training_input=TrainingInput(args=["a", "b"])))
    flat = ["jobs", "describe", "J", "--flatten=trainingInput.args[]"]
    assert run(*flat, "--format=value(jobId,trainingInput.args)").out == "J\ta\nJ\tb\n"
    assert run(*flat, "--format=json(trainingInput.args)").out.count('"args"') == 2


@pytest.mark.parametrize(
    "words",
    [["runtimes", "list"], ["predictions", "list", "m"], ["jobs", "trials", "J"],
     ["jobs", "metrics", "J"]],
)  # fmt: skip
def test_what_has_no_address_prints_none(run: Run, words: list[str]) -> None:
    done = run(*words, "--uri")
    assert done.code == 2 and "unrecognized arguments: --uri" in done.err and not done.out
    assert "--uri" not in run(*words[:2], "--help").out and "--limit" in run(*words, "--help").out
