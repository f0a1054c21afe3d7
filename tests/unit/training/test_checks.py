from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.errors import InvalidArgument
from mlengine.core.resources import (
    AcceleratorConfig,
    EncryptionConfig,
    Job,
    JobOptions,
    PredictionInput,
    ReplicaConfig,
    Scheduling,
    TrainingInput,
)
from mlengine.training import checks
from mlengine.training.verdict import FINDINGS

GOOD = TrainingInput(
    python_module="trainer.task", package_uris=["gs://bucket/trainer-0.0.0.tar.gz"], region="local"
)
T4 = AcceleratorConfig(type="NVIDIA_TESLA_T4", count=2)


def _with(**changes: Any) -> TrainingInput:
    return msgspec.structs.replace(GOOD, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"scale_tier": "BASIC"},
        {"scale_tier": "SCALE_TIER_UNSPECIFIED"},
        {"scale_tier": "CUSTOM", "master_type": "n1-standard-4"},
        {"scale_tier": "CUSTOM", "master_type": "complex_model_m"},
        {"region": "us-central1"},
        {"scheduling": Scheduling(priority=1000, max_running_time="1.5s", max_wait_time="1800s")},
        {"args": ["--lr", "0.1", "naïve", ""]},
        {"master_config": ReplicaConfig()},
        {"scale_tier": "STANDARD_1"},
        {"scale_tier": "PREMIUM_1"},
        {"scale_tier": "BASIC_GPU"},
        {"scale_tier": "STANDARD_1", "use_chief_in_tf_config": True},
        {
            "scale_tier": "CUSTOM",
            "master_type": "standard",
            "worker_type": "complex_model_s",
            "worker_count": 3,
            "parameter_server_type": "large_model",
            "parameter_server_count": 1,
            "evaluator_type": "standard_gpu",
            "evaluator_count": 1,
        },
        {
            "scale_tier": "CUSTOM",
            "master_type": "n1-standard-8",
            "master_config": ReplicaConfig(accelerator_config=T4),
        },
    ],
)
def test_what_can_run_is_accepted(changes: dict[str, Any]) -> None:
    checks.check_training_input(_with(**changes))


@pytest.mark.parametrize("module", ["task", "a.b_c", "trainer.2-input", "my-trainer.task"])
def test_what_python_runs_is_a_module(module: str) -> None:
    checks.check_training_input(_with(python_module=module))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no region": ({"region": ""}, "training_input.region"),
    "a region that is none": ({"region": "mars"}, "training_input.region"),
    "no module": ({"python_module": ""}, "training_input.python_module"),
    "a module that is a path": (
        {"python_module": "trainer/task.py"},
        "training_input.python_module",
    ),
    "a module that is a flag": ({"python_module": "-c"}, "training_input.python_module"),
    "a part that is a flag": ({"python_module": "trainer.-c"}, "training_input.python_module"),
    "packages with one file name": (
        {"package_uris": ["gs://b/1/x.whl", "gs://b/y.whl", "gs://b/2/x.whl"]},
        "training_input.package_uris[2]",
    ),
    "no packages": ({"package_uris": []}, "training_input.package_uris"),
    "too many packages": ({"package_uris": ["gs://b/x"] * 101}, "training_input.package_uris"),
    "a misspelled tier": ({"scale_tier": "BASICC"}, "training_input.scale_tier"),
    "a tier that needs a TPU": ({"scale_tier": "BASIC_TPU"}, "training_input.scale_tier"),
    "CUSTOM without a machine": ({"scale_tier": "CUSTOM"}, "training_input.master_type"),
    "a machine without CUSTOM": ({"master_type": "n1-standard-4"}, "training_input.master_type"),
    "an unknown machine": (
        {"scale_tier": "CUSTOM", "master_type": "big"},
        "training_input.master_type",
    ),
    "workers without CUSTOM": ({"worker_count": 2}, "training_input.worker_count"),
    "workers without a type": (
        {"scale_tier": "CUSTOM", "master_type": "standard", "worker_count": 1},
        "training_input.worker_type",
    ),
    "tuning": ({"hyperparameters": {"goal": "MAXIMIZE"}}, "training_input.hyperparameters.params"),
    "a key": (
        {"encryption_config": EncryptionConfig(kms_key_name="k")},
        "training_input.encryption_config",
    ),
    "a network": ({"network": "projects/1/global/networks/n"}, "training_input.network"),
    "a service account": ({"service_account": "a@b"}, "training_input.service_account"),
    "web access": ({"enable_web_access": True}, "training_input.enable_web_access"),
    "an image": (
        {"master_config": ReplicaConfig(image_uri="gcr.io/x")},
        "training_input.master_config.image_uri",
    ),
    "an image of workers": (
        {"worker_config": ReplicaConfig(image_uri="gcr.io/x")},
        "training_input.worker_config.image_uri",
    ),
    "a TPU version of evaluators": (
        {"evaluator_config": ReplicaConfig(tpu_tf_version="2")},
        "training_input.evaluator_config.tpu_tf_version",
    ),
    "an accelerator without CUSTOM": (
        {"master_config": ReplicaConfig(accelerator_config=T4)},
        "training_input.master_config.accelerator_config",
    ),
    "a priority too high": (
        {"scheduling": Scheduling(priority=1001)},
        "training_input.scheduling.priority",
    ),
    "a negative priority": (
        {"scheduling": Scheduling(priority=-1)},
        "training_input.scheduling.priority",
    ),
    "a time that is none": (
        {"scheduling": Scheduling(max_running_time="2h")},
        "training_input.scheduling.max_running_time",
    ),
    "no time at all": (
        {"scheduling": Scheduling(max_running_time="0s")},
        "training_input.scheduling.max_running_time",
    ),
    "too short a wait": (
        {"scheduling": Scheduling(max_wait_time="1799s")},
        "training_input.scheduling.max_wait_time",
    ),
    "a NUL in an argument": ({"args": ["a\0b"]}, "training_input.args"),
}


@pytest.mark.parametrize(("changes", "field"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_run_is_refused_by_name(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        checks.check_training_input(_with(**changes))
    assert caught.value.field == field
    assert caught.value.remedy


def test_a_job_has_exactly_one_input() -> None:
    checks.check_job(Job(job_id="a", training_input=TrainingInput()))
    for job in (
        Job(job_id="a"),
        Job(job_id="a", training_input=TrainingInput(), prediction_input=PredictionInput()),
    ):
        with pytest.raises(InvalidArgument, match="exactly one"):
            checks.check_job(job)


@given(st.integers(1, 10**6))
def test_limits_are_read_in_seconds(seconds: int) -> None:
    spec = _with(scheduling=Scheduling(max_running_time=f"{seconds}s", max_wait_time=f"{seconds}s"))
    assert checks.running_limit_s(spec) == seconds
    assert checks.wait_limit_s(spec) == seconds
    assert checks.running_limit_s(GOOD) == 7 * 24 * 3600
    assert checks.wait_limit_s(GOOD) is None


@pytest.mark.parametrize(
    "options",
    [{}, {"max_retries": 0}, {"max_retries": 20}, {"allow": list(FINDINGS)}],
)
def test_options_that_can_be_kept_are_accepted(options: dict[str, Any]) -> None:
    checks.check_job(Job(job_id="a", training_input=GOOD, options=JobOptions(**options)))


@pytest.mark.parametrize(
    ("options", "field", "text"),
    [
        ({"max_retries": -2}, "max_retries", "maxRetries is -2"),
        ({"max_retries": 21}, "max_retries", "maxRetries is 21"),
        ({"allow": ["export", "tracebak"]}, "allow", "Did you mean 'traceback'"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    options: dict[str, Any], field: str, text: str
) -> None:
    job = Job(job_id="a", training_input=GOOD, options=JobOptions(**options))
    with pytest.raises(InvalidArgument, match=text) as caught:
        checks.check_job(job)
    assert caught.value.field == f"job.options.{field}"


def test_hyperparameters_are_kept_as_they_are_answered() -> None:
    sent = {
        "max_trials": "3",
        "params": [{"parameter_name": "lr", "type": "DOUBLE", "min_value": 0, "maxValue": 1}],
    }
    spec = _with(hyperparameters=sent)
    checks.check_training_input(spec)
    assert spec.hyperparameters == {
        "maxTrials": 3,
        "params": [{"parameterName": "lr", "type": "DOUBLE", "minValue": 0.0, "maxValue": 1.0}],
    }
