"""What machine types and scaling fields mean, and what is refused by its name."""

from __future__ import annotations

from typing import Any

import pytest

from mlengine.core.errors import InvalidArgument, ResourceExhausted
from mlengine.core.resources import (
    AcceleratorConfig,
    AutoScaling,
    ManualScaling,
    Version,
    VersionOptions,
)
from mlengine.prediction.scaling.fields import (
    bounds_of,
    check_machine,
    check_scaling,
    node_gpus,
    threads_of,
)

CPU = {"name": "CPU_USAGE", "target": 75}


@pytest.mark.parametrize(("fields", "expected"), [
    ({}, (0, 3, 0.6)),
    ({"machine_type": "mls1-c4-m2"}, (0, 3, 0.6)),
    ({"machine_type": "n1-standard-2"}, (1, 3, 0.6)),
    ({"auto_scaling": AutoScaling(min_nodes=5)}, (5, 5, 0.6)),
    ({"auto_scaling": AutoScaling(max_nodes=9, metrics=[CPU])}, (0, 9, 0.75)),
    ({"machine_type": "n1-highmem-8", "auto_scaling": AutoScaling(max_nodes=2)}, (1, 2, 0.6)),
    ({"manual_scaling": ManualScaling(nodes=4)}, (4, 4, 0.6)),
])  # fmt: skip
def test_fields_are_bounds(fields: dict[str, Any], expected: tuple[int, int, float]) -> None:
    version = Version(**fields)
    check_machine(version)
    check_scaling(version)
    bounds = bounds_of(version, cpus=4.0, idle_after_s=30.0)
    assert (bounds.min_nodes, bounds.max_nodes, bounds.busy_target) == expected
    assert bounds.idle_after_s == 30.0


def gpus(count: int, kind: str = "NVIDIA_TESLA_T4") -> AcceleratorConfig:
    return AcceleratorConfig(type=kind, count=count)


@pytest.mark.parametrize(("fields", "each"), [
    ({}, 0),
    ({"machine_type": "n1-standard-4"}, 0),
    ({"machine_type": "n1-standard-4", "accelerator_config": AcceleratorConfig()}, 0),
    ({"machine_type": "n1-standard-4", "accelerator_config": gpus(2)}, 2),
    ({"machine_type": "a2-highgpu-2g"}, 2),
    ({"machine_type": "standard_gpu", "framework": "TENSORFLOW"}, 1),
])  # fmt: skip
def test_a_version_says_how_many_gpus_each_worker_has(fields: dict[str, Any], each: int) -> None:
    version = Version(**fields)
    check_machine(version)
    check_scaling(version, gpus=each)
    assert node_gpus(version) == each


N1: dict[str, Any] = {"machine_type": "n1-standard-4", "accelerator_config": gpus(1)}
NO_GPUS: dict[str, tuple[dict[str, Any], str, str]] = {
    "on the old machines": ({**N1, "machine_type": ""}, "", "not with mls1-c1-m2, which it has"),
    "on a legacy type": ({**N1, "machine_type": "standard"}, "", "not with standard"),
    "three": ({**N1, "accelerator_config": gpus(3)}, ".count", "3 accelerators"),
    "a TPU": ({**N1, "accelerator_config": gpus(1, "TPU_V2")}, ".type", "is a TPU"),
    "a misspelled one": ({**N1, "accelerator_config": gpus(1, "T4")}, ".type", "'T4' is not"),
    "scikit-learn": ({**N1, "framework": "SCIKIT_LEARN"}, "", "models are served on CPUs"),
    "compiled": ({**N1, "options": VersionOptions(compile="ONNX")}, "", "computes on CPUs"),
}


@pytest.mark.parametrize(("fields", "end", "said"), NO_GPUS.values(), ids=NO_GPUS)
def test_gpus_of_no_use_are_refused(fields: dict[str, Any], end: str, said: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_machine(Version(**fields))
    assert refused.value.field == f"version.accelerator_config{end}"
    assert said in str(refused.value)


def test_a_machine_that_comes_with_gpus_is_named_if_they_are_of_no_use() -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_machine(Version(machine_type="standard_gpu", framework="XGBOOST"))
    assert refused.value.field == "version.machine_type"


@pytest.mark.parametrize(("fields", "there", "said"), [
    ({}, 0, "The request for 1 GPU, for a worker, exceeds the 0 that this engine keeps"),
    ({"manual_scaling": ManualScaling(nodes=3)}, 2, "for 3 GPUs, for 3 workers with 1 each, ex"),
    ({"auto_scaling": AutoScaling(min_nodes=2), "accelerator_config": gpus(2)}, 3,
     "for 4 GPUs, for 2 workers with 2 each, exceeds the 3"),
])  # fmt: skip
def test_more_gpus_than_there_are_for_versions_are_refused(
    fields: dict[str, Any], there: int, said: str
) -> None:
    with pytest.raises(ResourceExhausted, match=said) as refused:
        check_scaling(Version(**{**N1, **fields}), gpus=there)
    assert "serving_gpus" in str(refused.value)


@pytest.mark.parametrize(("machine_type", "threads"), [
    ("", 1), ("mls1-c1-m2", 1), ("mls1-c4-m2", 2), ("n1-standard-1", 1), ("n1-standard-96", 2),
    ("of an older mlengine", 1),
])  # fmt: skip
def test_a_machine_type_says_how_many_cores_a_call_may_use(machine_type: str, threads: int) -> None:
    assert threads_of(Version(machine_type=machine_type), cpus=2.5) == threads


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"machine_type": "mls1-c1-m1"}, "machine_type", "Did you mean 'mls1-c1-m2'"),
        ({"machine_type": "n1-standard-5"}, "machine_type", "n1-standard"),
        (
            {"auto_scaling": AutoScaling(), "manual_scaling": ManualScaling(nodes=1)},
            "manual_scaling",
            "by hand or by itself",
        ),
        ({"manual_scaling": ManualScaling()}, "manual_scaling.nodes", "0 nodes"),
        ({"manual_scaling": ManualScaling(nodes=65)}, "manual_scaling.nodes", "65"),
        ({"auto_scaling": AutoScaling(min_nodes=-1)}, "auto_scaling.min_nodes", "-1"),
        (
            {"auto_scaling": AutoScaling(min_nodes=3, max_nodes=2)},
            "auto_scaling.max_nodes",
            "maxNodes is 2, minNodes 3",
        ),
        (
            {"auto_scaling": AutoScaling(metrics=[{"name": "GPU_DUTY_CYCLE", "target": 60}])},
            "auto_scaling.metrics",
            "GPUs is not measured.",
        ),
        (
            {"auto_scaling": AutoScaling(metrics=[{"name": "RAM", "target": 60}])},
            "auto_scaling.metrics",
            "'RAM'",
        ),
        (
            {"auto_scaling": AutoScaling(metrics=[{"name": "CPU_USAGE", "target": 0}])},
            "auto_scaling.metrics",
            "CPU_USAGE is 0",
        ),
        (
            {"auto_scaling": AutoScaling(metrics=[{**CPU, "window": 3}])},
            "auto_scaling.metrics",
            "'window'",
        ),
        (
            {"auto_scaling": AutoScaling(metrics=[CPU, {**CPU, "target": 90}])},
            "auto_scaling.metrics",
            "2 targets for CPU_USAGE: 75, 90",
        ),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(
    fields: dict[str, Any], field: str, said: str
) -> None:
    check = check_machine if field == "machine_type" else check_scaling
    with pytest.raises(InvalidArgument) as refused:
        check(Version(**fields))
    assert refused.value.field == f"version.{field}"
    assert said in str(refused.value)
