"""What the path of a prediction does in C, where that was built: reading bodies, walking trees,
multiplying layers, and lanes of callers who ask the same but for the body.

It is built with the package wherever there is a C compiler, for Python 3.11 and all after it. Where
it was not, all of these are None, and the modules that use them do the same in Python:
`shortcuts.reading`, `shortcuts.walks`, `compiled.networks` and `prediction.gateway.lanes`. One
suite holds both to the same answers.

What is in C knows nothing of versions, models or libraries, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlengine.runtime.speedups import _native

__all__ = ["Caller", "Lane", "Layers", "Reader", "Trees", "hand_out"]

Reader: type[_native.Reader] | None = None
Trees: type[_native.Trees] | None = None
Layers: type[_native.Layers] | None = None
Lane: type[_native.Lane] | None = None
Caller: type[_native.Caller] | None = None
hand_out: Callable[..., int] | None = None
try:
    from mlengine.runtime.speedups._native import (
        Caller,
        Lane,
        Layers,
        Reader,
        Trees,
        hand_out,
    )
except ImportError:
    pass
