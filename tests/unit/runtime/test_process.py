"""What a process that runs models does before it imports a library."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlengine.prediction.workers.launch import worker_environment

IMPORT = "import onnxruntime; onnxruntime.get_available_providers()"
SCRUBBED = f"from mlengine.runtime.process import scrub_environment; scrub_environment(); {IMPORT}"


@pytest.mark.parametrize("program", [SCRUBBED, IMPORT], ids=["its own doing", "its environment"])
def test_a_library_that_would_report_to_its_makers_is_told_not_to(
    program: str, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    if program is IMPORT:
        env = worker_environment()
    else:
        env = {name: value for name, value in os.environ.items() if not name.startswith("ORT_")}
    env["HOME"] = str(tmp_path)
    subprocess.run([sys.executable, "-c", program], env=env, check=True, timeout=60)
    assert list(tmp_path.rglob("*")) == []
