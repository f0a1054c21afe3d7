"""The page on custom prediction is typed in as it stands: four samples, from package to answer."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mlengine.client import local
from mlengine.engine.settings import Settings
from tests.journeys.conftest import environment, write_program
from tests.live.runtimes import share_runtimes

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LIMIT_S = 840


@pytest.mark.timeout(900)  # three frameworks are imported, most of them twice
def test_the_page_can_be_typed_in(tmp_path: Path) -> None:
    work, home, programs = (tmp_path / name for name in ("work", "home", "bin"))
    shutil.copytree(ROOT / "samples", work, ignore=shutil.ignore_patterns("census", "__pycache__"))
    programs.mkdir()
    share_runtimes(home)
    (home / "mlengine.toml").write_text("port = 0\n")
    write_program(programs)
    page = (ROOT / "docs" / "custom-prediction.md").read_text()
    script = "set -ex\n" + "".join(_BLOCK.findall(page))
    try:
        done = subprocess.run(
            ["bash", "-c", script], cwd=work, env=environment(home, programs),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_LIMIT_S,
        )  # fmt: skip
    finally:
        if local.find(home):
            local.stop(Settings(home=home))
    assert done.returncode == 0, done.stdout + done.stderr
    for said in (
        "[True, False]",
        "['setosa', 'virginica']",
        '{"predictions":[{"colour":"red","score":',
    ):
        assert said in done.stdout, done.stdout
    probabilities = re.search(r'"predictions":\[\[([0-9.e-]+),', done.stdout)
    assert probabilities and float(probabilities[1]) > 0.9, done.stdout
    half, one = (float(text) for text in done.stdout.strip().splitlines()[-1][1:-1].split(","))
    assert abs(half - 0.25) < 0.05 and abs(one - 1.0) < 0.1, done.stdout
