"""From a training input to its replicas."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.errors import InvalidArgument
from mlengine.core.resources import AcceleratorConfig, ReplicaConfig, TrainingInput
from mlengine.training.machines import GPU_USD_PER_HOUR, MACHINE_TYPES
from mlengine.training.plan import MAX_REPLICAS, ROLE_FIELDS, plan_replicas


def custom(**changes: Any) -> TrainingInput:
    return TrainingInput(**{"scale_tier": "CUSTOM", "master_type": "n1-standard-4", **changes})


def gpus(kind: str, count: int) -> ReplicaConfig:
    return ReplicaConfig(accelerator_config=AcceleratorConfig(type=kind, count=count))


@pytest.mark.parametrize(
    ("tier", "text", "cpus"),
    [
        ("", "1 master (n1-standard-4)", 4),
        ("SCALE_TIER_UNSPECIFIED", "1 master (n1-standard-4)", 4),
        ("BASIC", "1 master (n1-standard-4)", 4),
        (
            "STANDARD_1",
            "1 master (n1-highcpu-8), 4 worker (n1-highcpu-8), 3 ps (n1-standard-4)",
            52,
        ),
        (
            "PREMIUM_1",
            "1 master (n1-highcpu-16), 19 worker (n1-highcpu-16), 11 ps (n1-highmem-8)",
            408,
        ),
        ("BASIC_GPU", "1 master (n1-standard-8 + 1 NVIDIA_TESLA_K80)", 8),
    ],
)
def test_a_tier_has_the_replicas_of_the_service(tier: str, text: str, cpus: int) -> None:
    plan = plan_replicas(TrainingInput(scale_tier=tier))
    first, second = plan.describe()
    assert first == f"Replicas: {text}."
    assert f" {cpus} CPUs, " in second
    assert plan.cpus == cpus and plan.gpus == (tier == "BASIC_GPU")


def test_a_custom_plan_has_every_role_in_order() -> None:
    plan = plan_replicas(custom(
        worker_type="n1-highcpu-8", worker_count=2, worker_config=gpus("NVIDIA_TESLA_T4", 2),
        parameter_server_type="e2-highmem-2", parameter_server_count=1,
        evaluator_type="a2-highgpu-1g", evaluator_count=1,
    ))  # fmt: skip
    assert plan.counts("chief") == {"chief": 1, "worker": 2, "ps": 1, "evaluator": 1}
    assert list(plan.counts()) == list(ROLE_FIELDS)
    assert (plan.replicas, plan.cpus, plan.gpus) == (5, 4 + 16 + 2 + 12, 2 * 2 + 1)
    worker = plan.roles[1]
    plain = MACHINE_TYPES["n1-highcpu-8"].usd_per_hour
    assert worker.usd_per_hour == pytest.approx(plain + 2 * GPU_USD_PER_HOUR["NVIDIA_TESLA_T4"])


REFUSED: dict[str, tuple[TrainingInput, str, str]] = {
    "a misspelled tier": (TrainingInput(scale_tier="STANDART_1"), "scale_tier", "'STANDARD_1'"),
    "a TPU tier": (TrainingInput(scale_tier="BASIC_TPU"), "scale_tier", "needs a TPU"),
    "CUSTOM without a master": (TrainingInput(scale_tier="CUSTOM"), "master_type", "needs a mast"),
    "a master type without CUSTOM": (
        TrainingInput(master_type="standard"), "master_type", "goes with scaleTier CUSTOM",
    ),
    "a count without CUSTOM": (
        TrainingInput(scale_tier="STANDARD_1", parameter_server_count=1),
        "parameter_server_count", "parameterServerCount goes with scaleTier CUSTOM, not STANDARD_1",
    ),
    "a type without CUSTOM": (
        TrainingInput(evaluator_type="standard"), "evaluator_type", "evaluatorType goes with",
    ),
    "accelerators without CUSTOM": (
        TrainingInput(scale_tier="BASIC_GPU", master_config=gpus("NVIDIA_TESLA_T4", 1)),
        "master_config.accelerator_config", "masterConfig.acceleratorConfig goes with",
    ),
    "a count without a type": (custom(worker_count=2), "worker_type", "there is no workerType"),
    "a type without a count": (
        custom(worker_type="n1-standard-4"), "worker_count", "workerCount is not",
    ),
    "fewer than none": (
        custom(worker_type="n1-standard-4", worker_count=-1), "worker_count", "is -1",
    ),
    "accelerators of nobody": (
        custom(evaluator_config=gpus("NVIDIA_TESLA_T4", 1)),
        "evaluator_config.accelerator_config", "no such replica",
    ),
    "two families": (
        custom(worker_type="complex_model_s", worker_count=1), "worker_type", "of two families",
    ),
    "an unknown machine": (
        custom(worker_type="n1-standard-5", worker_count=1), "worker_type", "is not a machine type",
    ),
    "an unknown accelerator": (
        custom(master_config=gpus("NVIDIA_TESLA_T5", 1)),
        "master_config.accelerator_config.type", "'NVIDIA_TESLA_T4'",
    ),
    "a TPU": (
        custom(master_config=gpus("TPU_V3", 8)),
        "master_config.accelerator_config.type", "is a TPU",
    ),
    "three GPUs": (
        custom(master_config=gpus("NVIDIA_TESLA_T4", 3)),
        "master_config.accelerator_config.count", "Use 1, 2, 4 or 8",
    ),
    "no GPU": (
        custom(master_config=gpus("NVIDIA_TESLA_T4", 0)),
        "master_config.accelerator_config.count", "Use 1, 2, 4 or 8",
    ),
    "GPUs on an old name": (
        custom(master_type="standard", master_config=gpus("NVIDIA_TESLA_K80", 1)),
        "master_config.accelerator_config", "go with machine types of Compute Engine",
    ),
    "other GPUs than the machine's": (
        custom(master_type="a2-highgpu-2g", master_config=gpus("NVIDIA_TESLA_T4", 2)),
        "master_config.accelerator_config", "comes with 2 NVIDIA_TESLA_A100",
    ),
    "a thousand replicas": (
        custom(worker_type="n1-standard-4", worker_count=10**12), "worker_count", "are too many",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("spec", "field", "text"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_plan_is_refused_by_name(spec: TrainingInput, field: str, text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        plan_replicas(spec)
    assert caught.value.field == f"training_input.{field}"
    assert text in caught.value.description


def test_the_gpus_that_a_machine_brings_may_be_named() -> None:
    plan = plan_replicas(
        custom(master_type="a2-highgpu-2g", master_config=gpus("NVIDIA_TESLA_A100", 2))
    )
    assert plan.gpus == 2
    assert plan.usd_per_hour == round(MACHINE_TYPES["a2-highgpu-2g"].usd_per_hour, 2)


NAMES = sorted(name for name, m in MACHINE_TYPES.items() if m.family == "compute" and not m.gpus)
COUNTS = st.integers(0, 60)


@given(
    st.sampled_from(NAMES), COUNTS, COUNTS, st.integers(0, 3), st.sampled_from([0, 1, 2, 4, 8]),
    st.floats(0.5, 256),
)  # fmt: skip
def test_totals_are_sums_and_threads_fit_the_machine(
    name: str, workers: int, servers: int, evaluators: int, each: int, machine_cpus: float
) -> None:
    plan = plan_replicas(custom(
        master_type=name,
        worker_count=workers, worker_type=name if workers else "",
        worker_config=gpus("NVIDIA_TESLA_T4", each) if each and workers else None,
        parameter_server_count=servers, parameter_server_type=name if servers else "",
        evaluator_count=evaluators, evaluator_type=name if evaluators else "",
    ))  # fmt: skip
    machine = MACHINE_TYPES[name]
    total = 1 + workers + servers + evaluators
    assert plan.replicas == sum(plan.counts().values()) == total <= MAX_REPLICAS
    assert plan.cpus == total * machine.cpus
    assert plan.memory_bytes == total * machine.memory_bytes
    assert plan.gpus == workers * each
    assert 0 not in plan.counts().values()
    usd = total * machine.usd_per_hour + workers * each * GPU_USD_PER_HOUR["NVIDIA_TESLA_T4"]
    assert plan.usd_per_hour == pytest.approx(usd, abs=0.02)
    threads = {r.role: plan.threads(r.role, machine_cpus=machine_cpus) for r in plan.roles}
    if total == 1:
        assert threads == {"master": 0}  # its libraries know best
    else:
        assert all(1 <= n <= machine.cpus for n in threads.values())
        together = sum(r.count * threads[r.role] for r in plan.roles)
        assert together <= max(machine_cpus, total)  # one thread each is the least
