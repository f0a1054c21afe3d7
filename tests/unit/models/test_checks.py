from __future__ import annotations

from typing import Any

import pytest

from mlengine.core.errors import InvalidArgument
from mlengine.core.resources import Version, VersionOptions
from mlengine.models.checks import check_version


def version(**options: Any) -> Version:
    return Version(name="v", deployment_uri="gs://b/m", options=VersionOptions(**options))


@pytest.mark.parametrize(("field", "most"), [
    ("max_batch_size", 1 << 20), ("batch_deadline_ms", 10_000), ("max_predict_bytes", 1 << 30),
])  # fmt: skip
def test_what_a_version_is_asked_beyond_the_api_has_bounds(field: str, most: int) -> None:
    for value in (0, 1, most):
        check_version(version(**{field: value}))
    for value in (-1, most + 1):
        with pytest.raises(InvalidArgument, match=str(value)) as refused:
            check_version(version(**{field: value}))
        assert refused.value.field == f"version.options.{field}"


def test_versions_are_compiled_to_onnx_or_not_at_all() -> None:
    check_version(version(compile="ONNX"))
    with pytest.raises(InvalidArgument, match="not compiled to 'TENSORRT'") as refused:
        check_version(version(compile="TENSORRT"))
    assert refused.value.field == "version.options.compile"


@pytest.mark.parametrize(
    "field",
    [
        {"prediction_class": "predictor.Predictor", "package_uris": ["gs://b/p-1.tar.gz"]},
        {"explanation_config": {"integratedGradientsAttribution": {"numIntegralSteps": 5}}},
    ],
)
def test_what_needs_the_library_itself_is_not_compiled(field: dict[str, Any]) -> None:
    made = version(compile="ONNX")
    for name, value in field.items():
        setattr(made, name, value)
    with pytest.raises(InvalidArgument) as refused:
        check_version(made)
    assert refused.value.field == "version.options.compile"
