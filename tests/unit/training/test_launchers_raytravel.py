"""What a replica is told, and finds, where it does not see what the engine's machine has."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mlengine.runtime.depot import Depot, machine_kind
from mlengine.runtime.freight import is_beneath
from mlengine.storage.shims import CONFIG_VARIABLE
from mlengine.training.launchers.raytravel import Journey, Stranded


class BlindPost:
    """A post on a node that sees nothing beneath a folder."""

    def __init__(self, root: Path, unseen: Path) -> None:
        root.mkdir(mode=0o700)
        self._unseen = str(unseen)
        self._depot = Depot("one", str(root))
        self.kind = machine_kind()

    async def call(self, method: str, *arguments: Any) -> Any:
        return getattr(self, method)(*arguments)

    def open_depot(self) -> list[Any]:
        return [*self._depot.where(), self.kind]

    def open_tunnels(self, count: int) -> list[int]:
        return list(range(7000, 7000 + count))

    def tunnel(self, _number: int, _method: str, *_arguments: Any) -> Any:
        return []

    def depot(self, method: str, *arguments: Any) -> Any:
        if method == "seen":
            return [path for path in self._depot.seen(*arguments) if not self._is_hidden(path)]
        if method == "lacks":
            return [p for p in arguments[0] if self._is_hidden(p) or not Path(p).exists()]
        return getattr(self._depot, method)(*arguments)

    def _is_hidden(self, path: str) -> bool:
        return is_beneath(path, self._unseen)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home" / "jobs" / "j" / "1" / "work").mkdir(parents=True)
    return tmp_path / "home"


@pytest.fixture
def post(tmp_path: Path, home: Path) -> Iterator[BlindPost]:
    post = BlindPost(tmp_path / "node", home)
    yield post
    post.depot("close")


def travel(
    post: BlindPost, home: Path, argv: Sequence[str], *, env: dict[str, str] | None = None,
    places: Sequence[str] = (), **more: Any,
) -> tuple[Journey, dict[str, Any]]:  # fmt: skip
    """Bring a replica there; return what its outpost is told."""
    attempt = home / "jobs" / "j" / "1"
    replica = {"argv": list(argv), "cwd": str(attempt / "work"), "env": env or {}}
    order = {"attempt_dir": str(attempt), "places": list(places), "sidecars": [], **more}
    survey = {"node": "far", "missing": [str(attempt / "supervisor.lock"), *more.get("lacks", [])]}

    async def run() -> tuple[Journey, dict[str, Any]]:
        journey = Journey(post.call, order, replica, survey)
        try:
            await journey.arrive()
            return journey, journey.order({**order, "replica": replica})
        finally:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

    return asyncio.run(run())


def test_a_file_that_its_command_names_is_brought_by_the_nodes_paths(
    post: BlindPost, home: Path
) -> None:
    attempt = home / "jobs" / "j" / "1"
    (home / "model").mkdir()
    (home / "model" / "m").write_text("weights")
    plan = {"model": str(home / "model"), "progress": str(attempt / "progress.json")}
    (attempt / "batch.json").write_text(json.dumps(plan))
    _, order = travel(post, home, ["/bin/sh", str(attempt / "batch.json")],
                      places=[str(home / "model"), str(attempt / "progress.json")])  # fmt: skip
    there = json.loads(Path(order["replica"]["argv"][1]).read_text())
    assert (Path(there["model"]) / "m").read_text() == "weights"
    assert there["progress"].endswith("/progress.json") and there["progress"] != plan["progress"]
    assert Path(there["progress"]).parent.is_dir()
    assert Path(order["replica"]["cwd"]).is_dir() and order["replica"]["cwd"] != str(attempt)
    assert Path(order["attempt_dir"]).is_dir()


def test_bucket_access_there_has_the_helper_and_nobodys_keys(post: BlindPost, home: Path) -> None:
    attempt, programs = home / "jobs" / "j" / "1", home / "run" / "bin"
    programs.mkdir(parents=True)
    for name in ("gsutil", "gcloud"):
        (programs / name).write_text("#!/bin/sh\n")
    (home / "buckets" / "mine").mkdir(parents=True)
    config = {
        "secret": "s", "root": str(home / "buckets"), "keys": "/keys", "key": "/private",
        "buckets": [{"name": "far", "backing": "s3://x"}],
    }  # fmt: skip
    (attempt / "buckets.json").write_text(json.dumps(config))
    helper = {"argv": [], "env": {}, "variables": {"STORAGE_EMULATOR_HOST": "http://h:{port}/s"}}
    env = {CONFIG_VARIABLE: str(attempt / "buckets.json"), "PATH": f"{programs}:/bin"}
    _, order = travel(post, home, ["/bin/sh"], env=env, sidecars=[helper], helper_ports=[1])
    env = order["replica"]["env"]
    assert env["STORAGE_EMULATOR_HOST"] == "http://h:7000/s" and order["sidecars"] == []
    assert (Path(env["PATH"].split(":")[0]) / "gsutil").read_text() == "#!/bin/sh\n"
    told = json.loads(Path(env[CONFIG_VARIABLE]).read_text())
    assert set(told) == {"secret", "root", "buckets"}
    assert [(b["name"], b["backing"]) for b in told["buckets"]] == [
        ("mine", "gcs://mine"), ("far", "gcs://far"),
    ]  # fmt: skip
    assert Path(told["root"]).is_dir()


def test_a_machine_of_another_kind_is_refused(post: BlindPost, home: Path) -> None:
    post.kind = ["linux-riscv64", "musl"]
    venv = home / "venv" / "bin"
    venv.mkdir(parents=True)
    told = {"version": "3.11", "implementation": "CPython", "python": "/no/python",
            "prefix": str(home / "venv"), "is_venv": True, "folders": []}  # fmt: skip
    (venv / "python").write_text(f"#!/bin/sh\necho '{json.dumps(told)}'\n")
    (venv / "python").chmod(0o700)
    with pytest.raises(Stranded, match="far is linux-riscv64 musl, and does not see"):
        travel(post, home, [str(venv / "python")], lacks=[str(venv / "python")])


def test_a_program_that_is_no_environments_is_refused(post: BlindPost, home: Path) -> None:
    with pytest.raises(Stranded, match="has no /no/such/program"):
        travel(post, home, ["/no/such/program"], lacks=["/no/such/program"])
