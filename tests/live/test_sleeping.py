"""Versions that sleep, wake, share memory and grow in a real engine: no answer is lost or wrong."""

from __future__ import annotations

import json
import os
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.prediction.asking import times
from benchmarks.prediction.switch import switch
from mlengine.core.resources import AutoScaling, ManualScaling, Model, Version, VersionOptions
from tests.live.engines import LiveEngine, P, live_engine
from tests.waiting import wait_until

MODELS = 6


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveEngine]:
    """One worker's memory is all that there is: whoever wakes puts the others to sleep."""
    home = tmp_path_factory.mktemp("sleep") / "home"
    with live_engine(home, serving_memory_bytes="1", idle_after_s="3600") as engine:
        engine.make_bucket()
        for number in range(MODELS):
            uri = engine.upload_model(f"times{number}", model__joblib=times(number))
            # Its own limit: without one it is that of all together, which is for the engine here.
            options = VersionOptions(memory_bytes=1 << 30)
            operation = engine.deploy(uri, model_id=f"times{number}", options=options)
            assert operation.error is None
        yield engine


def ask(engine: LiveEngine, model: str, row: float) -> tuple[float, str]:
    """Predict through the gateway; return the prediction and who made it."""
    request = urllib.request.Request(
        f"{engine.url}/v1/projects/{P}/models/{model}:predict",
        data=json.dumps({"instances": [[row]]}).encode(),
        headers={"Authorization": f"Bearer {engine.token}"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)["predictions"][0], answer.headers["x-mlengine-version"]


def workers(engine: LiveEngine) -> list[str]:
    return [line for line in engine.processes() if "-m mlengine.runtime.worker" in line]


def test_many_models_share_the_memory_of_one(engine: LiveEngine) -> None:
    wait_until(lambda: len(workers(engine)) == 1, message="one of them is awake")
    for round_ in range(4):
        for number in range(MODELS):
            row = 10.0 * round_ + number
            value, version = ask(engine, f"times{number}", row)
            assert value == pytest.approx(number * row, abs=1e-9)
            assert version.endswith(f"/times{number}/versions/v1")
    wait_until(lambda: len(workers(engine)) == 1)


def test_callers_of_many_sleepers_at_one_time_all_get_their_own_answers(
    engine: LiveEngine,
) -> None:
    wrong: list[str] = []

    def call(number: int) -> None:
        for row in range(3):
            try:
                value, version = ask(engine, f"times{number}", float(row))
            except urllib.error.HTTPError as error:
                wrong.append(f"times{number}: {error.code} {error.read()!r}")
                return
            if abs(value - number * row) > 1e-9 or f"/times{number}/" not in version:
                wrong.append(f"times{number}: {value} by {version}")

    callers = [threading.Thread(target=call, args=(n,)) for n in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(180)
    assert not wrong


def test_a_killed_engine_finds_its_sleepers_again(engine: LiveEngine) -> None:
    assert ask(engine, "times3", 2.0)[0] == pytest.approx(6.0)
    engine.kill()
    assert ask(engine, "times3", 3.0)[0] == pytest.approx(9.0), "who is awake needs no engine"
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(engine, "times5", 1.0)
    assert (refused.value.code, refused.value.headers["retry-after"]) == (503, "1")
    assert b"asleep, and the engine that would wake it is away" in refused.value.read()
    engine.start()
    assert ask(engine, "times5", 1.0)[0] == pytest.approx(5.0)


def test_a_worker_that_is_killed_asleep_or_awake_costs_nobody_but_who_was_in_flight(
    engine: LiveEngine,
) -> None:
    assert ask(engine, "times1", 1.0)[0] == pytest.approx(1.0)
    (ready,) = [json.loads(p.read_text()) for p in _ready(engine.home)]
    os.kill(ready["pid"], signal.SIGKILL)
    wait_until(lambda: _answers(engine, "times1"))
    assert ask(engine, "times2", 1.0)[0] == pytest.approx(2.0)


def _ready(home: Path) -> list[Path]:
    return sorted((home / "run" / "workers").glob("*/own/ready.json"))


def _answers(engine: LiveEngine, model: str) -> bool:
    try:
        return ask(engine, model, 1.0)[0] == pytest.approx(1.0)
    except urllib.error.HTTPError:
        return False


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveEngine]:
    home = tmp_path_factory.mktemp("roomy") / "home"
    with live_engine(home, idle_after_s="1") as engine:
        engine.make_bucket()
        engine.upload_model("times2", model__joblib=times(2))
        for model_id in ("own", "kept"):
            engine.client.create_model(P, Model(name=model_id))
        yield engine


def test_an_idle_version_sleeps_and_the_next_caller_wakes_it(roomy: LiveEngine) -> None:
    version = Version(name="v1", deployment_uri="gs://mine/times2")
    roomy.done(roomy.client.create_version(P, "own", version))
    for row in (1.0, 2.0):
        wait_until(lambda: not workers(roomy), message="nobody asks")
        assert ask(roomy, "own", row)[0] == pytest.approx(2 * row)
    assert roomy.client.get_version(P, "own", "v1").state == "READY"


def test_nodes_are_kept_and_their_number_is_patched(roomy: LiveEngine) -> None:
    version = Version(
        name="v1", deployment_uri="gs://mine/times2", machine_type="n1-standard-2",
        manual_scaling=ManualScaling(nodes=2),
    )  # fmt: skip
    roomy.done(roomy.client.create_version(P, "kept", version))
    wait_until(lambda: len(_ready(roomy.home)) >= 2)
    assert ask(roomy, "kept", 4.0)[0] == pytest.approx(8.0)
    sent = Version(manual_scaling=ManualScaling(nodes=1))
    operation = roomy.client.update_version(
        P, "kept", "v1", sent, update_mask="manualScaling.nodes"
    )
    assert roomy.done(operation).error is None
    wait_until(lambda: len(workers(roomy)) == 1)
    assert ask(roomy, "kept", 5.0)[0] == pytest.approx(10.0)


def test_fifty_switches_lose_nothing_and_nobody_lies(roomy: LiveEngine) -> None:
    """Fault 33 among them: versions that do not load leave the default as it is."""
    found = switch(roomy, requests=1000, switches=50, connections=4, fresh_every=10, bad_every=20)
    assert (found.failed, found.wrong) == (0, 0), found.problems
    assert (found.switches, found.replaced, found.refused_models) == (50, 5, 2)
    assert found.requests >= 1000


@pytest.mark.parametrize(("fields", "field"), [
    ({"machine_type": "n1-standard-3"}, "version.machine_type"),
    ({"machine_type": "mls1-c2-m2"}, "version.machine_type"),
    ({"auto_scaling": AutoScaling(min_nodes=3, max_nodes=2)}, "version.auto_scaling.max_nodes"),
])  # fmt: skip
def test_what_cannot_be_served_is_refused_by_name(
    roomy: LiveEngine, fields: dict[str, object], field: str
) -> None:
    from mlengine.core.errors import InvalidArgument

    version = Version(name="bad", deployment_uri="gs://mine/times2", **fields)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument) as refused:
        roomy.client.create_version(P, "own", version)
    assert refused.value.field == field
