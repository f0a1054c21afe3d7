from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mlengine.runtime import envelope

LOOK = """
import errno, os, pathlib, sys
from mlengine.runtime import envelope
descriptor = int(sys.argv[1])
try:
    os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY)
    print("opened")
except OSError as error:
    print(errno.errorcode[error.errno])
print(envelope.look(descriptor).decode())
"""


def test_words_can_be_looked_at_again_by_every_heir_but_not_opened_by_path() -> None:
    words = "w" * envelope.MAX_BYTES
    with envelope.seal(words.encode()) as sealed:
        number = sealed.fileno()
        assert not os.get_inheritable(number)
        for _ in range(2):
            done = subprocess.run(
                [sys.executable, "-c", LOOK, str(number)],
                pass_fds=[number], capture_output=True, text=True, check=True, timeout=60,
            )  # fmt: skip
            assert done.stdout.split() == ["ENXIO", words]


def test_an_envelope_may_be_empty_and_is_never_too_full() -> None:
    with envelope.seal(b"") as sealed:
        assert envelope.look(sealed.fileno()) == b""
    with pytest.raises(ValueError, match="holds 65536 bytes, not 65537"):
        envelope.seal(b"w" * (envelope.MAX_BYTES + 1))
