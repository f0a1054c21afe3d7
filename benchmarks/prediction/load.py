"""Drives `load.c`: makes it, runs it, and checks every distinct answer that it saw."""

from __future__ import annotations

import json
import math
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Load", "Question", "build", "close", "run"]

_TOLERANCE = 1e-5


class Question(NamedTuple):
    """One request, whole, and the predictions that are right."""

    request: bytes
    predictions: list[Any]


class Load(NamedTuple):
    """What one run saw. Times are in milliseconds, `cpu_s` is the generator's own."""

    requests: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_s: float
    bad: int
    first_problem: str


def build(folder: Path, name: str = "load") -> Path:
    """Compile a program in C of this folder's: the generator, or another.

    Raises:
        SystemExit: There is no C compiler.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise SystemExit("The load generator is in C: install a C compiler (cc).")
    program = folder / name
    source = str(Path(__file__).with_name(f"{name}.c"))
    subprocess.run([compiler, "-O2", "-o", str(program), source], check=True)
    return program


def run(
    program: Path, port: int, questions: Sequence[Question], read: Callable[[bytes], list[Any]],
    *, connections: int, seconds: float,
) -> Load:  # fmt: skip
    """Load one server.

    Args:
        read: Takes the predictions out of an answer's body.
        connections: Keep-alive connections, each with one request at a time.
    """
    with tempfile.TemporaryDirectory(prefix="load-") as name:
        asked, answers = Path(name, "requests"), Path(name, "answers")
        with open(asked, "wb") as out:
            out.write(struct.pack("<I", len(questions)))
            for question in questions:
                out.write(struct.pack("<I", len(question.request)) + question.request)
        argv = [str(program), str(port), str(connections), str(seconds), str(asked), str(answers)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            return Load(0, 0.0, 0.0, 0.0, 0.0, 1, f"the generator: {done.stderr.strip()}")
        said = json.loads(done.stdout)
        wrong, first = _judge(answers.read_bytes(), questions, read)
    return Load(
        said["requests"], said["requests"] / said["seconds"], said["p50_ms"], said["p99_ms"],
        said["cpu_s"], said["failed"] + wrong, said["first_problem"] or first,
    )  # fmt: skip


def close(got: Any, wanted: Any) -> bool:
    """Whether two predictions are equal, floats within 1e-5 (absolute, or relative above 1)."""
    if isinstance(wanted, float) and isinstance(got, int | float):
        return math.isclose(got, wanted, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    if isinstance(wanted, list):
        return (
            isinstance(got, list)
            and len(got) == len(wanted)
            and all(close(g, w) for g, w in zip(got, wanted, strict=True))
        )
    if isinstance(wanted, dict):
        return (
            isinstance(got, dict)
            and got.keys() == wanted.keys()
            and all(close(got[key], wanted[key]) for key in wanted)
        )
    return bool(got == wanted)


def _judge(
    answers: bytes, questions: Sequence[Question], read: Callable[[bytes], list[Any]]
) -> tuple[int, str]:
    wrong, first, at = 0, "", 0
    while at < len(answers):
        row, length = struct.unpack_from("<II", answers, at)
        body = answers[at + 8 : at + 8 + length]
        at += 8 + length
        try:
            right = close(read(body), questions[row].predictions)
        except (ValueError, KeyError, TypeError, IndexError):
            right = False
        if not right:
            wrong += 1
            first = first or f"wrong answer: {body[:200]!r}"
    return wrong, first
