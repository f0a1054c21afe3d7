"""Which worker has which of the GPUs that are for versions: each has its own, or none.

Pure. What a worker has stands in its `WorkerSpec`, so it is known after a restart of the engine;
no job ever has one of these, see `share_out`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mlengine.core.errors import Unavailable
from mlengine.prediction.workers.record import WorkerSpec

__all__ = ["REMEDY", "assign", "free", "lack"]

REMEDY = (
    "Delete a version that has some, lower its number of nodes, or name more GPUs in the setting "
    "serving_gpus."
)


def free(gpus: Iterable[str], held: Iterable[WorkerSpec]) -> list[str]:
    """Return the ids of the GPUs that none of these workers has."""
    taken = {gpu for spec in held for gpu in spec.gpus}
    return [gpu for gpu in gpus if gpu not in taken]


def lack(count: int, gpus: Sequence[str], held: Sequence[WorkerSpec]) -> str:
    """Say why there are not so many for one more worker; empty: there are.

    Who has the others is not said: they may be another project's versions.

    Args:
        count: How many it needs.
        gpus: The ids of all that are for versions.
        held: What the others serve.

    Example:
        >>> lack(2, ["0"], [])
        'Its worker needs 2 GPUs, and 1 of the 1 for versions is free.'
    """
    left = len(free(gpus, held))
    if left >= count:
        return ""
    return (
        f"Its worker needs {count} GPU{'s' * (count > 1)}, and {left} of the {len(gpus)} for "
        f"versions {'is' if left == 1 else 'are'} free."
    )


def assign(count: int, gpus: Sequence[str], held: Sequence[WorkerSpec]) -> tuple[str, ...]:
    """Return the ids of the GPUs of one more worker; for the rest see `lack`.

    Raises:
        Unavailable: Too few are free.

    Example:
        >>> assign(2, ["0", "1", "3"], [])
        ('0', '1')
    """
    if problem := lack(count, gpus, held):
        raise Unavailable(problem, REMEDY)
    return tuple(free(gpus, held)[:count])
