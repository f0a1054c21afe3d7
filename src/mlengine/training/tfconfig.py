"""What a replica's environment tells it: its cluster, its job, its place in both.

Values in, values out; only `free_ports` asks the machine. A replica gets an allow-list of the
engine's own variables: whatever else the engine was started with (tokens, database addresses,
cloud keys) stays with the engine.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlengine.core import wire
from mlengine.core.resources import TrainingInput

__all__ = [
    "base_environment",
    "chief_role",
    "cluster",
    "free_ports",
    "job_description",
    "replica_environment",
    "tf_config",
]

SERVICE_PORT = 2222
"""Port of every replica on the original service, where each had a machine of its own."""

CLUSTER_ROLES = ("master", "chief", "ps", "worker")
"""Roles that are members of the cluster, in the order of their ports; an evaluator watches only."""

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


def chief_role(training_input: TrainingInput, *, alone: bool) -> str:
    """Return ``master`` or ``chief``: what the replica that speaks for the job is called.

    Args:
        training_input: A container says it itself, else the runtime version decides: ``chief``
            from 2.1 on.
        alone: Whether it is the job's only replica. Without a runtime version a lone replica is
            ``master``, which old trainers test for; in a cluster it is ``chief``, for TensorFlow 2
            refuses a cluster with a ``master``.
    """
    config = training_input.master_config
    if config is not None and config.image_uri:
        return "chief" if training_input.use_chief_in_tf_config else "master"
    version = _version(training_input.runtime_version)
    if version is None:
        return "master" if alone else "chief"
    return "chief" if version >= _FIRST_CHIEF_VERSION else "master"


def cluster(
    counts: Mapping[str, int], ports: Sequence[int], *, host: str = "127.0.0.1"
) -> dict[str, list[str]]:
    """Give every member of the cluster its address.

    Args:
        counts: Role → how many replicas; absent and evaluator roles get no address.
        ports: At least one per member; taken in order: chief, parameter servers, workers.

    Example:
        >>> cluster({"chief": 1, "ps": 1, "evaluator": 1}, [2222, 2223])
        {'chief': ['127.0.0.1:2222'], 'ps': ['127.0.0.1:2223']}
    """
    left = iter(ports)
    return {
        role: [f"{host}:{next(left)}" for _ in range(counts[role])]
        for role in CLUSTER_ROLES
        if counts.get(role, 0)
    }


def tf_config(
    addresses: Mapping[str, Sequence[str]],
    *,
    role: str,
    index: int,
    job: Mapping[str, Any],
    trial: str = "",
) -> dict[str, Any]:
    """Return the value of ``TF_CONFIG`` for one replica.

    Args:
        addresses: What `cluster` returned; the same for every replica of an attempt.
        role: ``master``, ``chief``, ``worker``, ``ps`` or ``evaluator``.
        index: From 0 within the role.
        job: What `job_description` returned.
        trial: The trial's id, from ``"1"``; empty outside tuning jobs.
    """
    task: dict[str, Any] = {"type": role, "index": index}
    if trial:
        task["trial"] = trial  # always a string: old trainers join it to a path
    members = {name: list(hosts) for name, hosts in addresses.items()}
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
    attempt_dir: Path,
    job_dir: str = "",
    python: Path | None = None,
    role: str = "",
    index: int = 0,
    trial: str = "",
    addresses: Mapping[str, Sequence[str]] | None = None,
    master_port: int = 0,
) -> dict[str, str]:
    """Return the complete environment of one replica of a training job.

    Args:
        environ: The engine's own environment, to pass the harmless part on.
        attempt_dir: Where the metric file of this attempt goes: parallel trials must not share one.
        job_dir: What the trainer gets as ``--job-dir``; may be empty.
        python: Interpreter of the job's environment; its folder leads ``PATH``.
        role: Default: the only replica.
        addresses: What `cluster` returned for the whole attempt; default: the replica is alone.
        master_port: Port at which distributed PyTorch may meet; default: one that is free.
    """
    role = role or chief_role(training_input, alone=True)
    addresses = addresses or cluster({role: 1}, [SERVICE_PORT])
    job = job_description(training_input)
    config = tf_config(addresses, role=role, index=index, job=job, trial=trial)
    name = "-".join(filter(None, (role, str(index), trial)))
    env = {
        **base_environment(environ),
        "TF_CONFIG": json.dumps(config),
        "CLOUD_ML_JOB_ID": job_id,
        "CLOUD_ML_PROJECT_ID": project,
        "CLOUD_ML_REGION": training_input.region,
        "CLOUD_ML_JOB": json.dumps(job),
        "CLOUD_ML_HP_METRIC_FILE": str(attempt_dir / "hypertune" / f"{name}.metrics"),
        **_tuning(training_input, trial),
        **_rendezvous(addresses, role, index, master_port),
    }
    if job_dir:
        base = job_dir.rstrip("/")
        env["AIP_MODEL_DIR"] = f"{base}/model/"
        env["AIP_CHECKPOINT_DIR"] = f"{base}/checkpoints/"
        env["AIP_TENSORBOARD_LOG_DIR"] = f"{base}/logs/"
    if python is not None:
        env["PATH"] = os.pathsep.join(filter(None, (str(python.parent), env.get("PATH", ""))))
        if (python.parent.parent / "pyvenv.cfg").exists():
            env["VIRTUAL_ENV"] = str(python.parent.parent)
    return env


def free_ports(count: int) -> list[int]:
    """Return loopback ports that nobody listened on a moment ago, all different."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def _may_pass(name: str) -> bool:
    if name in _PASSED or (name.upper().endswith("_PROXY") and name.upper() in _PASSED):
        return True
    if name in _NOT_PASSED or any(word in name for word in _SECRET_WORDS):
        return False  # NVIDIA_API_KEY, TF_TOKEN_..., TF_VAR_... carry secrets under our prefixes
    return name.startswith(_PASSED_PREFIXES)


def _tuning(training_input: TrainingInput, trial: str) -> dict[str, str]:
    if not trial:
        return {}  # trainers take the presence of these for "this is a tuning job"
    spec = training_input.hyperparameters or {}
    tag = str(spec.get("hyperparameterMetricTag") or "training/hptuning/metric")
    return {"CLOUD_ML_TRIAL_ID": trial, "CLOUD_ML_HP_METRIC_TAG": tag}


def _rendezvous(
    addresses: Mapping[str, Sequence[str]], role: str, index: int, master_port: int
) -> dict[str, str]:
    """Return what PyTorch's ``env://`` wants; parameter servers and evaluators take no part."""
    if role not in ("master", "chief", "worker"):
        return {}
    chiefs = len(addresses.get("master", ())) + len(addresses.get("chief", ()))
    rank = index if role in ("master", "chief") else chiefs + index
    return {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(master_port or free_ports(1)[0]),
        "RANK": str(rank),
        "WORLD_SIZE": str(chiefs + len(addresses.get("worker", ()))),
        "LOCAL_RANK": "0",
    }


def _version(text: str) -> tuple[int, int] | None:
    major, _dot, minor = text.partition(".")
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else None


def _snake_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {wire.snake(key): _snake_keys(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_snake_keys(item) for item in value]
    return value
