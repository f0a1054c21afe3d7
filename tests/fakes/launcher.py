"""A launcher that plays back what its test says: reconciler tests start no process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlengine.training.launchers import (
    AttemptSpec,
    AttemptStatus,
    ExitRecord,
    Handle,
    Launcher,
    Outcome,
    Phase,
    ReplicaExit,
)


class ScriptedLauncher:
    """Attempts go where the test puts them with `now`."""

    def __init__(self) -> None:
        self.specs: dict[Path, AttemptSpec] = {}
        self.cancelled: list[Path] = []
        self.swept: list[Path] = []
        self._status: dict[Path, AttemptStatus] = {}

    def now(self, phase: Phase, *, attempt_dir: Path | None = None, ran_in: str = "") -> None:
        folder = attempt_dir or list(self.specs)[-1]
        self._status[folder] = AttemptStatus(phase, ran_in=ran_in)

    def ends(
        self,
        outcome: Outcome,
        message: str = "",
        *,
        ran_s: float = 36.0,
        replicas: Sequence[ReplicaExit] = (),
        attempt_dir: Path | None = None,
    ) -> None:
        code = 0 if outcome is Outcome.SUCCEEDED else 1
        chief = ReplicaExit(task="master-replica-0", role="master", index=0, exit_code=code)
        record = ExitRecord(
            outcome=outcome,
            replicas=list(replicas) or [chief],
            message=message,
            started=1000.0,
            ended=1000.0 + ran_s,
        )
        folder = attempt_dir or list(self.specs)[-1]
        self._status[folder] = AttemptStatus(Phase.EXITED, record)

    def start(self, attempt_dir: Path, spec: AttemptSpec) -> Handle:
        new = attempt_dir not in self.specs
        self.specs[attempt_dir] = spec
        self._status.setdefault(attempt_dir, AttemptStatus(Phase.STARTING))
        return Handle(attempt_dir, new)

    def poll(self, attempt_dir: Path) -> AttemptStatus:
        return self._status.get(attempt_dir, AttemptStatus(Phase.NOT_STARTED))

    def cancel(self, attempt_dir: Path) -> None:
        self.cancelled.append(attempt_dir)

    def sweep(self, attempt_dir: Path) -> int:
        self.swept.append(attempt_dir)
        return 0


_: type[Launcher] = ScriptedLauncher
