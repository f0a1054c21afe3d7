"""What the end of a log tells of how a replica really ended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.training.lastwords import LastWords, last_words, read_words

TRACEBACK = [
    "Traceback (most recent call last):",
    '  File "/x/trainer/task.py", line 3, in main',
    '    raise ValueError("no column agee")',
    "ValueError: no column agee",
]
GROUP = [
    "  + Exception Group Traceback (most recent call last):",
    '  |   File "/x/trainer/task.py", line 9, in <module>',
    '  |     raise ExceptionGroup("unhandled", errors)',
    "  | ExceptionGroup: unhandled (2 sub-exceptions)",
    "  +-+---------------- 1 ----------------",
    "    | Traceback (most recent call last):",
    '    |   File "/x/trainer/task.py", line 2, in feed',
    "    | KeyError: 'age'",
    "    +---------------- 2 ----------------",
    *[f"    | {line}" for line in TRACEBACK],
    "    +------------------------------------",
]
OURS = ["Module completed; cleaning up.", "Task completed successfully."]


def error(*lines: str) -> str:
    return read_words("master-replica-0", lines).error


# --- a traceback as the last word ---

LAST: dict[str, list[str]] = {
    "alone": TRACEBACK,
    "before our own lines": [*TRACEBACK, *OURS],
    "after other lines": ["epoch 1 loss: 0.5", *TRACEBACK, ""],
    "logged": ["ERROR:root:training failed", *TRACEBACK],
    "with a prefix": ["ERROR 2018-01-01 Traceback (most recent call last):", *TRACEBACK[1:]],
    "before what libraries say": [
        *TRACEBACK,
        "2018-03-02 06:50:06.123: I tensorflow/core/x.cc:1] done",
        "I0000 00:00:1721345678.1   12 x.cc:1] done",
        "W0302 10:00:00.123 7 ops.py:12] slow",
        "/x/lib.py:3: UserWarning: unclosed",
        "WARNING:tensorflow:from x",
    ],
    "before an ignored exception": [
        *TRACEBACK,
        "Exception ignored in: <function Session.__del__ at 0x7f>",
        *TRACEBACK[:3],
        "TypeError: 'NoneType' object is not callable",
    ],
    "of a chain": [
        *TRACEBACK[:3],
        "KeyError: 'agee'",
        "",
        "During handling of the above exception, another exception occurred:",
        "",
        *TRACEBACK,
    ],
    "in a message of many lines": ["training failed\n" + "\n".join(TRACEBACK)],
    "of a group": GROUP,
    "of a thread": ["Exception in thread Thread-1 (train):", *TRACEBACK],
    "with a detail": [*TRACEBACK, "  hint: the column is called age"],
    "dropped lines": [*TRACEBACK, "17,000 lines of this log were dropped; its first and last are"],
}


@pytest.mark.parametrize("case", LAST)
def test_a_traceback_with_nothing_after_it_is_the_last_word(case: str) -> None:
    assert error(*LAST[case]) == "ValueError: no column agee"


def test_a_group_of_exceptions_without_tracebacks_is_named_by_itself() -> None:
    lines = [*GROUP[:5], "    | KeyError: 'age'", "    +----------------------------------"]
    assert error(*lines) == "ExceptionGroup: unhandled (2 sub-exceptions)"


def test_a_message_of_many_lines_belongs_to_its_exception() -> None:
    first = "InvalidArgumentError: Graph execution error:"
    lines = [
        *TRACEBACK[:3],
        first,
        "",
        "Detected at node 'x' defined at:",
        "Matrix size",
        "\t [[x]]",
    ]
    assert error(*lines) == first
    assert error(*lines, *["more"] * 50) == ""


HANDLED: dict[str, list[str]] = {
    "no traceback": ["epoch 1 loss: 0.5"],
    "nothing": [],
    "training went on": [*TRACEBACK, "epoch 1 loss: 0.5"],
    "training went on after a group": [*GROUP, "epoch 1 loss: 0.5"],
    "a message goes on": ["retried\n" + "\n".join([*TRACEBACK, "falling back"])],
    "a group that Python ignores": ["Exception ignored in: <function f at 0x7f>", *GROUP],
    "a last line said that all is well": [*TRACEBACK, "Falling back to defaults."],
    "an exception that Python ignores": [
        "Exception ignored in: <function Session.__del__ at 0x7f>",
        *TRACEBACK,
    ],
    "a name that is no exception": [*TRACEBACK[:3], "epoch 1 of 10"],
    "cut off": TRACEBACK[:3],
    "an exception without its traceback": ["ValueError: no column agee"],
}


@pytest.mark.parametrize("case", HANDLED)
def test_an_exception_that_was_survived_is_no_last_word(case: str) -> None:
    assert error(*HANDLED[case]) == ""


def test_a_thread_that_died_in_the_middle_is_worth_a_note() -> None:
    words = read_words("m", ["Exception in thread Thread-1 (feed):", *TRACEBACK, "epoch 2"])
    assert words.error == ""
    assert words.notes == ["The thread Thread-1 (feed) died: ValueError: no column agee"]


@given(st.lists(st.sampled_from([*TRACEBACK, *OURS, "", "epoch 2", "Exception in thread T:"])))
def test_a_plain_line_at_the_end_always_acquits(lines: list[str]) -> None:
    assert error(*lines, "epoch 9", "all done") == ""
    assert error(*lines, "epoch 9", *TRACEBACK) == "ValueError: no column agee"


# --- the last loss ---


@pytest.mark.parametrize(
    "line",
    [
        "epoch 3: loss: nan",
        "10/10 - 0s - loss: nan - accuracy: 0.1",
        "INFO:tensorflow:loss = nan, step = 100",
        "Loss for final step: nan.",
        "step 7 train_loss=-inf",
        "val_loss: inf",
        "{'loss': nan, 'step': 3}",
        "loss: tensor(nan, device='cpu')",
        "ERROR:tensorflow:Model diverged with loss = NaN.",
        "Batch 3: Invalid loss, terminating training",
    ],
)
def test_a_last_loss_that_is_not_finite_is_found(line: str) -> None:
    assert read_words("m", ["loss: 0.5", line, "saved", *OURS]).non_finite == line


@pytest.mark.parametrize(
    "line",
    [
        "loss: 0.5",
        "loss = 1e-5",
        "best_val_loss: inf",
        "nan values dropped: 3",
        "information gain: inf",
        "loss: nancy",
        "glossary: nan",
        "no_loss: nan",
        "loss: nan-safe mode on",
        "Using loss: inf-norm",
    ],
)
def test_other_lines_are_no_loss(line: str) -> None:
    assert read_words("m", [line]).non_finite == ""


def test_only_the_last_loss_counts() -> None:
    assert read_words("m", ["loss: nan", "restarted", "loss: 0.25"]).non_finite == ""


# --- from disk ---


def put(path: Path, *messages: str) -> None:
    with path.open("a") as file:
        for message in messages:
            file.write(json.dumps({"message": message}) + "\n")


def test_the_newest_parts_of_a_flood_are_read(tmp_path: Path) -> None:
    put(tmp_path / "m.log.jsonl", "loss: nan")
    put(tmp_path / "m.log.9.jsonl", "loss: inf")
    put(tmp_path / "m.log.10.jsonl", *TRACEBACK[:2])
    put(tmp_path / "m.log.11.jsonl", *TRACEBACK[2:])
    put(tmp_path / "m2.log.jsonl", "loss: inf")
    assert last_words(tmp_path, "m") == LastWords("m", "ValueError: no column agee", "", [])


def test_a_long_log_is_read_from_its_end_only(tmp_path: Path) -> None:
    put(tmp_path / "m.log.jsonl", "loss: nan", *["x" * 1000] * 200, *TRACEBACK)
    assert last_words(tmp_path, "m")[1:3] == ("ValueError: no column agee", "")


def test_no_log_and_torn_lines_tell_nothing(tmp_path: Path) -> None:
    assert last_words(tmp_path, "m") == LastWords("m", notes=[])
    (tmp_path / "m.log.jsonl").write_text('{"message": "loss: n\n[]\n{"message": 3}\n')
    assert last_words(tmp_path, "m") == LastWords("m", notes=[])
