"""What the tests of single technologies share."""

from __future__ import annotations

from tests.live.postgres import postgres

__all__ = ["postgres"]
