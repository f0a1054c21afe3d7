from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live.objectstores import (
    environment,
    fake_gcs,
    gcs_environment,
    moto_s3,
    s3_environment,
)

BUCKET = "conformance"


# Not for the session: these variables are no other test's.
@pytest.fixture(scope="module", autouse=True)
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Other hands' servers of both kinds, reached by the variables that their own tools read."""
    with fake_gcs(tmp_path_factory.mktemp("gcs"), BUCKET) as gcs, moto_s3(BUCKET) as s3:
        with environment({**gcs_environment(gcs), **s3_environment(s3)}):
            yield {"gcs": gcs, "s3": s3}
