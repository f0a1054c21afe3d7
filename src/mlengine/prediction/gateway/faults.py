"""What callers are told whose prediction no worker answered: one status and one text a fault.

Whoever waits says the same: the link that predictions share, the connection of a long body, and the
call past a gateway, which knows no version's name and leaves it out.
"""

from __future__ import annotations

from mlengine.core.errors import DeadlineExceeded, Internal, InvalidArgument, Unavailable
from mlengine.prediction.gateway.hearsay import MAX_ANSWER_BYTES

__all__ = ["answer_too_long", "body_too_long", "no_worker", "too_slow", "worker_died",
           "worker_went"]  # fmt: skip


def no_worker(version: str = "", *, reason: str = "") -> Unavailable:
    """Nobody answers the door.

    Args:
        version: Full name of the version, here and below; empty where it is not known.
        reason: Why, as the system says it.
    """
    of = f" of '{version}'" if version else ""
    because = f": {reason}" if reason else ""
    return Unavailable(f"No worker{of} is up at the moment{because}.", "Try again.")


def worker_died(version: str = "") -> Unavailable:
    """The worker hung up with a prediction in its hands; it may have made it."""
    return Unavailable(
        f"{_worker(version)} died while it answered.", "It is being restarted: try again."
    )


def worker_went(version: str) -> Unavailable:
    """The worker was replaced, and a body took longer than one that goes waits."""
    return Unavailable(
        f"{_worker(version)} had to go before the body was whole and answered.", "Try again."
    )


def too_slow(version: str, timeout_s: float) -> DeadlineExceeded:
    """The worker did not answer in time."""
    who = f"'{version}'" if version else "The worker"
    return DeadlineExceeded(
        f"{who} gave no answer within {timeout_s:g} s.",
        "Send fewer instances, or raise the setting 'predict_timeout_s'.",
    )


def answer_too_long(version: str, answer_bytes: int) -> Internal:
    """The answer is longer than workers may make them; the next one would be so too."""
    return Internal(
        f"The answer of {_worker(version, 'the')} has {answer_bytes} bytes, "
        f"the limit is {MAX_ANSWER_BYTES}.",
        "Send fewer instances.",
    )


def body_too_long(
    limit_bytes: int, body_bytes: int = -1, *, is_fixed: bool = False
) -> InvalidArgument:
    """The request is longer than its version takes.

    Args:
        limit_bytes: The longest that is taken.
        body_bytes: How long it is; -1 where nobody has seen its end.
        is_fixed: Whether the limit is the gateway's own, which nobody can raise.
    """
    # First what Google says; clients know these words.
    problem = f"Request payload size exceeds the limit: {limit_bytes} bytes."
    if body_bytes >= 0:
        problem += f" This one has {body_bytes}."
    if is_fixed:
        return InvalidArgument(problem, "Send fewer instances at a time.")
    return InvalidArgument(
        problem,
        "Send fewer instances at a time, raise the setting 'max_predict_bytes', or create a "
        "version whose 'options.maxPredictBytes' is larger.",
    )


def _worker(version: str, the: str = "The") -> str:
    return f"{the} worker of '{version}'" if version else f"{the} worker"
