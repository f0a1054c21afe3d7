"""Addresses, ranks and meeting points of many replicas."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from mlengine.training.cluster import Cluster
from mlengine.training.tfconfig import tf_config

COUNTS = st.builds(
    lambda primary, worker, ps, evaluator: {
        primary: 1, "worker": worker, "ps": ps, "evaluator": evaluator
    },
    st.sampled_from(["master", "chief"]), st.integers(0, 20), st.integers(0, 12),
    st.integers(0, 2),
)  # fmt: skip


def make(counts: dict[str, int]) -> Cluster:
    return Cluster.of(counts, range(20_000, 20_000 + Cluster.ports_needed(counts)))


def members(cluster: Cluster) -> list[tuple[str, int]]:
    return [(role, i) for role, count in cluster.counts.items() for i in range(count)]


@given(COUNTS)
def test_every_port_is_used_once(counts: dict[str, int]) -> None:
    cluster = make(counts)
    flat = [address for hosts in cluster.addresses.values() for address in hosts]
    ports = [int(a.rpartition(":")[2]) for a in flat]
    ports += [cluster.master_port, cluster.coordinator_port]
    assert sorted(ports) == list(range(20_000, 20_000 + Cluster.ports_needed(counts)))


@given(COUNTS)
def test_what_a_replica_reads_is_a_cluster_that_it_finds_itself_in(
    counts: dict[str, int],
) -> None:
    """As `tf.train.ClusterSpec` and its resolvers check it."""
    cluster = make(counts)
    for role, index in members(cluster):
        config = json.loads(json.dumps(tf_config(cluster, role=role, index=index, job={})))
        jobs, task = config["cluster"], config["task"]
        assert "evaluator" not in jobs
        assert set(jobs) == {r for r, n in counts.items() if n and r != "evaluator"}
        assert task == {"type": role, "index": index}
        assert role == "evaluator" or index < len(jobs[role])
        for hosts in jobs.values():
            assert hosts and all(host.count(":") == 1 for host in hosts)


@given(COUNTS)
def test_ranks_count_from_the_primary_without_a_gap(counts: dict[str, int]) -> None:
    cluster = make(counts)
    seen = {m: cluster.variables(*m) for m in members(cluster)}
    assert [int(v["MLENGINE_RANK"]) for v in seen.values()] == list(range(len(seen)))
    assert {v["MLENGINE_WORLD_SIZE"] for v in seen.values()} == {str(len(seen))}
    trainers = [v for (role, _i), v in seen.items() if role not in ("ps", "evaluator")]
    for rank, variables in enumerate(trainers):
        assert variables["RANK"] == variables["JAX_PROCESS_ID"] == str(rank)
        assert variables["RANK"] == variables["MLENGINE_RANK"]
        assert variables["WORLD_SIZE"] == variables["JAX_NUM_PROCESSES"] == str(len(trainers))
    assert trainers[0]["RANK"] == "0" and cluster.primary in counts
    for name in ("MASTER_ADDR", "MASTER_PORT", "JAX_COORDINATOR_ADDRESS"):
        assert len({v[name] for v in trainers}) == 1
    others = [v for (role, _i), v in seen.items() if role in ("ps", "evaluator")]
    assert all("RANK" not in v and "JAX_PROCESS_ID" not in v for v in others)


def test_a_plain_program_knows_one_word_for_the_primary() -> None:
    roles = {make({name: 1}).variables(name, 0)["MLENGINE_ROLE"] for name in ("master", "chief")}
    assert roles == {"master"}
