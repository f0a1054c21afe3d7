"""The demo on a machine with a proxy, and with settings of gcloud's in its environment."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from scripts.demo import Demo, DemoError

ANSWER = b'{"predictions": ["<=50K"]}'
PATH = "/v1/projects/default/models/census:predict"


class Engine(BaseHTTPRequestHandler):
    """Answers for the demo's model alone."""

    def do_POST(self) -> None:
        is_known = self.path == PATH and self.headers["Authorization"] == "Bearer secret"
        self.send_response(200 if is_known else 404)
        self.end_headers()
        self.wfile.write(ANSWER if is_known else b"{}")

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Engine) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Typed(Demo):
    """Has what the commands of the last step print, and runs none."""

    def __init__(self, home: Path, url: str) -> None:
        super().__init__(home)
        self._url = url

    def run(self, *words: str, show: bool = True) -> str:
        return {"status": f"{self._url}\n", "auth": "secret\n"}.get(words[0], "")


def test_its_request_goes_through_no_proxy(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    Typed(tmp_path, url).predict()


def test_a_request_that_fails_is_an_error_of_the_demo(url: str, tmp_path: Path) -> None:
    with pytest.raises(DemoError, match=f"{url}/else{PATH} failed: HTTP Error 404"):
        Typed(tmp_path, f"{url}/else").predict()
    with pytest.raises(DemoError, match="refused"):
        Typed(tmp_path, "http://127.0.0.1:9").predict()


def test_its_commands_know_no_settings_but_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDSDK_CORE_PROJECT", "shop")
    monkeypatch.setenv("MLENGINE_PROJECT", "shop")
    demo = Demo(tmp_path)
    printed = tmp_path / "mlengine"
    printed.write_text("#!/bin/sh\nenv\n")
    printed.chmod(0o700)
    monkeypatch.setattr(demo, "_mlengine", printed)
    lines = demo.run("status", show=False).splitlines()
    assert f"MLENGINE_HOME={tmp_path / 'engine'}" in lines
    assert not [line for line in lines if line.endswith("=shop")]
