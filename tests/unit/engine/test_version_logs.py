"""Which logs, and how much of them, a local engine reads for a version."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from mlengine.core.errors import InvalidArgument
from mlengine.engine.predictions import LocalPredictions


class _OneVersion:
    """Stands for `Models`: knows one version."""

    def version_record(self, project: str, model_id: str, version_id: str) -> SimpleNamespace:
        assert (project, model_id, version_id) == ("p", "curve", "v1")
        return SimpleNamespace(uid="7f3a")


def test_the_logs_of_a_version_are_those_of_its_uid_and_so_many_lines(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    lines = [str(number) for number in range(300)]
    (tmp_path / "logs" / "worker-7f3a-0.log").write_text("\n".join(lines) + "\n")
    (tmp_path / "logs" / "worker-9c41-0.log").write_text("another's\n")
    engine = LocalPredictions()
    engine._models = _OneVersion()  # type: ignore[assignment]
    engine._settings = SimpleNamespace(home=tmp_path)  # type: ignore[assignment]
    (log,) = engine.version_logs("p", "curve", "v1").logs
    assert log.lines == lines[-100:]
    assert engine.version_logs("p", "curve", "v1", limit=2).logs[0].lines == lines[-2:]
    for limit in (-1, 10_001):
        with pytest.raises(InvalidArgument, match=f"The limit {limit} is not from 1 to 10000"):
            engine.version_logs("p", "curve", "v1", limit=limit)
