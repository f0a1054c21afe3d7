"""Asks for what to try next: quick searches here, the others in a process of their own.

A model needs numpy, a core for a while, and sometimes goes wrong; the engine must mind none of
that. So it is fitted by `tuning.advise`, which is started at the first question, ends by itself
when it has none for a while, and is killed when an answer takes too long. Whatever happens to it,
there is a suggestion: a random one, which says why.
"""

from __future__ import annotations

import logging
import os
import select
import subprocess
import sys
import threading
from collections.abc import Sequence

import msgspec

from mlengine.core.clock import Clock
from mlengine.core.errors import Unavailable
from mlengine.tuning.advise import Answer, Question
from mlengine.tuning.problem import Problem, Tried
from mlengine.tuning.search import Suggestion, open_search

__all__ = ["Advisor", "is_quick"]

_log = logging.getLogger(__name__)
_COMMAND = (sys.executable, "-P", "-m", "mlengine.tuning.advise")
_PIECE = 1 << 16
_LOOK_S = 0.5  # after which a wait sees that nobody wants the answer any more
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH",
                   "PYTHONPATH")  # fmt: skip


def is_quick(search: str) -> bool:
    """Whether a search needs no model: it costs microseconds, and no library."""
    return search in ("grid", "quasi-random", "random")


class Advisor:
    """Finds suggestions; it may be asked from several threads.

    Args:
        clock: For the time-out.
        timeout_s: How long an answer may take.
        command: The program that is asked; for tests.
    """

    def __init__(
        self, clock: Clock, *, timeout_s: float = 120.0, command: Sequence[str] = _COMMAND
    ) -> None:
        self._clock, self._timeout_s, self._command = clock, timeout_s, list(command)
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._closing = False

    def suggest(
        self, search: str, problem: Problem, history: Sequence[Tried], count: int
    ) -> list[Suggestion]:
        """Return what to try next; fewer points, or none, only if the space has no more.

        Raises:
            Unavailable: It is closed, or was meanwhile: the next engine is to be asked.
        """
        if is_quick(search):
            return open_search(search).suggest(problem, history, count)
        question = Question(search, problem, list(history), count)
        with self._turn:
            answer = self._ask(msgspec.json.encode(question) + b"\n")
        if not answer.error:
            return answer.suggestions
        if self._closing:
            raise Unavailable("The engine is stopping.", "Ask again.")
        _log.warning("%d suggestion(s) at random: %s", count, answer.error)
        why = f"the {search} search failed: {answer.error}"[:500]
        found = open_search("random").suggest(problem, history, count)
        return [msgspec.structs.replace(suggestion, why=why) for suggestion in found]

    def close(self) -> None:
        """End the process, also while somebody waits for its answer; start no other."""
        self._closing = True
        with self._turn:
            self._end()

    def _ask(self, question: bytes) -> Answer:
        """Have a question answered; a second process is asked if the first is gone."""
        answer = Answer(error="it is not running")
        for _try in range(2):
            if self._closing:
                break
            is_new = self._process is None or self._process.poll() is not None
            try:
                line = self._exchange(self._running(), question)
                return msgspec.json.decode(line, type=Answer)
            except TimeoutError:
                answer = Answer(error=f"no answer within {self._timeout_s:g} s")
            except (OSError, msgspec.DecodeError) as error:
                answer = Answer(error=f"its process broke off ({error})")
            self._end()
            if is_new:  # one that had been idle may just have ended by itself; this one had not
                break
        return answer

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._end()
        # No secret of the engine's; and one core: there are jobs beside it, which have asked for
        # the others.
        environ = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ, bufsize=0
        )
        return self._process

    def _exchange(self, process: subprocess.Popen[bytes], question: bytes) -> bytes:
        """Write a question and read a line, at the same time: neither pipe can fill up for good."""
        assert process.stdin is not None
        assert process.stdout is not None
        to, frm = process.stdin.fileno(), process.stdout.fileno()
        os.set_blocking(to, False)
        deadline = self._clock.monotonic_s() + self._timeout_s
        left, answer = memoryview(question), bytearray()
        while not answer.endswith(b"\n"):
            patience = deadline - self._clock.monotonic_s()
            if patience <= 0 or self._closing:
                raise TimeoutError
            readable, writable, _ = select.select(
                [frm], [to] if left else [], [], min(patience, _LOOK_S)
            )
            if writable:
                left = left[os.write(to, left[:_PIECE]) :]
            if readable:
                piece = os.read(frm, _PIECE)
                if not piece:
                    raise OSError("end of file")
                answer += piece
        return bytes(answer)

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        process.wait()
