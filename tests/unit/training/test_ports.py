"""Ports for replicas."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from mlengine.core.errors import ResourceExhausted
from mlengine.training import ports
from mlengine.training.ports import Ports


def test_no_port_is_handed_out_twice_to_jobs_that_start_at_once() -> None:
    found = Ports()
    with ThreadPoolExecutor(8) as pool:
        takes = list(pool.map(lambda _: found.take(33), range(20)))
    flat = [port for take in takes for port in take]
    assert len(set(flat)) == len(flat) == 660
    assert max(flat) < 32_768  # below what the kernel gives to outgoing connections


def test_a_port_in_use_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = Ports().take(1)
    monkeypatch.setattr(ports, "_FIRST", port)
    monkeypatch.setattr(ports, "_END", port + 1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(ResourceExhausted, match="no 1 are free"):
            Ports().take(1)
    assert Ports().take(1) == [port]
    with pytest.raises(ResourceExhausted):
        Ports().take(1, avoid=[port])
