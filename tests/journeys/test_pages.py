"""The pages for newcomers are typed in as they stand, in the order in which one reads them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from mlengine.client import local
from mlengine.engine.settings import Settings
from tests.journeys.conftest import environment, write_program

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("first-job.md", "deploy-and-predict.md", "other-clients.md")
_BLOCK = re.compile(r"^```([a-z]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\S+)\n")
_COMMANDS = ("mlengine ", "printf ", "curl ")


def test_the_first_pages_can_be_typed_in(tmp_path: Path) -> None:
    work, home, programs = (tmp_path / name for name in ("work", "home", "bin"))
    for folder in (work / "trainer", home, programs):
        folder.mkdir(parents=True)
    (work / "trainer" / "__init__.py").touch()
    (home / "mlengine.toml").write_text("port = 0\n")
    write_program(programs)
    script = "set -ex\n"
    for page in PAGES:
        for _kind, body in _BLOCK.findall((DOCS / page).read_text()):
            if named := _FILE.match(body):
                (work / named[1]).write_text(body)
            elif body.startswith(_COMMANDS):
                script += body.replace("/tmp/out", str(tmp_path / "out"))
    try:
        done = subprocess.run(
            ["bash", "-c", script], cwd=work, env=environment(home, programs),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180,
        )  # fmt: skip
    finally:
        if local.find(home):
            local.stop(Settings(home=home))
    assert done.returncode == 0, done.stdout + done.stderr
    for said in ("accuracy = 0.973", "state: SUCCEEDED", "[0, 2]\n[0]\n", '{"predictions":[0,2]}'):
        assert said in done.stdout, done.stdout
    assert "0\n2\n" in done.stdout
    for said in (
        '"state":"AVAILABLE"',
        '"datatype":"INT64","shape":[1],"data":[0]',
        "maxPredictBytes",
    ):
        assert said in done.stdout, done.stdout
