"""The command line against a live engine, as a person in a terminal would use it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.live.engines import LiveEngine

__all__ = ["mlengine"]


def mlengine(
    engine: LiveEngine, *words: str, cwd: Path, code: int = 0, timeout_s: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run a command in the engine's home; it must end with this exit code."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # Without what a library set in this process meanwhile: tf2onnx makes TensorFlow talkative.
    dropped = ("MLENGINE_", "CLOUDSDK_", "TF_CPP_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    done = subprocess.run(
        [sys.executable, "-m", "mlengine", *words],
        cwd=cwd,
        env={**kept, "PATH": programs, "MLENGINE_HOME": str(engine.home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    assert done.returncode == code, done.stderr
    return done
