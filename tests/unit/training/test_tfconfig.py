"""What a replica's environment tells it.

The golden files hold complete environments, one per runtime and role, with the variables that are
JSON spelled out. After a change that is meant, write them anew and read the difference:

    MLENGINE_WRITE_GOLDEN=1 pytest tests/unit/training/test_tfconfig.py && git diff
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.resources import ReplicaConfig, Scheduling, TrainingInput
from mlengine.training.cluster import SERVICE_PORT, Cluster
from mlengine.training.plan import plan_replicas
from mlengine.training.tfconfig import (
    THREAD_VARIABLES,
    base_environment,
    chief_role,
    job_description,
    replica_environment,
    tf_config,
    thread_hints,
)

GOLDEN = Path(__file__).parent / "golden"
INPUT = TrainingInput(
    scale_tier="CUSTOM",
    master_type="n1-standard-4",
    master_config=ReplicaConfig(image_uri="gcr.io/p/i"),
    worker_count=2,
    package_uris=["gs://b/trainer-0.1.tar.gz"],
    python_module="trainer.task",
    args=["--epochs", "1"],
    region="us-central1",
    job_dir="gs://b/out",
    runtime_version="2.11",
    scheduling=Scheduling(max_running_time="3600s"),
    hyperparameters={"goal": "MAXIMIZE", "hyperparameterMetricTag": "auc", "maxTrials": 4},
)
BASIC = TrainingInput(python_module="trainer.task", region="us-central1", scale_tier="BASIC")
ALONE = Cluster.of({"master": 1}, [SERVICE_PORT, 3900, 3901])


def environment(**changes: Any) -> dict[str, str]:
    options: dict[str, Any] = {
        "project": "p", "job_id": "j", "training_input": BASIC, "attempt": 1,
        "attempt_dir": Path("/jobs/u/1"), "cluster": ALONE,
    }  # fmt: skip
    return replica_environment({"PATH": "/bin"}, **{**options, **changes})


def golden(name: str, env: dict[str, str]) -> None:
    """Compare an environment with what was agreed on."""
    found: dict[str, Any] = dict(env)
    for variable in ("TF_CONFIG", "CLUSTER_SPEC", "CLOUD_ML_JOB"):
        found[variable] = json.loads(env[variable])
    path = GOLDEN / f"{name}.json"
    if os.environ.get("MLENGINE_WRITE_GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        path.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")
    assert found == json.loads(path.read_text())


RUNTIMES = ("1.15", "2.15", "2.21", "local", "torch")


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("role", "index"), [("master", 0), ("worker", 1), ("ps", 0), ("evaluator", 0)]
)
def test_a_replica_of_many(runtime: str, role: str, index: int) -> None:
    spec = TrainingInput(
        scale_tier="CUSTOM",
        master_type="n1-standard-8",
        worker_type="n1-standard-4",
        worker_count=2,
        parameter_server_type="n1-standard-4",
        parameter_server_count=1,
        evaluator_type="n1-standard-4",
        evaluator_count=1,
        package_uris=["gs://b/trainer-0.1.tar.gz"],
        python_module="trainer.task",
        args=["--epochs", "1"],
        region="us-central1",
        job_dir="gs://b/out",
        runtime_version="" if runtime == "local" else runtime,
    )
    plan = plan_replicas(spec)
    counts = plan.counts(chief_role(runtime, alone=False))
    env = environment(
        training_input=spec,
        attempt=2,
        cluster=Cluster.of(counts, range(3000, 3000 + Cluster.ports_needed(counts))),
        role=role,
        index=index,
        job_dir="/buckets/b/out",
        gpus=["0", "1"] if role == "worker" else [],
        threads=plan.threads(role, machine_cpus=12),
    )
    golden(f"environment-{runtime}-{role}", env)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_replica_that_is_alone(runtime: str) -> None:
    primary = chief_role(runtime, alone=True)
    cluster = Cluster.of({primary: 1}, [SERVICE_PORT, 3900, 3901])
    golden(f"environment-{runtime}-alone", environment(cluster=cluster))


def test_one_worker_of_a_trial() -> None:
    cluster = Cluster.of({"chief": 1, "worker": 2, "ps": 1, "evaluator": 1}, range(3000, 3006))
    env = environment(training_input=INPUT, role="worker", index=1, trial="3", cluster=cluster)
    golden("environment-trial-worker", env)


@pytest.mark.parametrize(
    ("runtime", "alone", "role"),
    [
        ("1.15", True, "master"), ("1.15", False, "master"), ("2.0", False, "master"),
        ("2.1", False, "chief"), ("2.11", True, "chief"), ("2.21", True, "chief"),
        ("local", True, "master"), ("local", False, "chief"), ("sklearn-1.x", True, "master"),
        ("torch", True, "master"), ("torch", False, "chief"),
    ],
)  # fmt: skip
def test_who_speaks_for_the_job(runtime: str, alone: bool, role: str) -> None:
    assert chief_role(runtime, alone=alone) == role
    assert chief_role(runtime, alone=alone, use_chief=True) == "chief"
    assert chief_role(runtime, alone=False, evaluators=1) == "chief"


def test_without_gpus_of_its_own_a_replica_sees_none() -> None:
    """Whatever the engine may see, the machine's GPUs belong to the jobs that asked for them."""
    assert environment()["CUDA_VISIBLE_DEVICES"] == "-1"
    assert environment(gpus=["2", "GPU-ab"])["CUDA_VISIBLE_DEVICES"] == "2,GPU-ab"


def test_threads_are_asked_for_unless_somebody_has_decided() -> None:
    env = environment(threads=3)
    assert {env[name] for name in THREAD_VARIABLES} == {"3"}
    assert not set(THREAD_VARIABLES) & set(environment(threads=0))
    assert thread_hints({"OMP_NUM_THREADS": "8"}, 3) == {}


def test_a_cluster_spec_is_a_tf_config_with_its_job_as_a_string() -> None:
    env = environment()
    config, spec = json.loads(env["TF_CONFIG"]), json.loads(env["CLUSTER_SPEC"])
    assert json.loads(spec.pop("job")) == config.pop("job")
    assert spec == config


def test_the_job_is_described_in_snake_case_with_integers_as_strings() -> None:
    found = job_description(INPUT)
    assert found["worker_count"] == "2"
    assert found["master_config"] == {"image_uri": "gcr.io/p/i"}
    assert found["hyperparameters"]["hyperparameter_metric_tag"] == "auc"


def test_outside_of_tuning_nothing_says_tuning() -> None:
    env = environment(training_input=INPUT)
    assert "CLOUD_ML_TRIAL_ID" not in env and "CLOUD_ML_HP_METRIC_TAG" not in env
    assert "trial" not in json.loads(env["TF_CONFIG"])["task"]


def test_parallel_trials_have_their_own_metric_files() -> None:
    files = {environment(trial=t)["CLOUD_ML_HP_METRIC_FILE"] for t in ("", "1", "2")}
    assert len(files) == 3
    assert all(f.startswith("/jobs/u/1/") for f in files)


def test_a_job_dir_is_offered_under_the_newer_names_too() -> None:
    env = environment(job_dir="/b/out/")
    assert env["AIP_MODEL_DIR"] == "/b/out/model/"
    assert env["MLENGINE_JOB_DIR"] == "/b/out/"
    assert not {"AIP_MODEL_DIR", "MLENGINE_JOB_DIR"} & set(environment())


SECRETS = [
    "MLENGINE_TOKEN", "MLENGINE_DATABASE_URL", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN",
    "GOOGLE_APPLICATION_CREDENTIALS", "DATABASE_URL", "NVIDIA_API_KEY", "TF_VAR_password",
    "TF_TOKEN_app_terraform_io", "SSH_AUTH_SOCK", "PYTHONPATH", "TF_CONFIG", "LD_PRELOAD",
]  # fmt: skip


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_and_surprises_stay_with_the_engine(name: str) -> None:
    assert name not in base_environment({name: "x"})


PASSED = [
    "PATH", "HOME", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "https_proxy", "NO_PROXY",
    "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "TF_CPP_MIN_LOG_LEVEL",
]  # fmt: skip


@pytest.mark.parametrize("name", PASSED)
def test_what_user_code_needs_is_passed_on(name: str) -> None:
    assert base_environment({name: "x"}) == {name: "x", "PYTHONUNBUFFERED": "1"}


@given(st.integers(0, 3), st.sampled_from(["", "1"]))
def test_a_trial_is_a_string_and_an_index_a_number(index: int, trial: str) -> None:
    task = tf_config(ALONE, role="worker", index=index, job={}, trial=trial)["task"]
    assert task["index"] == index
    assert task.get("trial", "") == trial
