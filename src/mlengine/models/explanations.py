"""What a version's ``explanationConfig`` says: one method, and how thorough it is.

    sampledShapleyAttribution{numPaths}              any model
    integratedGradientsAttribution{numIntegralSteps} TensorFlow and Keras
    xraiAttribution{numIntegralSteps}                refused: there are no explanations by region

Google refused it on machine types that it called legacy; here a machine type says how many cores a
worker may use, and any of them may explain.
"""

from __future__ import annotations

from typing import Any

from mlengine.core.errors import InvalidArgument, did_you_mean
from mlengine.core.resources import Version
from mlengine.core.wire import camel

__all__ = ["DEFAULT_STEPS", "check_explanation", "explanation_of"]

DEFAULT_STEPS = 50
_MAX_STEPS = 1000
_FIELD = "version.explanation_config"
_METHODS = {
    "sampledShapleyAttribution": ("sampled-shapley", "numPaths"),
    "integratedGradientsAttribution": ("integrated-gradients", "numIntegralSteps"),
}
_NO_GRADIENTS = ("SCIKIT_LEARN", "XGBOOST", "ONNX")


def check_explanation(version: Version) -> None:
    """Refuse an explanationConfig that cannot be honoured; write the others in camelCase.

    Raises:
        InvalidArgument: It names no method, several, an unknown or impossible one, or a bad number.
    """
    if version.explanation_config is not None:
        named = _in_camel(version.explanation_config)
        version.explanation_config = {key: _in_camel(value) for key, value in named.items()}
    method = explanation_of(version).get("method")
    if method != "integrated-gradients":
        return
    if version.framework in _NO_GRADIENTS or version.prediction_class:
        what = version.framework or "a custom prediction routine"
        raise InvalidArgument(
            f"Integrated gradients need a TensorFlow or Keras model; this version is {what}.",
            "Use sampledShapleyAttribution, which explains any model.",
            field=f"{_FIELD}.integrated_gradients_attribution",
        )


def explanation_of(version: Version) -> dict[str, Any]:
    """Return the method and its steps as a worker is told them; empty: there are no explanations.

    Raises:
        InvalidArgument: See `check_explanation`.

    Example:
        >>> explanation_of(Version(explanation_config={"sampledShapleyAttribution": {}}))
        {'method': 'sampled-shapley', 'steps': 50}
    """
    config = version.explanation_config
    if config is None:
        return {}
    if "xraiAttribution" in config:
        raise InvalidArgument(
            "XRAI attributions are not supported.",
            "Use integratedGradientsAttribution, which gives a value for each pixel.",
            field=f"{_FIELD}.xrai_attribution",
        )
    if unknown := sorted(set(config) - set(_METHODS)):
        raise InvalidArgument(
            f"The explanation method '{unknown[0]}' is unknown.",
            f"{did_you_mean(unknown[0], _METHODS)}Use one of {', '.join(_METHODS)}.",
            field=_FIELD,
        )
    if len(config) != 1:
        raise InvalidArgument(
            f"explanationConfig names {len(config)} methods.",
            f"Name one: {' or '.join(_METHODS)}.",
            field=_FIELD,
        )
    ((name, settings),) = config.items()
    method, setting = _METHODS[name]
    return {"method": method, "steps": _steps(settings, name, setting)}


def _in_camel(value: Any) -> Any:
    """Return an object with its own keys in camelCase; of two spellings that one counts."""
    if not isinstance(value, dict):
        return value
    return {camel(key): value.get(camel(key), one) for key, one in value.items()}


def _steps(settings: Any, name: str, setting: str) -> int:
    if not isinstance(settings, dict) or set(settings) - {setting}:
        raise InvalidArgument(
            f"{name} has one setting, {setting}.", f"Write {{{setting}: {DEFAULT_STEPS}}}.",
            field=f"{_FIELD}.{name}",
        )  # fmt: skip
    value = settings.get(setting, 0)
    if isinstance(value, str) and value.isdecimal() and len(value) < 9:
        value = int(value)  # JSON may write an integer as a text
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_STEPS:
        raise InvalidArgument(
            f"{value!r} is no {setting}.",
            f"Choose 1 to {_MAX_STEPS}, or leave it out for {DEFAULT_STEPS}.",
            field=f"{_FIELD}.{name}.{setting}",
        )
    return value or DEFAULT_STEPS
