"""The A/B test's page is typed in; then a canary goes all the way and back, under load."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from mlengine.client import local
from mlengine.engine.home import read_engine_file, read_token
from mlengine.engine.settings import Settings
from tests.journeys.conftest import environment, write_program
from tests.waiting import wait_until

PAGE = Path(__file__).parents[2] / "docs" / "ab-test.md"
_BLOCK = re.compile(r"^```([a-z]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\S+)\n")
_COMMANDS = ("mlengine ", "mkdir ", "export ")
# Among so many visitors are some whom the two trees tell apart.
_VISITORS = [[age / 10, visits / 10] for age in range(10) for visits in range(10)]


class Shop(NamedTuple):
    """Where the page was typed in, and what it printed."""

    root: Path
    said: str

    def mlengine(self, *words: str) -> None:
        done = subprocess.run(
            ["mlengine", *words], cwd=self.root / "work",
            env=environment(self.root / "home", self.root / "bin"), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with tempfile.TemporaryDirectory(prefix="shop-") as folder:
        root = Path(folder)
        work, home, programs = (root / name for name in ("work", "home", "bin"))
        for each in (work, home, programs):
            each.mkdir()
        (home / "mlengine.toml").write_text("port = 0\n")
        write_program(programs)
        script = "set -ex\n"
        for _kind, body in _BLOCK.findall(PAGE.read_text()):
            if named := _FILE.match(body):
                (work / named[1]).write_text(body)
            elif body.startswith(_COMMANDS):
                script += body
        try:
            done = subprocess.run(
                ["bash", "-c", script], cwd=work, env=environment(home, programs),
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr
            yield Shop(root, done.stdout)
        finally:
            if local.find(home):
                local.stop(Settings(home=home))


def test_the_page_finds_the_better_version(shop: Shop) -> None:
    shadow, few, many = shop.said.split("MEASURE")[1:]
    # Some may still be on their way, or were too many at a time.
    assert re.search(r"copies +- +[\d-]+\n", shadow)
    assert re.search(r"agreement +- +\d+\.\d\d%\n", many)
    assert re.search(r"outcomes +\d+ +\d+\n", few)
    assert re.search(r"mean outcome +0\.\d+ +0\.9\d* .* higher\n", many)
    outcomes = re.search(r"outcomes +(\d+) +(\d+)\n", many)
    assert outcomes is not None
    assert int(outcomes[1]) + int(outcomes[2]) == 1200


class Load:
    """Callers who ask without a pause and note what is not as it should be."""

    def __init__(self, url: str, token: str) -> None:
        self._address, self._token = urlsplit(url).netloc, token
        self._body = json.dumps({"instances": _VISITORS})
        self._stop = threading.Event()
        self.wrong: list[str] = []
        self.answers: list[tuple[str, int]] = []
        self._right: dict[str, bytes] = {}
        self._threads = [threading.Thread(target=self._ask_on, args=(n,)) for n in range(2)]

    def __enter__(self) -> Load:
        for version in ("v1", "v2"):
            connection = http.client.HTTPConnection(self._address, timeout=60)
            _, self._right[version], _ = self._ask(connection, f"/versions/{version}", "")
            connection.close()
        assert self._right["v1"] != self._right["v2"]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def comes_to(self, versions: set[str]) -> None:
        """Wait until exactly these answer those that are asked from now on."""
        wait_until(lambda: self._versions_after(200) == versions or self.wrong, 180)

    def _versions_after(self, count: int) -> set[str]:
        # Two were on their way at most.
        begin = len(self.answers) + len(self._threads)
        wait_until(lambda: len(self.answers) >= begin + count or self.wrong, 180)
        return {version for version, _ in self.answers[begin:]}

    def _ask_on(self, caller: int) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=60)
        number = 0
        while not self._stop.is_set():
            number += 1
            try:
                version, body, status = self._ask(connection, "", f"user {caller} {number}")
            except (OSError, http.client.HTTPException) as error:
                self.wrong.append(repr(error))
                return
            if status != 200 or body != self._right.get(version):
                self.wrong.append(f"{status} {version} {body!r}")
            self.answers.append((version, status))
        connection.close()

    def _ask(
        self, connection: http.client.HTTPConnection, rest: str, user: str
    ) -> tuple[str, bytes, int]:
        headers = {"Authorization": f"Bearer {self._token}", "X-User": user}
        path = f"/v1/projects/default/models/shop{rest}:predict"
        connection.request("POST", path, self._body, headers)
        answer = connection.getresponse()
        version = (answer.getheader("x-mlengine-version") or "").rpartition("/")[2]
        return version, answer.read(), answer.status


def test_a_canary_goes_all_the_way_and_back_and_no_answer_is_lost(shop: Shop) -> None:
    home = shop.root / "home"
    url = str((read_engine_file(home) or {})["url"])
    with Load(url, read_token(home)) as load:
        load.comes_to({"v2"})  # where the page ended
        shop.mlengine("versions", "set-default", "v1", "--model", "shop")
        load.comes_to({"v1"})
        for split in ("v1=90,v2=10", "v1=50,v2=50"):
            shop.mlengine("models", "set-traffic", "shop", "--split", split)
            load.comes_to({"v1", "v2"})  # but for once in 10**9
        shop.mlengine("models", "set-traffic", "shop", "--split", "v1=0,v2=1")
        load.comes_to({"v2"})
        shop.mlengine("versions", "set-default", "v2", "--model", "shop")
        load.comes_to({"v2"})
        shop.mlengine("versions", "set-default", "v1", "--model", "shop")
        load.comes_to({"v1"})
    assert load.wrong == []
