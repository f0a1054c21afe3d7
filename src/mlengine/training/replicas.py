"""From a plan to the replicas of one attempt: each its own folder, environment, GPUs and limits.

All run the same command. They have the names of the service's logs, ``master-replica-0`` first,
also where ``TF_CONFIG`` calls that one ``chief``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from mlengine.core.resources import TrainingInput
from mlengine.environments import Environment
from mlengine.store import JobRecord
from mlengine.training.cluster import Cluster
from mlengine.training.launchers import Machine, ReplicaSpec
from mlengine.training.plan import ReplicaPlan, RolePlan
from mlengine.training.tfconfig import replica_environment
from mlengine.training.trials.children import own_id, trial_of

__all__ = ["Program", "replica_specs"]


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """What every replica of an attempt runs.

    Attributes:
        argv: The command.
        environment: Where its interpreter and packages are.
        job_dir: Where its job directory is; may be empty.
        outputs: The same, as the trainer is told it: a URI, if it reads those by itself.
        environ: The engine's own environment.
        places: What its command and environment name of the job's buckets.
    """

    argv: list[str]
    environment: Environment
    job_dir: str
    outputs: str
    environ: Mapping[str, str]
    places: list[str] = []


def replica_specs(
    program: Program,
    plan: ReplicaPlan,
    cluster: Cluster,
    *,
    record: JobRecord,
    training_input: TrainingInput,
    attempt_dir: Path,
    machine_cpus: float,
    gpus: Sequence[str] = (),
) -> list[ReplicaSpec]:
    """Return the replicas of an attempt, the master first; their folders exist then.

    Args:
        training_input: What they are told of their job: of a trial's, what its user wrote.
        machine_cpus: What this machine has; several replicas share it.
        gpus: Ids of the GPUs of all replicas together, given out in the order of the plan.
    """
    limited = record.job.options is not None and record.job.options.strict_resources
    tell = functools.partial(
        replica_environment, program.environ,
        project=record.project, job_id=own_id(record), trial=trial_of(record),
        training_input=training_input, attempt=record.attempt, attempt_dir=attempt_dir,
        cluster=cluster, job_dir=program.job_dir, outputs=program.outputs,
    )  # fmt: skip
    left = list(gpus)
    specs = []
    for role in plan.roles:
        for index in range(role.count):
            task = f"{role.role}-replica-{index}"
            cwd = attempt_dir / "work" / task
            cwd.mkdir(parents=True, exist_ok=True)
            own, left = left[: role.gpus], left[role.gpus :]
            env = tell(
                role=role.role,
                index=index,
                gpus=own,
                threads=plan.threads(role.role, machine_cpus=machine_cpus),
            )
            specs.append(ReplicaSpec(
                task=task, role=role.role, index=index, argv=program.argv, cwd=str(cwd),
                trial=trial_of(record),
                env=program.environment.variables(env),
                # Who insists on the machine that was named gets it, and no more than it.
                cpus=float(role.machine.cpus) if limited else 0.0,
                memory_bytes=role.machine.memory_bytes if limited else 0,
                ports=cluster.ports(role.role, index) if plan.replicas > 1 else [],
                machine=_machine(role),
            ))  # fmt: skip
    return specs


def _machine(role: RolePlan) -> Machine:
    return Machine(
        cpus=float(role.machine.cpus), memory_bytes=role.machine.memory_bytes, gpus=role.gpus
    )
