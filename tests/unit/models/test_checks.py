from __future__ import annotations

import pytest

from mlengine.core.errors import InvalidArgument
from mlengine.core.resources import Version
from mlengine.models.checks import check_version


@pytest.mark.parametrize(("field", "most"), [
    ("max_batch_size", 1 << 20), ("batch_deadline_ms", 10_000),
])  # fmt: skip
def test_what_a_version_says_of_batches_has_bounds(field: str, most: int) -> None:
    for value in (0, 1, most):
        check_version(Version(name="v", deployment_uri="gs://b/m", **{field: value}))
    for value in (-1, most + 1):
        with pytest.raises(InvalidArgument, match=str(value)) as refused:
            check_version(Version(name="v", deployment_uri="gs://b/m", **{field: value}))
        assert refused.value.field == f"version.{field}"
