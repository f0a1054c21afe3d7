"""The network to a node of a Ray cluster is cut: the node is in a network namespace of its own.

Minutes; needs the right to make namespaces. ``MLENGINE_RAY_SLOW=1`` asks for it.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.faults.test_ray import RECOVERY_S, Attempt, lost
from tests.live.raycluster import Launchers, launchers, ray_cluster
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        os.environ.get("MLENGINE_RAY_SLOW") != "1" or os.getuid() != 0,
        reason="MLENGINE_RAY_SLOW=1 and root are needed",
    ),
]


class Link(NamedTuple):
    netns: str
    device: str
    network: str

    def set(self, state: str) -> None:
        ip("link", "set", self.device, state)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture(scope="module")
def link() -> Iterator[Link]:
    number = random.SystemRandom().randint(2, 250)
    link = Link(f"mlr{number}", f"mlr{number}h", f"10.231.{number}")
    ip("netns", "add", link.netns)
    try:
        peer = f"mlr{number}n"
        ip("link", "add", link.device, "type", "veth", "peer", "name", peer, "netns", link.netns)
        ip("addr", "add", f"{link.network}.2/24", "dev", link.device)
        link.set("up")
        inside = ("-n", link.netns)
        ip(*inside, "addr", "add", f"{link.network}.3/24", "dev", peer)
        ip(*inside, "link", "set", peer, "up")
        ip(*inside, "link", "set", "lo", "up")
        yield link
    finally:
        ip("netns", "del", link.netns)


@pytest.fixture(scope="module")
def on_ray(link: Link) -> Iterator[Launchers]:
    with ray_cluster(nodes=2, network=link.network, netns=link.netns) as cluster:
        with launchers(cluster) as made:
            yield made


def test_a_node_that_is_cut_off_ends_its_replica_itself(
    on_ray: Launchers, link: Link, tmp_path: Path
) -> None:
    attempt = Attempt(on_ray(), tmp_path)
    attempt.start(2, 2)
    (far,) = (r for r in ("master", "worker") if attempt.node(r) == f"{link.network}.3")
    pids = [int(pid) for pid in (tmp_path / f"{far}.pids").read_text().split()]
    link.set("down")
    try:
        assert lost(attempt.end().exit) == [f"{far}-replica-0"]
        assert not set(pids) & set(attempt.alive())
    finally:
        link.set("up")
    # What was under way comes late, or never; nothing of it starts a replica again.
    (tmp_path / "again").mkdir()
    again = Attempt(on_ray(), tmp_path / "again")
    again.start(1)
    assert attempt.alive() == []
    again.launcher.cancel(again.dir)
    wait_until(lambda: again.launcher.poll(again.dir).exit, RECOVERY_S)
