"""The network between an engine and PostgreSQL is cut: a cable that is pulled says no farewell.

The engine runs in a network namespace; a pair of virtual interfaces is its cable.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from mlengine.store.sql import SqlStore
from tests.live.postgres import PostgresServer, missing, postgres_server
from tests.waiting import wait_until

# A network of this process's own: somebody else may run the same test.
_NET = f"10.213.{os.getpid() % 256}.{os.getpid() // 256 % 64 * 4}"
HERE, THERE = (str(ipaddress.ip_address(_NET) + number) for number in (1, 2))

# What the store sets, but for a fifth of the time; 1 restores it.
FASTER = int(os.environ.get("MLENGINE_FASTER", "5"))

ENGINE = f"""
import sys
from mlengine.store import StoreAway, open_store, postgres_address
for settings in (postgres_address._OURS, postgres_address._THEIRS):
    for name, value in settings.items():
        if name.startswith("tcp_user") or name.startswith("idle_in"):
            settings[name] = str(int(value) // {FASTER})
        elif "_idle" in name or "_interval" in name or name == "connect_timeout":
            settings[name] = str(max(int(value) // {FASTER}, 1))
store = open_store(sys.argv[1])
for line in sys.stdin:
    try:
        print(getattr(store, line.strip())(), flush=True)
    except StoreAway as error:
        print("away", flush=True)
"""


class Far(NamedTuple):
    """A store in a process at the other end of a cable."""

    server: PostgresServer
    process: subprocess.Popen[str]
    cable: Callable[[str], None]

    def ask(self, method: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{method}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def far() -> Iterator[Far]:
    if missing():
        pytest.skip(missing())
    space, cable = f"mlpg{os.getpid()}", f"mlpg{os.getpid() % 100_000}"
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need root and `ip`: sudo apt install iproute2")
    try:
        ip("netns", "add", space)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr!r}")
    try:
        ip("link", "add", f"{cable}a", "type", "veth", "peer", "name", f"{cable}b", "netns", space)
        ip("addr", "add", f"{HERE}/30", "dev", f"{cable}a")
        ip("link", "set", f"{cable}a", "up")
        ip("-n", space, "addr", "add", f"{THERE}/30", "dev", f"{cable}b")
        ip("-n", space, "link", "set", f"{cable}b", "up")
        with postgres_server(HERE) as server:
            url = server.url(server.new_database())
            words = ["ip", "netns", "exec", space, sys.executable, "-c", ENGINE, url]
            with subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            ) as process:
                yield Far(server, process, lambda to: ip("link", "set", f"{cable}a", to))
                process.kill()
    finally:
        ip("netns", "del", space)  # its end of the cable goes, and so does ours


def test_when_the_cable_is_pulled_the_leader_knows_before_another_leads(far: Far) -> None:
    assert far.ask("lead") == "True"
    (name,) = far.server.databases("test_")
    near = SqlStore.open(f"postgresql://postgres@/{name}?host={far.server.socket_folder}"
                         f"&port={far.server.port}")  # fmt: skip
    assert not near.lead()
    answers: list[str] = []
    asker = threading.Thread(target=lambda: answers.append(far.ask("lead")))
    far.cable("down")
    asker.start()
    wait_until(near.lead, timeout_s=60)
    assert answers == ["False"]
    asker.join(60)
    assert far.ask("buckets") == "away"
    far.cable("up")
    wait_until(lambda: far.ask("buckets") == "[]", timeout_s=60)
    assert far.ask("lead") == "False"
    near.close()
    wait_until(lambda: far.ask("lead") == "True", timeout_s=60)
