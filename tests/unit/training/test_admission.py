"""Who starts: a table for the rule, and properties for what must hold of any queue."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.errors import ResourceExhausted
from mlengine.training.admission import (
    Claim,
    Demand,
    choose,
    claim_of,
    free_of,
    is_over_committed,
    refuse_impossible,
)
from mlengine.training.inventory import Inventory

GIB = 1 << 30
LAPTOP = Inventory(cpus=2.0, memory_bytes=8 * GIB)
SERVER = Inventory(cpus=8.0, memory_bytes=64 * GIB, gpus=("0", "1"))
BASIC = Demand(cpus=4.0, memory_bytes=15 * GIB)
WIDE = Demand(replicas=8, cpus=52.0, memory_bytes=81 * GIB)
GPU = Demand(cpus=8.0, memory_bytes=30 * GIB, gpus=1)


def strict(cpus: float, gib: int = 1, gpus: int = 0) -> Demand:
    return Demand(cpus=cpus, memory_bytes=gib * GIB, gpus=gpus, strict=True)


def started(inventory: Inventory, slots: int, *queue: Demand) -> str:
    named = [(chr(ord("a") + n), demand) for n, demand in enumerate(queue)]
    return "".join(a.uid for a in choose(inventory, slots, [], named))


RULES = {
    "two small jobs run side by side on the smallest laptop": (LAPTOP, 2, [BASIC] * 3, "ab"),
    "who asks for more slots gets them over-committed": (LAPTOP, 3, [BASIC] * 4, "abc"),
    "a job wider than the machine has it alone": (LAPTOP, 2, [WIDE, BASIC], "a"),
    "and is not overtaken while it waits": (LAPTOP, 2, [BASIC, WIDE, BASIC], "a"),
    "a gang is started whole or not at all": (SERVER, 8, [strict(1), WIDE], "a"),
    "strict jobs get what they ask for": (SERVER, 8, [strict(5), strict(3), strict(1)], "ab"),
    "strict memory counts too": (SERVER, 8, [strict(1, 40), strict(1, 40)], "a"),
    "a strict job and shares add up": (SERVER, 8, [strict(6), BASIC, BASIC, BASIC], "abc"),
    "GPUs are never shared": (SERVER, 8, [GPU] * 3, "ab"),
    "who waits for GPUs lets others pass": (SERVER, 8, [GPU, GPU, GPU, BASIC], "abd"),
    "but not those who want GPUs": (SERVER, 8, [GPU, strict(1, 1, 2), GPU, BASIC], "ad"),
    "and keeps its CPUs": (SERVER, 8, [GPU, strict(6, 1, 2), BASIC, BASIC], "ac"),
    "no slots, no jobs": (SERVER, 0, [BASIC], ""),
}


@pytest.mark.parametrize(("machine", "slots", "queue", "who"), RULES.values(), ids=RULES.keys())
def test_choose(machine: Inventory, slots: int, queue: list[Demand], who: str) -> None:
    assert started(machine, slots, *queue) == who


def test_gpus_go_to_one_job_each_and_come_back() -> None:
    first, second = choose(SERVER, 8, [], [("a", GPU), ("b", GPU)])
    assert (first.claim.gpu_ids, second.claim.gpu_ids) == (("0",), ("1",))
    (third,) = choose(SERVER, 8, [second.claim], [("c", GPU), ("d", GPU)])
    assert third.claim.gpu_ids == ("0",)


def test_a_job_bigger_than_the_machine_is_over_committed() -> None:
    assert not is_over_committed(BASIC, SERVER)
    assert is_over_committed(WIDE, SERVER)
    assert is_over_committed(Demand(memory_bytes=65 * GIB), SERVER)


IMPOSSIBLE = {
    "more GPUs than there are": (
        SERVER, Demand(gpus=4),
        r"4 GPUs exceeds what there is for jobs: 2 \(2 free now\)\. Ask for fewer GPUs\."),
    "a GPU where there is none": (
        LAPTOP, GPU,
        r"The request for 1 GPU exceeds .*: 0 \(0 free now\)\. There is no GPU for jobs .*: use"),
    "an accelerator where there is none": (
        LAPTOP, Demand(gpus=2), r"2 GPUs exceeds .* without GPUs and without acceleratorConfig\."),
    "many CPUs and a GPU where there is none": (
        LAPTOP, strict(4, gpus=1), "4 CPUs exceeds .* There is no GPU for jobs .*: use"),
    "strict CPUs": (LAPTOP, strict(4), r"4 CPUs exceeds .*: 2 \(1 free now\). Ask for less, or"),
    "strict memory": (LAPTOP, strict(1, 9), r"9.0 GiB of memory exceeds .*: 8.0 GiB \(4.0"),
}  # fmt: skip


@pytest.mark.parametrize(("machine", "demand", "says"), IMPOSSIBLE.values(), ids=IMPOSSIBLE.keys())
def test_what_can_never_run_is_refused(machine: Inventory, demand: Demand, says: str) -> None:
    busy = [claim_of(BASIC, machine, 2)] if machine is LAPTOP else []
    free = free_of(machine, 2, busy)
    with pytest.raises(ResourceExhausted, match="Quota failure for project p. .*" + says) as caught:
        refuse_impossible("p", demand, machine, free, field="job.training_input.scale_tier")
    assert caught.value.field == "job.training_input.scale_tier"


def test_what_only_has_to_wait_is_not_refused() -> None:
    free = free_of(LAPTOP, 2, [claim_of(strict(2), LAPTOP, 2)])
    for demand in (strict(2), WIDE, BASIC):
        refuse_impossible("p", demand, LAPTOP, free, field="job")


# --- any machine, any queue ---

MACHINES = st.builds(
    Inventory,
    cpus=st.sampled_from([0.5, 1.0, 2.0, 3.0, 7.0, 64.0]),
    memory_bytes=st.integers(1, 64).map(lambda n: n * GIB),
    gpus=st.integers(0, 4).map(lambda n: tuple(map(str, range(n)))),
)
DEMANDS = st.builds(
    Demand,
    replicas=st.integers(1, 12),
    cpus=st.sampled_from([0.0, 0.3, 1.0, 2.0, 4.0, 31.0]),
    memory_bytes=st.integers(0, 32).map(lambda n: n * GIB),
    gpus=st.integers(0, 4),
    strict=st.booleans(),
)


def possible(machine: Inventory, demand: Demand) -> bool:
    try:
        refuse_impossible("p", demand, machine, free_of(machine, 1, []), field="job")
    except ResourceExhausted:
        return False
    return True


@given(MACHINES, st.integers(1, 9), st.lists(DEMANDS, max_size=12), st.randoms())
def test_every_job_starts_in_the_end_and_nothing_is_given_twice(
    machine: Inventory, slots: int, demands: list[Demand], dice: object
) -> None:
    queue = [(str(n), d) for n, d in enumerate(demands) if possible(machine, d)]
    running: dict[str, Claim] = {}
    for _round in range(2 * len(queue)):
        for admission in choose(machine, slots, running.values(), queue):
            running[admission.uid] = admission.claim
        queue = [(uid, d) for uid, d in queue if uid not in running]
        _check(machine, slots, running)
        if queue:
            assert running, "nothing runs, and nothing is started"
        if running:
            del running[dice.choice(sorted(running))]  # type: ignore[attr-defined]
    assert not queue


def _check(machine: Inventory, slots: int, running: dict[str, Claim]) -> None:
    assert sum(c.slots for c in running.values()) <= slots
    assert sum(c.cpus for c in running.values()) <= machine.cpus + 1e-3
    assert sum(c.memory_bytes for c in running.values()) <= machine.memory_bytes + 16
    ids = [gpu for claim in running.values() for gpu in claim.gpu_ids]
    assert len(ids) == len(set(ids)) and set(ids) <= set(machine.gpus)
    assert all(len(c.gpu_ids) == c.gpus for c in running.values())


@given(MACHINES, st.integers(1, 9), st.lists(DEMANDS, min_size=1, max_size=12), st.randoms())
def test_the_head_is_never_delayed_by_those_behind_it(
    machine: Inventory, slots: int, demands: list[Demand], dice: object
) -> None:
    """Whether others queue behind a job or not, it starts after the same ends."""
    demands = [d for d in demands if possible(machine, d)]
    running = [
        a.claim for a in choose(machine, slots, [], [(str(n), d) for n, d in enumerate(demands)])
    ]
    waiting = [(str(n), d) for n, d in enumerate(demands)][len(running) :]
    if not waiting:
        return
    joined = choose(machine, slots, running, waiting)
    if waiting[0][0] in [a.uid for a in joined]:
        return
    alone, crowded = list(running), [*running, *(a.claim for a in joined)]
    while alone:
        gone = dice.choice(alone)  # type: ignore[attr-defined]
        alone.remove(gone)
        crowded.remove(gone)
        starts = [bool(choose(machine, slots, now, waiting[:1])) for now in (alone, crowded)]
        assert starts[0] == starts[1]
        if starts[0]:
            return


@given(MACHINES, st.integers(1, 9), st.lists(DEMANDS, max_size=12))
def test_without_gpus_the_queue_is_strictly_in_order(
    machine: Inventory, slots: int, demands: list[Demand]
) -> None:
    queue = [(str(n), d) for n, d in enumerate(demands) if possible(machine, d) and not d.gpus]
    taken = [a.uid for a in choose(machine, slots, [], queue)]
    assert taken == [uid for uid, _demand in queue][: len(taken)]
    assert all(int(a) < int(b) for a, b in pairwise(taken))
