"""Slow work beside the tick: what takes minutes stops nothing else."""

from __future__ import annotations

import threading

from mlengine.training.background import Background

LIMIT_S = 60.0


def test_however_many_prepare_another_job_is_dealt_with() -> None:
    background = Background()
    go_on, done = threading.Event(), threading.Event()

    def wait() -> None:
        go_on.wait(LIMIT_S)

    try:
        for number in range(20):
            assert background.run(f"cold-{number}", wait, then=lambda: None, patient=True)
        assert background.run("other", done.set, then=lambda: None)
        assert done.wait(LIMIT_S)
        assert background.working("cold-0")
    finally:
        go_on.set()
        background.close()


def test_of_one_job_one_piece_is_done_at_a_time() -> None:
    background = Background()
    go_on = threading.Event()

    def wait() -> None:
        go_on.wait(LIMIT_S)

    try:
        assert background.run("j", wait, then=lambda: None)
        assert not background.run("j", go_on.set, then=lambda: None, patient=True)
    finally:
        go_on.set()
        background.close()
    assert not background.run("k", go_on.set, then=lambda: None)
