"""What --flatten, --filter, --sort-by and --limit leave of a list."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mlengine.cli.argv import GlobalFlags
from mlengine.cli.listing import select
from mlengine.core.resources import Job, TrainingInput
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


def test_the_limit_counts_what_passed_the_filter() -> None:
    kept = select(ROWS, GlobalFlags(filter="NOT jobId=a", limit="1"))
    assert [row["jobId"] for row in kept] == ["b"]


def test_gclouds_own_forms_of_a_filter_are_taken() -> None:
    kept = select(ROWS, GlobalFlags(filter="jobId=(a OR b) AND n~^1"))
    assert [row["jobId"] for row in kept] == ["a"]


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
