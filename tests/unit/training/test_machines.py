"""The table of machine types."""

from __future__ import annotations

import pytest

from mlengine.core.errors import InvalidArgument
from mlengine.training.machines import GPU_USD_PER_HOUR, MACHINE_TYPES, find_machine

GIB = 1 << 30


@pytest.mark.parametrize(
    ("name", "cpus", "gib", "usd"),
    [  # the published prices of some whole machines, which the table computes from its parts
        ("n1-standard-4", 4, 15, 0.19), ("n1-highmem-2", 2, 13, 0.1183),
        ("n1-highcpu-16", 16, 14.4, 0.5668), ("n2-standard-2", 2, 8, 0.0971),
        ("e2-standard-2", 2, 8, 0.067), ("c2-standard-4", 4, 16, 0.2087),
        ("a2-highgpu-1g", 12, 85, 3.6734),
    ],
)  # fmt: skip
def test_a_name_says_what_it_is(name: str, cpus: int, gib: float, usd: float) -> None:
    machine = find_machine(name)
    assert (machine.cpus, machine.memory_bytes) == (cpus, int(gib * GIB))
    assert machine.usd_per_hour == pytest.approx(usd, abs=0.0005)
    assert machine.family == "compute"


@pytest.mark.parametrize(
    ("name", "same", "gpus"),
    [
        ("standard", "n1-standard-4", 0), ("large_model", "n1-highmem-8", 0),
        ("complex_model_l", "n1-highcpu-32", 0), ("complex_model_m_gpu", "n1-standard-16", 4),
        ("large_model_v100", "n1-highmem-8", 1), ("complex_model_l_v100", "n1-standard-32", 8),
    ],
)  # fmt: skip
def test_an_old_name_stands_for_a_new_one_and_gpus(name: str, same: str, gpus: int) -> None:
    old, new = find_machine(name), find_machine(same)
    assert (old.cpus, old.memory_bytes, old.gpus) == (new.cpus, new.memory_bytes, gpus)
    assert old.family == "legacy"
    extra = gpus * GPU_USD_PER_HOUR[old.gpu_type] if gpus else 0.0
    assert old.usd_per_hour == pytest.approx(new.usd_per_hour + extra)


def test_every_machine_is_whole() -> None:
    for name, machine in MACHINE_TYPES.items():
        assert machine.name == name
        assert machine.cpus > 0 and machine.memory_bytes > 0 and machine.usd_per_hour > 0
        assert bool(machine.gpus) == bool(machine.gpu_type)
        assert not machine.gpu_type or machine.gpu_type in GPU_USD_PER_HOUR


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("n1-standard-3", "Did you mean 'n1-standard"), ("n1-standrad-4", "'n1-standard-4'"),
        ("complex_model_x", "Did you mean 'complex_model_"), ("cloud_tpu", "is a TPU"),
        ("", "is not a machine type"),
    ],
)  # fmt: skip
def test_what_is_no_machine_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(InvalidArgument, match=text) as caught:
        find_machine(name, field="training_input.worker_type")
    assert caught.value.field == "training_input.worker_type"
