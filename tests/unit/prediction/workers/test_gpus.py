"""GPUs are each worker's own: nobody shares one, and nobody is refused while there are enough."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.errors import Unavailable
from mlengine.prediction.workers.gpus import assign, free, lack
from mlengine.prediction.workers.record import WorkerSpec


def spec(gpus: tuple[str, ...]) -> WorkerSpec:
    return WorkerSpec(
        artifact="a", framework="", socket="s", version_name="projects/p/models/m/versions/v",
        max_body_bytes=1, gpus=gpus,
    )  # fmt: skip


@given(st.integers(0, 6), st.lists(st.integers(0, 4), max_size=8))
def test_nobody_shares_one_and_nobody_is_refused_while_there_are_enough(
    there: int, asked: list[int]
) -> None:
    gpus = [f"g{number}" for number in range(there)]
    held: list[WorkerSpec] = []
    for count in asked:
        left = len(free(gpus, held))
        if count > left:
            assert f"{left} of the {there}" in lack(count, gpus, held)
            with pytest.raises(Unavailable):
                assign(count, gpus, held)
            continue
        assert not lack(count, gpus, held)
        own = assign(count, gpus, held)
        assert len(own) == count and set(own) <= set(gpus)
        held.append(spec(own))
    taken = [gpu for one in held for gpu in one.gpus]
    assert len(taken) == len(set(taken))
    assert sorted(taken + free(gpus, held)) == sorted(gpus)


def test_who_has_the_others_is_not_said() -> None:
    held = [spec(("0",)), spec(())]
    assert lack(1, ["0"], held) == "Its worker needs 1 GPU, and 0 of the 1 for versions are free."
