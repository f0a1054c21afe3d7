"""Which signals end an engine while it starts; what they end is seen in tests/faults."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from mlengine import daemon

_HEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {signum: signal.getsignal(signum) for signum in _HEARD}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.mark.parametrize("signum", _HEARD)
def test_an_engine_that_starts_hears_that_it_is_to_end(signum: signal.Signals) -> None:
    wish = daemon._Wish()
    assert not wish.spoken
    signal.raise_signal(signum)
    assert wish.spoken


def test_only_a_person_asks_twice() -> None:
    wish = daemon._Wish()
    signal.raise_signal(signal.SIGHUP)
    signal.raise_signal(signal.SIGHUP)  # the shell's, then the kernel's
    assert wish.spoken
    with pytest.raises(SystemExit):
        signal.raise_signal(signal.SIGTERM)


def test_under_nohup_a_closed_terminal_means_nothing() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    wish = daemon._Wish()
    signal.raise_signal(signal.SIGHUP)
    assert not wish.spoken
