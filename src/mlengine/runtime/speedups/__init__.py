"""What the path of a prediction does in C, where that was built: reading bodies, walking trees.

It is built with the package wherever there is a C compiler, for Python 3.11 and all after it. Where
it was not, `Reader` and `Trees` are None, and the modules that use them do the same in Python:
`shortcuts.arrays` and `shortcuts.walks`. One suite holds both to the same answers.

What is in C takes bytes and gives bytes. It knows nothing of requests, models or libraries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlengine.runtime.speedups import _native

__all__ = ["Reader", "Trees"]

Reader: type[_native.Reader] | None = None
Trees: type[_native.Trees] | None = None
try:
    from mlengine.runtime.speedups._native import Reader, Trees
except ImportError:
    pass
