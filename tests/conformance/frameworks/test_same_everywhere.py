"""A row gets one answer: online alone, in company, in a file, and by the trainer's predict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlengine.runtime import batch, process, save_golden
from mlengine.runtime.answerer import Answerer
from mlengine.runtime.batch_output import RESULTS
from mlengine.runtime.opening import Opened, open_model


@pytest.fixture(scope="module")
def opened(case: Any) -> Opened:
    return open_model({"artifact": str(case.directory), "framework": case.framework})


def _online(opened: Opened, bodies: list[bytes]) -> list[bytes]:
    answerer = Answerer(opened.model, shortcut=opened.shortcut, max_answer_bytes=1 << 20)
    for number, body in enumerate(bodies):
        answerer.add(number, body, now_s=0.0)
    answers = {who: answer for group in answerer.answers(now_s=0.0) for who, answer in group}
    assert {answer.status for answer in answers.values()} == {200}
    return [answers[number].body for number in range(len(bodies))]


def test_online_and_batch_answer_as_the_trainer_predicts(
    case: Any, opened: Opened, rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = [json.dumps({"instances": [row]}).encode() for row in rows]
    alone = [_online(opened, [body])[0] for body in bodies]
    assert case.same([json.loads(body)["predictions"][0] for body in alone])

    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = {"artifact": str(case.directory), "framework": case.framework,
            "inputs": [str(tmp_path / "rows.jsonl")], "output_dir": str(tmp_path)}  # fmt: skip
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    for name in ("scrub_environment", "send_prints_to_stderr"):  # this process goes on
        monkeypatch.setattr(process, name, lambda: None)
    assert batch.main([str(tmp_path / "spec.json")]) == 0
    in_file = (tmp_path / RESULTS).read_bytes().splitlines()
    assert case.same([json.loads(line) for line in in_file])

    together = _online(opened, bodies)
    assert case.same([json.loads(body)["predictions"][0] for body in together])
    if "direct" in opened.about["way"] and "tensors" not in opened.about["way"]:
        assert together == alone
        assert [b'{"predictions":[%b]}' % line for line in in_file] == alone


def test_the_trainers_own_answers_are_golden(case: Any, opened: Opened, rows: Any) -> None:
    answers = opened.model.predict(rows)
    try:
        save_golden(case.directory, rows, answers)
        again = open_model({"artifact": str(case.directory), "framework": case.framework})
        assert (again.shortcut is None) == (opened.shortcut is None)
    finally:
        (case.directory / "golden.jsonl").unlink()
        (case.directory / "golden.libraries.json").unlink()
