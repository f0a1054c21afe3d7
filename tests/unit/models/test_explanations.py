"""explanationConfig: one method and a number, or a refusal that names what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.errors import InvalidArgument
from mlengine.core.resources import Version
from mlengine.models.explanations import check_explanation, explanation_of

SHAPLEY, GRADIENTS = "sampledShapleyAttribution", "integratedGradientsAttribution"


@pytest.mark.parametrize(("config", "told"), [
    (None, {}), ({SHAPLEY: {}}, {"method": "sampled-shapley", "steps": 50}),
    ({SHAPLEY: {"numPaths": 7}}, {"method": "sampled-shapley", "steps": 7}),
    ({SHAPLEY: {"numPaths": "8"}}, {"method": "sampled-shapley", "steps": 8}),
    ({"sampled_shapley_attribution": {"num_paths": 9}}, {"method": "sampled-shapley", "steps": 9}),
    ({GRADIENTS: {"numIntegralSteps": 1000}}, {"method": "integrated-gradients", "steps": 1000}),
])  # fmt: skip
def test_a_worker_is_told_the_method_and_its_steps(config: Any, told: Any) -> None:
    version = Version(name="v", explanation_config=config, framework="KERAS")
    check_explanation(version)
    assert explanation_of(version) == told


@pytest.mark.parametrize(("config", "problem"), [
    ({}, "names 0 methods"), ({SHAPLEY: {}, GRADIENTS: {}}, "names 2 methods"),
    ({"xraiAttribution": {"numIntegralSteps": 5}}, "XRAI.*integratedGradientsAttribution"),
    ({"xrai_attribution": {}}, "XRAI"), ({SHAPLEY: {"num_path": 5}}, "one setting, numPaths"),
    ({"sampledShapley": {}}, "'sampledShapley' is unknown.*Did you mean"),
    ({SHAPLEY: {"numIntegralSteps": 5}}, "one setting, numPaths"), ({SHAPLEY: 5}, "one setting"),
    *[({SHAPLEY: {"numPaths": bad}}, "is no numPaths") for bad in (-1, 1001, 2.5, True, "x", None)],
])  # fmt: skip
def test_what_cannot_be_honoured_is_refused_by_name(config: Any, problem: str) -> None:
    with pytest.raises(InvalidArgument, match=problem) as caught:
        check_explanation(Version(name="v", explanation_config=config))
    assert caught.value.field.startswith("version.explanation_config")


def test_it_is_kept_and_shown_in_camel_case() -> None:
    config = {"sampled_shapley_attribution": {"numPaths": 7, "num_paths": 8}}
    version = Version(name="v", explanation_config=config)
    check_explanation(version)
    assert version.explanation_config == {SHAPLEY: {"numPaths": 7}}


@pytest.mark.parametrize("fields", [{"framework": "XGBOOST"}, {"prediction_class": "a.B"}])
def test_gradients_are_for_tensorflow(fields: Any) -> None:
    with pytest.raises(InvalidArgument, match="Use sampledShapleyAttribution"):
        check_explanation(Version(name="v", explanation_config={GRADIENTS: {}}, **fields))
    check_explanation(Version(name="v", explanation_config={SHAPLEY: {}}, **fields))


@given(st.dictionaries(
    st.sampled_from([SHAPLEY, GRADIENTS]) | st.text(),
    st.none() | st.integers() | st.dictionaries(st.sampled_from(["numPaths", "x"]),
                                                st.integers() | st.text() | st.none()),
))  # fmt: skip
def test_any_object_is_honoured_or_refused(config: Any) -> None:
    try:
        steps = explanation_of(Version(explanation_config=config))["steps"]
    except InvalidArgument:
        return
    assert 1 <= steps <= 1000
