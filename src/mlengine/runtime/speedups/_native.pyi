from collections.abc import Callable
from typing import Any

from numpy import ndarray

class Reader:
    """Reads bodies ``{"instances": [...]}`` of numbers.

    Args:
        shapes: The shape of each member of an instance; ``()`` is a number.
        names: The members' names, of instances that are objects; none: an instance is its only
            member.

    Raises:
        ValueError: A size below one, a name that JSON writes with escapes, or as many names as
            there are no shapes.
    """

    def __new__(cls, shapes: list[tuple[int, ...]], names: list[str] = ...) -> Reader: ...
    def read(self, body: bytes, /) -> bytes | None:
        """Return the doubles of all rows, those of a row in the order of the shapes; or None.

        None stands for a body that is anything else, or holds a number of 2**53 or more.
        """

class Trees:
    """Adds up the leaves that rows fall into.

    Args:
        nodes: Of each a float32 threshold, the uint32 number of its first child and the uint32
            number of its feature. The second child stands behind the first; a leaf is its own
            first child, and its threshold is NaN.
        trees: Of each the uint32 number of its root, its depth and the target of its leaves.
        leaves: Doubles, as many for each node; of a leaf, what is added to its tree's target and
            those behind it.
        width: Numbers of a row.
        targets: Sums of a row.
        less: A row goes to the first child if its number is less than the threshold; else if it is
            not more.
        single: Sums are added in single precision, and are float32; else they are doubles.

    Raises:
        ValueError: A node, a root or a target is out of bounds.
    """

    def __new__(
        cls, nodes: ndarray, trees: ndarray, leaves: ndarray, width: int, targets: int, less: bool,
        single: bool,
    ) -> Trees: ...  # fmt: skip
    def sums(self, rows: ndarray, /) -> bytearray:
        """Return the sums of each row of doubles.

        Raises:
            ValueError: The bytes are no whole rows.
            OverflowError: A number has no place in single precision.
        """

class Layers:
    """Computes a small network of rows, in single precision.

    Args:
        operations: Of each the uint32 code, place of the result, places of what it takes, how many
            numbers it takes, how many it gives, and the place of its matrix; see `layers.c`.
        weights: Float32 numbers of all matrices.
        row: Float32 places of all numbers of a row; those that are kept stand in theirs.
        width: Numbers of a row, which are put into the first places.
        first: The place of the first result.
        outputs: How many results stand there.

    Raises:
        ValueError: An operation leads out of the arrays.
    """

    def __new__(
        cls, operations: ndarray, weights: ndarray, row: ndarray, width: int, first: int,
        outputs: int,
    ) -> Layers: ...  # fmt: skip
    def run(self, rows: bytes | ndarray, /) -> bytearray:
        """Return the float32 results of each row of doubles.

        Raises:
            ValueError: The bytes are no whole rows.
        """

class Lane:
    """Callers who wait for an answer of one version, and what each of them asks.

    Args:
        read: From a body to what it asks; None: the general way has to answer it.
        begin: Called when somebody comes into the empty lane.
    """

    def __new__(cls, read: Callable[[bytes], Any], begin: Callable[[], object]) -> Lane: ...
    def __len__(self) -> int: ...
    def take(self) -> tuple[list[Any], list[Any], list[bytes], list[bytes]]:
        """Empty it: the callers, what each asks, the body that says so, and the whole request."""

class Caller:
    """A connection that takes whole requests with a known head into lanes.

    Whatever else comes goes to `received`, which the subclass has; while it waits, after it was
    told to `catch_up`, which is to empty the lane.

    Attributes:
        transport: To whom answers are written.
        known: Heads, each with the length of its body and its lane; None: none.
        deadline_s: Infinite while it waits; else of the subclass.
        is_clear: Nothing is being read and nothing is owed: a request may begin.
        is_waiting: It is in a lane.
    """

    transport: Any
    known: dict[bytes, tuple[int, Lane]] | None
    deadline_s: float
    is_clear: bool
    is_waiting: bool
    def data_received(self, data: bytes, /) -> None: ...
    def received(self, data: bytes, /) -> None: ...
    def catch_up(self) -> None: ...

def hand_out(
    callers: list[Any], answers: list[bytes | None], head: bytes, deadline_s: float,
    lines: list[bytes] = ..., /,
) -> int:  # fmt: skip
    """Write to callers who still wait an answer each, behind a head and the line of its length.

    Returns how many had one. `lines` are those of the head that are of one caller alone. Those
    whose answer is None go on waiting. What a transport raises is reported, and the others get
    theirs.
    """
