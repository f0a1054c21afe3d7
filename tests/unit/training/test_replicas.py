"""What each replica of an attempt is started with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlengine.core.resources import (
    AcceleratorConfig,
    Job,
    JobOptions,
    ReplicaConfig,
    TrainingInput,
)
from mlengine.environments import Environment
from mlengine.store import JobRecord
from mlengine.training.cluster import Cluster
from mlengine.training.launchers import ReplicaSpec
from mlengine.training.plan import plan_replicas
from mlengine.training.replicas import Program, replica_specs

GIB = 1 << 30


def specs(
    folder: Path, spec: TrainingInput, *, options: JobOptions | None = None, **changes: Any
) -> list[ReplicaSpec]:
    environment = Environment(
        python=Path("/env/bin/python"), path=Path("/env"), digest="d", hit=True, seconds=0.0,
        runtime="2.15", base_python=Path("/base/bin/python"),
        extra_environment={"TF_USE_LEGACY_KERAS": "1"},
    )  # fmt: skip
    plan = plan_replicas(spec)
    counts = plan.counts("chief")
    return replica_specs(
        Program(
            argv=["run"],
            environment=environment,
            job_dir="/out",
            outputs="/out",
            environ={"PATH": "/bin"},
        ),
        plan,
        Cluster.of(counts, range(3000, 3000 + Cluster.ports_needed(counts))),
        record=JobRecord(
            seq=1, project="p", uid="u", job=Job(job_id="j", options=options), attempt=3
        ),
        training_input=spec,
        attempt_dir=folder,
        **{"machine_cpus": 2, **changes},
    )


def test_every_replica_has_its_own_place(tmp_path: Path) -> None:
    found = specs(tmp_path, TrainingInput(scale_tier="STANDARD_1"))
    assert [r.task for r in found] == [
        "master-replica-0",
        *(f"worker-replica-{n}" for n in range(4)),
        *(f"ps-replica-{n}" for n in range(3)),
    ]
    for values in (
        {r.cwd for r in found},
        {r.env["CLOUD_ML_HP_METRIC_FILE"] for r in found},
        {r.env["TF_CONFIG"] for r in found},
        {r.env["MLENGINE_RANK"] for r in found},
    ):
        assert len(values) == len(found)
    for replica in found:
        assert Path(replica.cwd) == tmp_path / "work" / replica.task
        assert Path(replica.cwd).is_dir()
        assert replica.argv == ["run"]
        assert replica.env["PATH"] == "/env/bin:/base/bin:/bin"
        assert replica.env["TF_USE_LEGACY_KERAS"] == "1"
        assert replica.env["MLENGINE_ATTEMPT"] == "3"
        assert replica.env["OMP_NUM_THREADS"] == "1"  # 52 CPUs wanted, 2 there


def test_logs_say_master_where_tf_config_says_chief(tmp_path: Path) -> None:
    (master,) = specs(tmp_path, TrainingInput())
    assert (master.task, master.role) == ("master-replica-0", "master")
    assert json.loads(master.env["TF_CONFIG"])["task"] == {"type": "chief", "index": 0}
    assert "OMP_NUM_THREADS" not in master.env


def test_gpus_are_divided_and_never_shared(tmp_path: Path) -> None:
    two = ReplicaConfig(accelerator_config=AcceleratorConfig(type="NVIDIA_TESLA_T4", count=2))
    one = ReplicaConfig(accelerator_config=AcceleratorConfig(type="NVIDIA_TESLA_T4", count=1))
    spec = TrainingInput(
        scale_tier="CUSTOM", master_type="n1-standard-8", master_config=one,
        worker_type="n1-standard-8", worker_count=2, worker_config=two,
        parameter_server_type="n1-standard-4", parameter_server_count=1,
    )  # fmt: skip
    found = specs(tmp_path, spec, gpus=["3", "4", "5", "6", "7"])
    assert [r.env["CUDA_VISIBLE_DEVICES"] for r in found] == ["3", "4,5", "6,7", "-1"]


def test_limits_are_for_who_insists_on_a_machine(tmp_path: Path) -> None:
    spec = TrainingInput(scale_tier="CUSTOM", master_type="n1-standard-2")
    (free,) = specs(tmp_path, spec)
    assert (free.cpus, free.memory_bytes) == (0.0, 0)
    (strict,) = specs(tmp_path, spec, options=JobOptions(strict_resources=True))
    assert (strict.cpus, strict.memory_bytes) == (2.0, int(7.5 * GIB))
