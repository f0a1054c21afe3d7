"""Points that fill a cube more evenly than random ones: Sobol's sequence, scrambled.

Directions are those of Joe & Kuo (SIAM J. Sci. Comput. 30, 2008); the scrambling is Owen's nested
one (1995), by the hash of Laine & Karras (2011) as Burley (JCGT 9, 2020) improved it. It keeps what
makes the sequence even: of the first 2^k points each of 2^k equal slices along any axis has one.

The table ends at 64 axes. Those beyond are strata of the same size in a random order, even along
each axis and not across them.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence

from mlengine.tuning.problem import Point, Problem, Tried
from mlengine.tuning.search import How, Suggestion
from mlengine.tuning.search.past import Past

__all__ = ["QuasiRandomSearch", "Sobol"]

_BITS = 32
_MASK = 2**_BITS - 1

# Of each axis from the second on: primitive polynomial, and as many first directions as its degree.
_TABLE = """
    3:1 7:1,3 11:1,3,1 13:1,1,1 19:1,1,3,3 25:1,3,5,13 37:1,1,5,5,17 41:1,1,5,5,5 47:1,1,7,11,19
    55:1,1,5,1,1 59:1,1,1,3,11 61:1,3,5,5,31 67:1,3,3,9,7,49 91:1,1,1,15,21,21 97:1,3,1,13,27,49
    103:1,1,1,15,7,5 109:1,3,1,15,13,25 115:1,1,5,5,19,61 131:1,3,7,11,23,15,103
    137:1,3,7,13,13,15,69 143:1,1,3,13,7,35,63 145:1,3,5,9,1,25,53 157:1,3,1,13,9,35,107
    167:1,3,1,5,27,61,31 171:1,1,5,11,19,41,61 185:1,3,5,3,3,13,69 191:1,1,7,13,1,19,1
    193:1,3,7,5,13,19,59 203:1,1,3,9,25,29,41 211:1,3,5,13,23,1,55 213:1,3,7,3,13,59,17
    229:1,3,1,3,5,53,69 239:1,1,5,5,23,33,13 241:1,1,7,7,1,61,123 247:1,1,7,9,13,61,49
    253:1,3,3,5,3,55,33 285:1,3,1,15,31,13,49,245 299:1,3,5,15,31,59,63,97
    301:1,3,1,11,11,11,77,249 333:1,3,1,11,27,43,71,9 351:1,1,7,15,21,11,81,45
    355:1,3,7,3,25,31,65,79 357:1,3,1,1,19,11,3,205 361:1,1,5,9,19,21,29,157
    369:1,3,7,11,1,33,89,185 391:1,3,3,3,15,9,79,71 397:1,3,7,11,15,39,119,27
    425:1,1,3,1,11,31,97,225 451:1,1,1,3,23,43,57,177 463:1,3,7,7,17,17,37,71
    487:1,3,1,5,27,63,123,213 501:1,1,3,5,11,43,53,133 529:1,3,5,5,29,17,47,173,479
    539:1,3,3,11,3,1,109,9,69 545:1,1,1,5,17,39,23,5,343 557:1,3,1,5,25,15,31,103,499
    563:1,1,1,11,11,17,63,105,183 601:1,1,5,11,9,29,97,231,363 607:1,1,5,15,19,45,41,7,383
    617:1,3,7,7,31,19,83,137,221 623:1,1,1,3,23,15,111,223,83 631:1,1,5,13,31,15,55,25,161
    637:1,1,3,13,25,47,39,87,257
"""


class Sobol:
    """A scrambled sequence in `axes` dimensions; `seed` chooses the scrambling.

    Example:
        >>> first = [Sobol(1, seed=7).point(i)[0] for i in range(4)]
        >>> sorted(int(4 * number) for number in first)
        [0, 1, 2, 3]
    """

    def __init__(self, axes: int, seed: int) -> None:
        source = random.Random(f"sobol/{seed}")
        self._seeds = [source.getrandbits(_BITS) for _ in range(axes)]

    def point(self, index: int) -> list[float]:
        """Return the point at `index`, counted from 0: numbers strictly between 0 and 1."""
        directions = _directions()
        found = []
        for axis, seed in enumerate(self._seeds):
            word = 0
            rest, bit = index & _MASK, 0
            columns = directions[axis] if axis < len(directions) else directions[0]
            if axis >= len(directions):  # an order of its own: only evenness along the axis is left
                rest = _reversed(_scrambled(_reversed(rest), seed ^ 0x5BD1E995))
            while rest:
                if rest & 1:
                    word ^= columns[bit]
                rest >>= 1
                bit += 1
            word = _reversed(_scrambled(_reversed(word), seed))
            found.append((word + 0.5) / 2.0**_BITS)
        return found


class QuasiRandomSearch:
    """The sequence's points in turn; one that is taken already is skipped."""

    def suggest(
        self, problem: Problem, history: Sequence[Tried], count: int = 1
    ) -> list[Suggestion]:
        past = Past(problem, history)
        sequence = Sobol(len(past.space), problem.seed)
        index = len(past.trials)

        def draw() -> Point:
            nonlocal index
            point = past.space.at(sequence.point(index))
            index += 1
            return point

        found: list[Suggestion] = []
        while len(found) < count and not past.exhausted:
            point = past.unused(draw)
            past.take(point)
            found.append(Suggestion(point=point, how=How.INITIAL))
        return found


@functools.cache
def _directions() -> list[list[int]]:
    """Return, of each axis in the table, what each bit of an index contributes."""
    found = [[1 << (_BITS - 1 - i) for i in range(_BITS)]]  # van der Corput's
    for entry in _TABLE.split():
        polynomial, _, first = entry.partition(":")
        numbers = [int(number) for number in first.split(",")]
        degree, terms = len(numbers), int(polynomial)
        for i in range(degree, _BITS):
            number = numbers[i - degree] ^ (numbers[i - degree] << degree)
            for k in range(1, degree):
                if terms >> (degree - k) & 1:
                    number ^= numbers[i - k] << k
            numbers.append(number)
        found.append([number << (_BITS - 1 - i) for i, number in enumerate(numbers)])
    return found


def _reversed(word: int) -> int:
    return int(f"{word:032b}"[::-1], 2)


def _scrambled(word: int, seed: int) -> int:
    """Permute so that each bit depends on those below it only."""
    word = (word + seed) & _MASK
    word ^= (word * 0x6C50B47C) & _MASK
    word ^= (word * 0xB82F1E52) & _MASK
    word ^= (word * 0xC7AFE638) & _MASK
    word ^= (word * 0x8D22F6E6) & _MASK
    return word
