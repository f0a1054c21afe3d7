"""What machine types and scaling fields mean, and what is refused by its name."""

from __future__ import annotations

from typing import Any

import pytest

from mlengine.core.errors import InvalidArgument
from mlengine.core.resources import AutoScaling, ManualScaling, Version
from mlengine.prediction.scaling.fields import (
    bounds_of,
    check_machine,
    check_scaling,
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
        ({"machine_type": "standard_gpu"}, "machine_type", "versions are served on CPUs"),
        ({"machine_type": "a2-highgpu-1g"}, "machine_type", "has GPUs"),
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
            "GPUs is not measured",
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
