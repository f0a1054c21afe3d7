"""What a replica's environment tells it: its cluster, its job, its place in both.

Values in, values out. A replica gets an allow-list of the engine's own variables: whatever else the
engine was started with (tokens, database addresses, cloud keys) stays with the engine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlengine.core import wire
from mlengine.core.resources import TrainingInput
from mlengine.training.cluster import Cluster
from mlengine.training.inventory import visible
from mlengine.training.trials.hyperparameters import hyperparameters_of

__all__ = [
    "THREAD_VARIABLES",
    "base_environment",
    "chief_role",
    "job_description",
    "output_folders",
    "replica_environment",
    "tf_config",
    "thread_hints",
]

THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
)  # fmt: skip
"""What numeric libraries read; TensorFlow's inter-op threads only wait, and are left alone."""


_PASSED = frozenset({
    "CUDA_VISIBLE_DEVICES", "HOME", "LANG", "LANGUAGE", "LD_LIBRARY_PATH", "LOGNAME", "PATH",
    "REQUESTS_CA_BUNDLE", "SHELL", "TMPDIR", "TZ", "USER", "XDG_CACHE_HOME",
    "ALL_PROXY", "FTP_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
})  # fmt: skip
_PASSED_PREFIXES = (
    "BLIS_", "CUDA_", "CUBLAS_", "GOMP_", "GOTO_", "KERAS_", "KMP_", "LC_", "MKL_", "NCCL_",
    "NUMEXPR_", "NVIDIA_", "OMP_", "OPENBLAS_", "SSL_CERT_", "TF_", "TORCH_", "XLA_",
)  # fmt: skip
_NOT_PASSED = frozenset({"TF_CONFIG"})
_SECRET_WORDS = ("TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "_KEY", "TF_VAR_")

_FIRST_CHIEF_VERSION = (2, 1)


def base_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the part of an environment that user code may see.

    Example:
        >>> base_environment(
        ...     {"TZ": "UTC", "OMP_NUM_THREADS": "2", "MLENGINE_TOKEN": "t", "NVIDIA_API_KEY": "k"}
        ... )
        {'TZ': 'UTC', 'OMP_NUM_THREADS': '2', 'PYTHONUNBUFFERED': '1'}
    """
    passed = {name: value for name, value in environ.items() if _may_pass(name)}
    return {**passed, "PYTHONUNBUFFERED": "1"}


def chief_role(runtime: str, *, alone: bool, evaluators: int = 0, use_chief: bool = False) -> str:
    """Return ``master`` or ``chief``: what ``TF_CONFIG`` calls the replica that speaks for the job.

    Args:
        runtime: The runtime that was resolved, not the version that was asked for. One that is
            named after a version of TensorFlow says ``chief`` from 2.1 on.
        alone: Whether it is the job's only replica. In any other runtime a lone replica is
            ``master``, which old trainers test for; in a cluster it is ``chief``, for TensorFlow 2
            refuses a cluster with a ``master``.
        evaluators: How many there are. TensorFlow 1 refuses an evaluator beside a ``master``, who
            evaluates by itself; beside a ``chief`` it may be.
        use_chief: The job's `useChiefInTfConfig`: ``chief`` whatever the runtime.

    Example:
        >>> chief_role("1.15", alone=False), chief_role("2.15", alone=False)
        ('master', 'chief')
    """
    if use_chief or evaluators:
        return "chief"
    version = re.fullmatch(r"(\d+)\.(\d+)", runtime)
    if version is None:
        return "master" if alone else "chief"
    return "chief" if (int(version[1]), int(version[2])) >= _FIRST_CHIEF_VERSION else "master"


def tf_config(
    cluster: Cluster, *, role: str, index: int, job: Mapping[str, Any], trial: str = ""
) -> dict[str, Any]:
    """Return the value of ``TF_CONFIG`` for one replica.

    Args:
        cluster: The same for every replica of an attempt.
        role: ``master``, ``chief``, ``worker``, ``ps`` or ``evaluator``.
        index: From 0 within the role.
        job: What `job_description` returned.
        trial: The trial's id, from ``"1"``; empty outside tuning jobs.
    """
    task: dict[str, Any] = {"type": role, "index": index}
    if trial:
        task["trial"] = trial  # always a string: old trainers join it to a path
    members = {name: list(hosts) for name, hosts in cluster.addresses.items()}
    return {"cluster": members, "environment": "cloud", "job": dict(job), "task": task}


def job_description(training_input: TrainingInput) -> dict[str, Any]:
    """Return the training input as trainers saw it: snake_case keys, 64-bit integers as strings.

    Example:
        >>> job_description(TrainingInput(scale_tier="CUSTOM", worker_count=2))
        {'scale_tier': 'CUSTOM', 'worker_count': '2'}
    """
    described: dict[str, Any] = _snake_keys(wire.encode(training_input))
    return described


def replica_environment(
    environ: Mapping[str, str],
    *,
    project: str,
    job_id: str,
    training_input: TrainingInput,
    attempt: int,
    attempt_dir: Path,
    cluster: Cluster,
    role: str = "master",
    index: int = 0,
    trial: str = "",
    job_dir: str = "",
    outputs: str = "",
    gpus: Sequence[str] = (),
    threads: int = 0,
) -> dict[str, str]:
    """Return the complete environment of one replica of a training job.

    Args:
        environ: The engine's own environment, to pass the harmless part on.
        attempt_dir: Where the metric file of this attempt goes: parallel trials must not share one.
        cluster: The whole attempt's.
        role: As in a plan: ``master``, ``worker``, ``ps`` or ``evaluator``.
        job_dir: Where the job's directory is; may be empty.
        outputs: What the ``AIP_`` variables begin with, where that is not `job_dir` itself.
        gpus: Ids of this replica's GPUs. Without any it sees none: those of the machine belong to
            the jobs that asked for them, and TensorFlow takes the memory of all that it sees.
        threads: What `ReplicaPlan.threads` returned.
    """
    name = cluster.primary if role == "master" else role
    job = job_description(training_input)
    config = tf_config(cluster, role=name, index=index, job=job, trial=trial)
    metrics = "-".join(filter(None, (role, str(index), trial)))
    passed = base_environment(environ)
    env = {
        **passed,
        **thread_hints(passed, threads),
        **visible(gpus),
        "TF_CONFIG": json.dumps(config),
        "CLUSTER_SPEC": json.dumps({**config, "job": json.dumps(job)}),
        "CLOUD_ML_JOB_ID": job_id,
        "CLOUD_ML_PROJECT_ID": project,
        "CLOUD_ML_REGION": training_input.region,
        "CLOUD_ML_JOB": json.dumps(job),
        "CLOUD_ML_HP_METRIC_FILE": str(attempt_dir / "hypertune" / f"{metrics}.metrics"),
        "MLENGINE_ATTEMPT": str(attempt),
        **cluster.variables(name, index),
        **_tuning(training_input, trial),
    }
    if job_dir:
        env["MLENGINE_JOB_DIR"] = job_dir
        env |= output_folders(outputs or job_dir)
    return env


def output_folders(job_dir: str) -> dict[str, str]:
    """Return the variables that name the folders below a job's directory, a path or a URI."""
    base = job_dir.rstrip("/")
    return {
        "AIP_MODEL_DIR": f"{base}/model/",
        "AIP_CHECKPOINT_DIR": f"{base}/checkpoints/",
        "AIP_TENSORBOARD_LOG_DIR": f"{base}/logs/",
    }


def thread_hints(environ: Mapping[str, str], threads: int) -> dict[str, str]:
    """Return variables that ask numeric libraries for so many threads.

    None are returned for 0, nor when `environ` sets one of them: somebody has decided.
    """
    if not threads or any(name in environ for name in THREAD_VARIABLES):
        return {}
    return dict.fromkeys(THREAD_VARIABLES, str(threads))


def _may_pass(name: str) -> bool:
    if name in _PASSED or (name.upper().endswith("_PROXY") and name.upper() in _PASSED):
        return True
    if name in _NOT_PASSED or any(word in name for word in _SECRET_WORDS):
        return False  # NVIDIA_API_KEY, TF_TOKEN_..., TF_VAR_... carry secrets under our prefixes
    return name.startswith(_PASSED_PREFIXES)


def _tuning(training_input: TrainingInput, trial: str) -> dict[str, str]:
    if not trial:
        return {}  # trainers take the presence of these for "this is a tuning job"
    tag = hyperparameters_of(training_input).tag
    return {"CLOUD_ML_TRIAL_ID": trial, "CLOUD_ML_HP_METRIC_TAG": tag}


def _snake_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {wire.snake(key): _snake_keys(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_snake_keys(item) for item in value]
    return value
