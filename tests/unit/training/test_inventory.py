"""What a machine has, read from files laid out as kernels and containers lay them out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlengine.core.errors import FailedPrecondition
from mlengine.training.inventory import Inventory, probe, share_out

GIB = 1 << 30
HOST_CPUS = float(len(os.sched_getaffinity(0)))


def machine(root: Path, **files: str) -> Path:
    """Write a ``/proc`` and ``/sys``; names have ``__`` for a slash."""
    (root / "proc/self").mkdir(parents=True, exist_ok=True)
    (root / "proc/meminfo").write_text("MemTotal:       16777216 kB\nMemFree: 1 kB\n")
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("DOT", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture(autouse=True)
def _no_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def driver(tmp_path: Path, text: str) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n".replace("cat", "/bin/cat"))
    program.chmod(0o755)


def test_a_machine_without_limits(tmp_path: Path) -> None:
    found = probe({}, root=machine(tmp_path))
    assert found == Inventory(cpus=HOST_CPUS, memory_bytes=16 * GIB)


def test_cgroup_v2_limits_of_any_group_above(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        proc__self__cgroup="0::/kube/pod/box\n",
        sys__fs__cgroup__kube__cpuDOTmax="50000 100000\n",
        sys__fs__cgroup__kube__pod__cpuDOTmax="max 100000\n",
        sys__fs__cgroup__kube__pod__box__memoryDOTmax=f"{3 * GIB}\n",
        sys__fs__cgroup__kube__memoryDOTmax="max\n",
    )
    assert probe({}, root=root) == Inventory(cpus=0.5, memory_bytes=3 * GIB)


def test_cgroup_v1_limits(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        proc__self__cgroup="4:memory:/box\n1:cpu,cpuacct:/box\n0::/\n",
        sys__fs__cgroup__memory__box__memoryDOTlimit_in_bytes=f"{2 * GIB}\n",
        sys__fs__cgroup__memory__memoryDOTlimit_in_bytes="9223372036854771712\n",
    )
    folder = root / "sys/fs/cgroup/cpu,cpuacct/box"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text("25000\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    assert probe({}, root=root) == Inventory(cpus=0.25, memory_bytes=2 * GIB)


def test_a_quota_that_is_off_is_none(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        proc__self__cgroup="1:cpu:/\n",
        sys__fs__cgroup__cpu__cpuDOTcfs_quota_us="-1\n",
        sys__fs__cgroup__cpu__cpuDOTcfs_period_us="100000\n",
    )
    assert probe({}, root=root).cpus == HOST_CPUS


TWO = "GPU 0: Tesla K80 (UUID: GPU-aa)\nGPU 1: Tesla K80 (UUID: GPU-bb)"
GPUS: dict[str, tuple[dict[str, str], str, tuple[str, ...]]] = {
    "all that the driver lists": ({}, "", ("0", "1")),
    "an outer choice": ({"CUDA_VISIBLE_DEVICES": "1"}, "", ("1",)),
    "an outer order": ({"CUDA_VISIBLE_DEVICES": "1, 0"}, "", ("1", "0")),
    "an outer none": ({"CUDA_VISIBLE_DEVICES": ""}, "", ()),
    "like CUDA, nothing after a bad id": ({"CUDA_VISIBLE_DEVICES": "0,-1,1"}, "", ("0",)),
    "by name": ({"CUDA_VISIBLE_DEVICES": "GPU-bb"}, "", ("GPU-bb",)),
    "the setting knows better": ({"CUDA_VISIBLE_DEVICES": "1"}, "4,5,4", ("4", "5")),
    "the setting says none": ({}, "none", ()),
}


@pytest.mark.parametrize(("environ", "setting", "ids"), GPUS.values(), ids=GPUS.keys())
def test_gpus(environ: dict[str, str], setting: str, ids: tuple[str, ...], tmp_path: Path) -> None:
    driver(tmp_path, TWO)
    assert probe(environ, gpus=setting, root=machine(tmp_path)).gpus == ids


def test_gpus_that_only_the_kernel_knows(tmp_path: Path) -> None:
    root = machine(tmp_path, proc__driver__nvidia__gpus__a__information="x")
    assert probe({}, root=root).gpus == ("0",)


SHARED: dict[str, tuple[str, str, tuple[str, ...], tuple[str, ...]]] = {
    "all are for jobs": ("", "", ("0", "1"), ()),
    "some are for versions": ("", " 1,1 ", ("0",), ("1",)),
    "all are for versions": ("", "1,0", (), ("1", "0")),
    "one for each": ("0", "1", ("0",), ("1",)),
    "none for jobs": ("none", "1", (), ("1",)),
    "by number and by name": ("0", "GPU-b", ("0",), ("GPU-b",)),
    "twice the same": ("", "GPU-bb,1", ("0",), ("1",)),
    "none at all": ("none", "none", (), ()),
}


@pytest.mark.parametrize(("jobs", "versions", "left", "served"), SHARED.values(), ids=SHARED)
def test_gpus_are_for_jobs_or_for_versions(
    jobs: str, versions: str, left: tuple[str, ...], served: tuple[str, ...], tmp_path: Path
) -> None:
    driver(tmp_path, TWO)
    found = probe({}, gpus=jobs, root=machine(tmp_path))
    inventory, given = share_out(found, jobs=jobs, versions=versions, root=tmp_path)
    assert (inventory.gpus, given) == (left, served)
    assert (inventory.cpus, inventory.memory_bytes) == (found.cpus, found.memory_bytes)


@pytest.mark.parametrize(("listed", "jobs", "versions", "said"), [
    (TWO, "", "2", "names the GPU '2'; those of this machine are 0, 1."),
    (TWO, "none", "GPU-cc", "names the GPU 'GPU-cc'; those of this machine are 0, 1."),
    ("", "", "0", "names the GPU '0'; this machine has none."),
    (TWO, "0,1", "1", "The GPU '1' stands in the settings gpus and serving_gpus."),
    (TWO, "0,1", "GPU-bb", "The GPU 'GPU-bb' stands in the settings gpus and serving_gpus."),
    (TWO, "GPU-bb", "1", "The GPU '1' stands in the settings gpus and serving_gpus."),
    ("", "0", "GPU-aa", "by number and by UUID (GPU-aa), and no driver says which are the same."),
    (TWO, "", "0;1", "The setting serving_gpus is '0;1', and '0;1' is no id of a GPU."),
    (TWO, "", "-1", "'-1' is no id of a GPU."),
    (TWO, "", "MIG-1", "'MIG-1' is a part of a GPU"),
    (TWO, "MIG-1", "0", "'MIG-1' is a part of a GPU"),
    (TWO, "two", "1", "The setting gpus is 'two', and 'two' is no id of a GPU."),
])  # fmt: skip
def test_gpus_that_cannot_be_shared_out_are_named(
    listed: str, jobs: str, versions: str, said: str, tmp_path: Path
) -> None:
    driver(tmp_path, listed)
    with pytest.raises(FailedPrecondition) as refused:
        found = probe({}, gpus=jobs, root=machine(tmp_path))
        share_out(found, jobs=jobs, versions=versions, root=tmp_path)
    assert said in str(refused.value)


@pytest.mark.parametrize("jobs", ["4", "none"])
def test_without_a_driver_the_settings_are_believed(jobs: str, tmp_path: Path) -> None:
    found = probe({}, gpus=jobs, root=machine(tmp_path))
    assert share_out(found, jobs=jobs, versions="7", root=tmp_path)[1] == ("7",)


def test_it_reads_this_machine() -> None:
    found = probe({})
    assert 0 < found.cpus <= HOST_CPUS
    assert found.memory_bytes > GIB // 4
    assert "GiB of memory" in str(found)
