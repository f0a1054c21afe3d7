"""What replicas reserve on a cluster, and where their environments say that everybody is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.errors import InvalidArgument
from mlengine.core.resources import Job, JobOptions, PredictionInput, TrainingInput
from mlengine.training.cluster import Cluster
from mlengine.training.launchers.ray import check_address
from mlengine.training.launchers.raydemand import cluster_demand, inventory_of
from mlengine.training.launchers.rayplaces import (
    Node,
    Unplaceable,
    Want,
    bundles,
    relocate,
    wants,
)

GIB = 1 << 30

nodes = st.lists(
    st.builds(
        Node, name=st.just("n"), cpus=st.integers(1, 64).map(float),
        memory_bytes=st.integers(GIB, 256 * GIB), gpus=st.integers(0, 8),
    ),
    min_size=1, max_size=6,
)  # fmt: skip
replicas = st.lists(
    st.builds(
        Want, st.integers(1, 96).map(float), st.integers(0, 400 * GIB), st.integers(0, 2),
        st.booleans(),
    ),
    min_size=1, max_size=12,
)  # fmt: skip


@given(replicas, nodes)
def test_what_is_reserved_is_there_and_is_no_more_than_was_asked(
    asked: list[Want], there: list[Node]
) -> None:
    try:
        found = bundles(asked, there)
    except Unplaceable as error:
        assert any(w.strict or w.gpus for w in asked) or len(asked) * 0.01 > there[0].cpus
        assert "the cluster cannot hold" in str(error)
        return
    for want, bundle in zip(asked, found, strict=True):
        assert 0.01 <= bundle["CPU"] <= max(want.cpus, 0.01)
        assert bundle.get("memory", 0) <= want.memory_bytes
        assert bundle.get("GPU", 0) == want.gpus
        if want.strict:
            assert (bundle["CPU"], bundle.get("memory", 0)) == (want.cpus, want.memory_bytes)
    for kind, total in (("CPU", sum(n.cpus for n in there)), ("GPU", sum(n.gpus for n in there))):
        assert sum(b.get(kind, 0) for b in found) <= total + 1e-6
    assert sum(b.get("memory", 0) for b in found) <= sum(n.memory_bytes for n in there)


def test_a_job_that_fits_gets_what_its_machines_name() -> None:
    there = [Node(name="a", cpus=16, memory_bytes=64 * GIB)] * 2
    assert bundles([Want(8, 7 * GIB)] * 4, there) == [{"CPU": 8.0, "memory": 7 * GIB}] * 4


def test_who_asks_for_nothing_gets_a_cpu_and_who_insists_is_known() -> None:
    machine = {"cpus": 4.0, "memory_bytes": 5, "gpus": 0}
    assert wants([{}, {"machine": machine}, {"machine": machine, "cpus": 4.0}]) == [
        Want(1.0, 0, 0, False), Want(4.0, 5, 0, False), Want(4.0, 5, 0, True)
    ]  # fmt: skip


@given(st.integers(0, 3), st.integers(0, 3))
def test_every_address_is_moved_and_nothing_else(workers: int, ps: int) -> None:
    counts = {"chief": 1, "ps": ps, "worker": workers}
    cluster = Cluster.of(counts, range(7000, 7000 + Cluster.ports_needed(counts)))
    places = {}
    for role in ("master", "worker", "ps"):
        for index in range(counts.get(role, 1)):
            for port in cluster.ports(role, index):
                places[port] = (f"10.0.0.{role[0]}{index}", port + 1000)
    assert sorted(places) == list(range(7000, 7000 + Cluster.ports_needed(counts)))
    config = json.dumps({"cluster": cluster.addresses, "job": {"args": ["127.0.0.1:80"]}})
    env = {**cluster.variables("chief", 0), "TF_CONFIG": config, "OTHER": "127.0.0.1:7000"}
    moved = relocate(env, places)
    assert moved["OTHER"] == "127.0.0.1:7000"
    found = json.loads(moved["TF_CONFIG"])
    assert found["job"] == {"args": ["127.0.0.1:80"]}
    assert found["cluster"]["chief"] == ["10.0.0.m0:8000"]
    assert [a.split(":")[0] for a in found["cluster"].get("worker", [])] == [
        f"10.0.0.w{n}" for n in range(workers)
    ]
    assert (moved["MASTER_ADDR"], int(moved["MASTER_PORT"])) == places[cluster.master_port]
    host, port = places[cluster.coordinator_port]
    assert moved["JAX_COORDINATOR_ADDRESS"] == f"{host}:{port}"


def test_a_job_counts_what_it_will_reserve() -> None:
    there = [Node(name="a", cpus=2, memory_bytes=4 * GIB)] * 3
    demand = cluster_demand(lambda: there)
    basic = demand(Job(training_input=TrainingInput(scale_tier="BASIC")))
    assert (basic.cpus, basic.memory_bytes, basic.strict) == (2.0, 4 * GIB, True)
    large = demand(Job(training_input=TrainingInput(scale_tier="STANDARD_1")))
    assert large.cpus == inventory_of(there).cpus == 6
    insists = Job(training_input=TrainingInput(), options=JobOptions(strict_resources=True))
    assert demand(insists).cpus == 4.0
    assert demand(Job(prediction_input=PredictionInput())).cpus == 1.0


@pytest.mark.parametrize("address", ["ray", "ray://10.0.0.2:10001", "ray://head.local:10001"])
def test_an_address_of_a_cluster(address: str) -> None:
    check_address(address)


@pytest.mark.parametrize("address", ["rya", "ray://", "ray://host", "ray://host:x", "http://h:1"])
def test_what_is_no_address_is_refused_by_name(address: str) -> None:
    with pytest.raises(InvalidArgument, match="is not a backend") as caught:
        check_address(address)
    assert address in caught.value.problem
