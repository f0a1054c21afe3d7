"""Fields that clients in the wild hold, known to Google's service but not to its public document.

Configurations in the wild hold them, and they change nothing that this engine does: requests over
REST and a job's ``--config`` may hold them, and they are left out (`docs/api.md` names them).
"""

from __future__ import annotations

from collections.abc import Mapping

from mlengine.core.wire import camel

__all__ = ["UNDOCUMENTED", "without_undocumented"]

UNDOCUMENTED: Mapping[str, frozenset[str]] = {
    "job": frozenset({"explanationInput", "explanationOutput"}),
    "job.trainingInput": frozenset({"nasJobSpec"}),
    "job.trainingOutput": frozenset({"nasJobOutput"}),
    "job.trainingInput.scheduling": frozenset({"strategy", "resilientToWorkerRestart"}),
    "job.predictionInput": frozenset(
        {"framework", "accelerator", "workerType", "initialWorkerCount", "tagsOverride"}
    ),
    "version": frozenset({"modelClass", "imageUri"}),
}
"""What a body is of, down to the part that holds them → their names."""


def without_undocumented(value: object, at: str) -> object:
    """Return a body without those fields.

    Args:
        value: What the JSON parser gave.
        at: What it is the body of, such as ``job``.

    Example:
        >>> without_undocumented({"jobId": "j", "trainingInput": {"nasJobSpec": {}}}, "job")
        {'jobId': 'j', 'trainingInput': {}}
    """
    if not isinstance(value, Mapping):
        return value
    drop = UNDOCUMENTED.get(at, frozenset())
    below = {path.rpartition(".")[2] for path in UNDOCUMENTED if path.rpartition(".")[0] == at}
    kept: dict[str, object] = {}
    for key, item in value.items():
        name = camel(key)
        if name in drop:
            continue
        kept[key] = without_undocumented(item, f"{at}.{name}") if name in below else item
    return kept
