"""mlengine: a machine-learning engine that people run themselves.

Write a trainer package once; run it on a laptop or as a managed job; deploy what it exports as a
model version; predict online and in batch. Importing this package costs nothing: each room is
imported where it is used.
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
