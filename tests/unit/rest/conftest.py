"""An app over an engine of dictionaries."""

from __future__ import annotations

from typing import Any

import pytest

from mlengine.core.access import token_digest
from mlengine.rest.app import build_app
from tests.fakes.asgi import TOKEN
from tests.fakes.engine import FakeEngine


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def app(engine: FakeEngine) -> Any:
    return build_app(engine, token_digest=token_digest(TOKEN), allowed_hosts=["ml.example"])
