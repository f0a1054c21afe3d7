"""Why trials did not succeed, in few words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.training.trials.reasons import Reason, grouped, told


def test_reasons_that_differ_in_numbers_only_are_one() -> None:
    texts = ["gs://b/t/1: --rate=0.1 broke", "gs://b/t/2: --rate=1e-05 broke", "out of memory"]
    found = grouped((n, "FAILED", text) for n, text in enumerate(texts, 1))
    assert [(r.trials, r.text) for r in found] == [((1, 2), texts[0]), ((3,), "out of memory")]


@pytest.mark.parametrize(
    "text",
    [
        "The replica master 0 exited with a non-zero status of {}. Termination reason: Error.",
        "The replica master 0 exited with a non-zero status of {}(SIGKILL).",
        "Command 'x' returned non-zero exit status {}.",
        "exit code: {}", "returncode=-{}", "OSError: [Errno {}] x", "urllib: HTTP Error {}: x",
        "died of signal {}",
    ],
)  # fmt: skip
def test_reasons_that_differ_in_a_status_are_two(text: str) -> None:
    found = grouped((n, "FAILED", text.format(status)) for n, status in enumerate((3, 7, 3), 1))
    assert [(r.trials, r.text) for r in found] == [
        ((1, 3), text.format(3)), ((2,), text.format(7)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["--code={}", "--exit-code {}", "barcode {}", "worker_status: {}", "code {}1.5", "at {}"],
)
def test_other_numbers_say_nothing(text: str) -> None:
    (reason,) = grouped((n, "FAILED", text.format(n)) for n in (3, 7))
    assert reason.trials == (3, 7)


def test_what_failed_and_what_was_stopped_are_told_apart() -> None:
    found = grouped([(1, "FAILED", "Over."), (2, "CANCELLED", "Over."), (3, "", "")])
    assert told(found) == (
        "1 trial failed (1): Over.\n1 trial was stopped (2): Over.\n1 trial never began (3)."
    )


def test_many_lines_become_one_of_bounded_length() -> None:
    (reason,) = grouped([(1, "FAILED", "Traceback:\n  File\n" + "x" * 1000)])
    assert reason.text.startswith("Traceback: File xxx")
    assert reason.text.endswith("x…")
    assert len(reason.text) == 300


def test_many_reasons_are_counted() -> None:
    found = grouped((n, "FAILED", chr(64 + n)) for n in range(1, 10))
    lines = told(found).splitlines()
    assert lines[0] == "1 trial failed (1): A"
    assert lines[6:] == ["3 more did not succeed, for 3 other reasons."]


def test_nobody_has_no_reason() -> None:
    assert told(grouped([])) == ""


@given(st.lists(st.tuples(st.sampled_from(["FAILED", "CANCELLED"]), st.text(max_size=5)),
                max_size=40))  # fmt: skip
def test_every_trial_has_one_reason(outcomes: list[tuple[str, str]]) -> None:
    found = grouped((n, state, text) for n, (state, text) in enumerate(outcomes, 1))
    assert sorted(n for r in found for n in r.trials) == list(range(1, len(outcomes) + 1))
    sizes = [len(reason.trials) for reason in found]
    assert sizes == sorted(sizes, reverse=True)


@given(st.sets(st.integers(1, 60), min_size=1))
def test_the_numbers_can_be_read_back(trials: set[int]) -> None:
    text = Reason(tuple(sorted(trials)), "FAILED", "").numbers
    read: set[int] = set()
    for part in text.split(", "):
        low, _dash, high = part.partition("-")
        read |= set(range(int(low), int(high or low) + 1))
    assert read == trials
