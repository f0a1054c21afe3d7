"""`RunConfig` as contrib had it: the one of `tf.estimator`, made from contrib's arguments."""

from __future__ import annotations

import json
import os
from typing import Any

import tensorflow as tf

__all__ = ["ClusterConfig", "Environment", "RunConfig", "TaskType"]


class TaskType:
    """Roles in a cluster."""

    MASTER = "master"
    PS = "ps"
    WORKER = "worker"
    CHIEF = "chief"
    EVALUATOR = "evaluator"


class Environment:
    """Values of `TF_CONFIG`'s `environment`."""

    CLOUD = "cloud"
    GOOGLE = "google"
    LOCAL = "local"


class RunConfig(tf.compat.v1.estimator.RunConfig):
    """Contrib's arguments, of which `tf.estimator` has most; the session's become its config."""

    def __init__(
        self,
        master: str | None = None,
        num_cores: int = 0,
        log_device_placement: bool = False,
        gpu_memory_fraction: float = 1,
        tf_random_seed: int | None = None,
        save_summary_steps: int = 100,
        save_checkpoints_secs: int | None = None,
        save_checkpoints_steps: int | None = None,
        keep_checkpoint_max: int = 5,
        keep_checkpoint_every_n_hours: int = 10000,
        log_step_count_steps: int = 100,
        protocol: str | None = None,
        evaluation_master: str = "",
        model_dir: str | None = None,
        session_config: Any = None,
        session_creation_timeout_secs: int = 7200,
    ) -> None:
        for name, value in (("master", master), ("evaluation_master", evaluation_master)):
            if value:
                raise ValueError(
                    f"RunConfig({name}=) is not in the TensorFlow 1 overlay: "
                    f"TF_CONFIG says where the servers are"
                )
        often: dict[str, Any] = {"save_checkpoints_secs": save_checkpoints_secs or 600}
        if save_checkpoints_steps is not None:
            often = {"save_checkpoints_steps": save_checkpoints_steps}
        super().__init__(
            model_dir=model_dir,
            tf_random_seed=tf_random_seed,
            save_summary_steps=save_summary_steps,
            session_config=session_config
            or _session_config(num_cores, log_device_placement, gpu_memory_fraction),
            keep_checkpoint_max=keep_checkpoint_max,
            keep_checkpoint_every_n_hours=keep_checkpoint_every_n_hours,
            log_step_count_steps=log_step_count_steps,
            protocol=protocol,
            session_creation_timeout_secs=session_creation_timeout_secs,
            **often,
        )

    @property
    def environment(self) -> str:
        """Return `TF_CONFIG`'s `environment`."""
        given = json.loads(os.environ.get("TF_CONFIG") or "{}")
        return str(given.get("environment", Environment.LOCAL))

    @property
    def tf_config(self) -> Any:
        """Return the session's configuration."""
        return self.session_config

    def uid(self, whitelist: Any = None) -> str:
        """Return a text that is equal for equal configurations."""
        return repr(
            sorted((k, str(v)) for k, v in vars(self).items() if k not in (whitelist or ()))
        )


ClusterConfig = RunConfig


def _session_config(cores: int, log_placement: bool, gpu_fraction: float) -> Any:
    return tf.compat.v1.ConfigProto(
        inter_op_parallelism_threads=cores,
        intra_op_parallelism_threads=cores,
        log_device_placement=log_placement,
        allow_soft_placement=True,
        gpu_options=tf.compat.v1.GPUOptions(per_process_gpu_memory_fraction=gpu_fraction),
    )
