"""GPUs are each worker's own: nobody shares one, and nobody is refused while there are enough."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.errors import Unavailable
from mlengine.prediction.workers.gpus import assign, free, lack
from mlengine.prediction.workers.record import WorkerSpec


def spec(gpus: tuple[str, ...], name: str = "projects/p/models/m/versions/v") -> WorkerSpec:
    return WorkerSpec(
        artifact="a", framework="", socket="s", version_name=name, max_body_bytes=1, gpus=gpus
    )


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


def test_who_has_the_others_is_said_once() -> None:
    held = [spec(("0",), "b"), spec(("1",), "a"), spec(("2",), "b"), spec((), "c")]
    assert lack(1, ["0", "1", "2"], held) == (
        "Its worker needs 1 GPU, and 0 of the 3 for versions are free; who has some: a, b."
    )
