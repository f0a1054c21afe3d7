"""What a replica's environment tells it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.resources import ReplicaConfig, Scheduling, TrainingInput
from mlengine.training.tfconfig import (
    base_environment,
    chief_role,
    cluster,
    free_ports,
    job_description,
    replica_environment,
    tf_config,
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


def environment(**changes: Any) -> dict[str, str]:
    options: dict[str, Any] = {
        "project": "p", "job_id": "j", "training_input": BASIC, "attempt_dir": Path("/jobs/u/1"),
    }  # fmt: skip
    return replica_environment({"PATH": "/bin"}, **{**options, **changes})


def golden(name: str, value: Any) -> None:
    assert value == json.loads((GOLDEN / f"{name}.json").read_text())


def test_a_single_replica() -> None:
    golden("tf_config_single", json.loads(environment()["TF_CONFIG"]))


def test_one_worker_of_a_trial() -> None:
    addresses = cluster({"chief": 1, "worker": 2, "ps": 1, "evaluator": 1}, range(3000, 3009))
    env = environment(
        training_input=INPUT, role="worker", index=1, trial="3", addresses=addresses, master_port=9
    )
    golden("tf_config_worker_of_trial", json.loads(env["TF_CONFIG"]))
    golden("environment_worker_of_trial", {k: v for k, v in env.items() if k != "TF_CONFIG"})


def test_an_evaluator_watches_from_outside_the_cluster() -> None:
    addresses = cluster({"chief": 1, "evaluator": 1}, [3000])
    env = environment(role="evaluator", addresses=addresses)
    config = json.loads(env["TF_CONFIG"])
    assert config["cluster"] == {"chief": ["127.0.0.1:3000"]}
    assert config["task"] == {"type": "evaluator", "index": 0}
    assert "RANK" not in env


@pytest.mark.parametrize(
    ("version", "alone", "role"),
    [
        ("1.15", False, "master"), ("2.0", False, "master"), ("2.1", False, "chief"),
        ("2.11", True, "chief"), ("", True, "master"), ("", False, "chief"),
        ("local", True, "master"), ("local", False, "chief"),
    ],
)  # fmt: skip
def test_who_speaks_for_the_job(version: str, alone: bool, role: str) -> None:
    assert chief_role(TrainingInput(runtime_version=version), alone=alone) == role


@pytest.mark.parametrize(("use_chief", "role"), [(False, "master"), (True, "chief")])
def test_a_container_says_who_speaks_for_the_job(use_chief: bool, role: str) -> None:
    config = ReplicaConfig(image_uri="i")
    spec = TrainingInput(master_config=config, use_chief_in_tf_config=use_chief)
    assert chief_role(spec, alone=False) == role


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
    assert "AIP_MODEL_DIR" not in environment()


def test_the_environments_interpreter_comes_first(tmp_path: Path) -> None:
    (tmp_path / "pyvenv.cfg").touch()
    env = environment(python=tmp_path / "bin" / "python")
    assert env["PATH"] == f"{tmp_path}/bin:/bin"
    assert env["VIRTUAL_ENV"] == str(tmp_path)
    assert "VIRTUAL_ENV" not in environment(python=Path("/usr/bin/python3"))


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


@given(st.dictionaries(st.sampled_from(["master", "chief", "ps", "worker", "evaluator"]),
                       st.integers(0, 5)))  # fmt: skip
def test_every_member_has_an_address_of_its_own(counts: dict[str, int]) -> None:
    found = cluster(counts, range(1, 100))
    flat = [address for addresses in found.values() for address in addresses]
    assert len(set(flat)) == len(flat)
    assert "evaluator" not in found and [] not in found.values()
    assert {role: len(a) for role, a in found.items()} == {
        role: n for role, n in counts.items() if n and role != "evaluator"
    }


@given(st.integers(0, 3), st.sampled_from(["", "1"]))
def test_a_trial_is_a_string_and_an_index_a_number(index: int, trial: str) -> None:
    task = tf_config({}, role="worker", index=index, job={}, trial=trial)["task"]
    assert task["index"] == index
    assert task.get("trial", "") == trial


def test_free_ports_differ() -> None:
    assert len(set(free_ports(10))) == 10
