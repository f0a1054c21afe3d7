"""Where replicas run, as an engine sees it at every turn, whether it leads or not."""

from __future__ import annotations

import os
from pathlib import Path

from mlengine.engine.backend import backend_of
from mlengine.engine.settings import load
from mlengine.runtime import attemptfiles, processes
from mlengine.training.launchers import AttemptSpec, ReplicaSpec
from mlengine.training.launchers.process import identity_of
from tests.waiting import wait_until


def test_who_looks_collects_supervisors_that_nobody_asks_about_any_more(tmp_path: Path) -> None:
    # An engine that led before and does not any more: its attempts are another engine's.
    backend = backend_of(load({}, home=str(tmp_path / "home")), tmp_path)
    replica = ReplicaSpec(
        task="master-replica-0", role="master", index=0, argv=["true"],
        env={"PATH": os.environ["PATH"]}, cwd=str(tmp_path),
    )  # fmt: skip
    attempt = tmp_path / "1"
    try:
        spec = AttemptSpec(job="projects/p/jobs/j", attempt=1, replicas=[replica])
        backend.launcher.start(attempt, spec)
        wait_until((attempt / attemptfiles.EXIT).exists)
        identity = identity_of(attempt)
        assert identity is not None

        def is_collected() -> bool:
            backend.look()
            row = processes.look(identity["pid"])
            return row is None or row.started != identity["started"]

        wait_until(is_collected)
    finally:
        backend.close()
