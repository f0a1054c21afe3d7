from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from mlengine.core.clock import SystemClock
from mlengine.core.errors import Unavailable
from mlengine.tuning.advise import Answer, Question
from mlengine.tuning.advisor import Advisor
from mlengine.tuning.problem import Kind, Metric, Parameter, Problem, Tried
from mlengine.tuning.search import How, Suggestion
from tests.waiting import wait_until

PROBLEM = Problem(
    parameters=(Parameter(name="x", kind=Kind.DOUBLE, low=0, high=1),),
    metrics=(Metric(name="loss"),),
)
MODEL = Suggestion(point={"x": 0.5}, how=How.MODEL, mean=1.0, spread=0.5)
ANSWER = msgspec.json.encode(Answer(suggestions=[MODEL]))

Make = Callable[..., Advisor]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes an advisor that asks a program of ours, given as source, instead of a search."""
    made: list[Advisor] = []

    def advisor(source: str, *, timeout_s: float = 120.0) -> Advisor:
        program = f"import os, sys\nANSWER = {ANSWER!r}\n" + source
        command = [sys.executable, "-S", "-c", program]
        made.append(Advisor(SystemClock(), timeout_s=timeout_s, command=command))
        return made[-1]

    yield advisor
    for advisor_ in made:
        advisor_.close()


READ = "sys.stdin.readline()\n"
SAY = "print(ANSWER.decode(), flush=True)\n"


def ask(advisor: Advisor, search: str = "model") -> Suggestion:
    (found,) = advisor.suggest(search, PROBLEM, [], 1)
    return found


def test_a_model_is_asked_in_a_process_that_stays(make: Make) -> None:
    advisor = make(f"while {READ.strip()}:\n    {SAY}")
    assert [ask(advisor) for _ in range(3)] == [MODEL] * 3


def test_a_process_that_ended_while_idle_is_started_again(make: Make) -> None:
    advisor = make(READ + SAY)
    assert [ask(advisor) for _ in range(3)] == [MODEL] * 3


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("sys.exit(1)", "broke off"),
        (READ + "os.kill(os.getpid(), 9)", "broke off (end of file)"),
        (READ + "print('nonsense', flush=True)", "broke off"),
        (READ + 'print(\'{"error": "no numpy"}\', flush=True)', "no numpy"),
    ],
)
def test_whatever_happens_to_it_there_is_a_suggestion_that_says_why(
    make: Make, source: str, said: str
) -> None:
    found = ask(make(source))
    assert found.how is How.RANDOM
    assert "the model search failed" in found.why
    assert said in found.why
    assert 0 <= float(found.point["x"]) <= 1


def test_an_answer_that_never_comes_is_not_waited_for(make: Make) -> None:
    advisor = make(READ + READ, timeout_s=0.05)
    assert "no answer within 0.05 s" in ask(advisor).why
    assert "no answer within 0.05 s" in ask(advisor).why


def test_a_question_larger_than_a_pipe_reaches_a_program_that_speaks_first(make: Make) -> None:
    noise = "sys.stdout.write(' ' * (1 << 20)); sys.stdout.flush()\n"
    advisor = make(noise + READ + SAY)
    history = [Tried(number=n, point={"x": n / 3e4}, values=(1.0,)) for n in range(30000)]
    assert advisor.suggest("model", PROBLEM, history, 1) == [MODEL]


def test_no_secret_of_the_engine_reaches_it(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLENGINE_DATABASE", "postgresql://me:secret@db.example/mlengine")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    advisor = make(READ + 'assert "secret" not in repr(os.environ)\n' + SAY)
    assert ask(advisor) == MODEL


def test_quick_searches_need_no_process(make: Make) -> None:
    advisor = make("raise SystemExit")
    assert ask(advisor, "random").why == ""
    assert ask(advisor, "random").how is How.RANDOM


def test_after_its_end_it_starts_nothing(make: Make) -> None:
    advisor = make(READ + SAY)
    assert ask(advisor) == MODEL
    advisor.close()
    advisor.close()
    with pytest.raises(Unavailable, match="is stopping"):
        ask(advisor)
    assert ask(advisor, "random").how is How.RANDOM


def test_who_waits_while_it_is_closed_is_told_so(make: Make, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    advisor = make(READ + f"open({str(asked)!r}, 'w').close()\n" + READ)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ask, advisor)
        wait_until(asked.exists)
        advisor.close()
        with pytest.raises(Unavailable, match="is stopping"):
            waiting.result(60)


def test_the_program_answers_line_by_line_and_ends_with_its_input() -> None:
    questions = [Question("random", PROBLEM, [], 2), Question("magic", PROBLEM, [], 1)]
    lines = b"".join(msgspec.json.encode(question) + b"\n" for question in questions[:1])
    command = [sys.executable, "-P", "-m", "mlengine.tuning.advise"]
    done = subprocess.run(command, input=lines, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    answer = msgspec.json.decode(done.stdout, type=Answer)
    assert [suggestion.how for suggestion in answer.suggestions] == [How.RANDOM] * 2
    lines = msgspec.json.encode(questions[1]) + b"\n"
    done = subprocess.run(command, input=lines, capture_output=True)
    assert (
        "There is no search called 'magic'" in msgspec.json.decode(done.stdout, type=Answer).error
    )
    done = subprocess.run([*command, "0"], stdin=subprocess.PIPE, capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"")
