"""Messages of the API that travel as plain JSON here: what is in them, for the descriptions.

A text names another message, one in a list names what a list holds; types are as in resources.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlengine.core.resources import Int64

__all__ = ["HELD", "MESSAGES"]

_Text = dict[str, str]
_AnyObject = dict[str, Any]

MESSAGES: Mapping[str, Mapping[str, Any]] = {
    "HyperparameterOutput": {
        "trialId": str,
        "hyperparameters": _Text,
        "finalMetric": "HyperparameterMetric",
        "allMetrics": ["HyperparameterMetric"],
        "isTrialStoppedEarly": bool,
        "builtInAlgorithmOutput": "BuiltInAlgorithmOutput",
        "state": str,
        "startTime": str,
        "endTime": str,
        "webAccessUris": _Text,
        "errorMessage": str,
    },
    "HyperparameterMetric": {"trainingStep": Int64, "objectiveValue": float},
    "BuiltInAlgorithmOutput": dict.fromkeys(
        ("framework", "runtimeVersion", "pythonVersion", "modelPath"), str
    ),
    "ScalingMetric": {"name": str, "target": int},
    "ExplanationConfig": {
        f"{method}Attribution": f"{method[0].upper()}{method[1:]}Attribution"
        for method in ("integratedGradients", "sampledShapley", "xrai")
    },
    "IntegratedGradientsAttribution": {"numIntegralSteps": int},
    "SampledShapleyAttribution": {"numPaths": int},
    "XraiAttribution": {"numIntegralSteps": int},
    "Status": {"code": int, "message": str, "details": list[_AnyObject]},
    "Capability": {"type": str, "availableAccelerators": list[str]},
    "Config": {"tpuServiceAccount": str},
}

HELD: Mapping[tuple[str, str], Any] = {
    ("TrainingInput", "hyperparameters"): "HyperparameterSpec",
    ("TrainingOutput", "trials"): ["HyperparameterOutput"],
    ("TrainingOutput", "builtInAlgorithmOutput"): "BuiltInAlgorithmOutput",
    ("AutoScaling", "metrics"): ["ScalingMetric"],
    ("Version", "explanationConfig"): "ExplanationConfig",
    ("Operation", "error"): "Status",
    ("Location", "capabilities"): ["Capability"],
    ("GetConfigResponse", "config"): "Config",
}
"""Of a resource's field that holds such messages: which."""
