"""What the gateway is told of keys: each as what its bearer may predict, by the one table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mlengine.core.keys import Key, caller_of, expires_s
from mlengine.core.names import model_name
from mlengine.core.permissions import Granted, may
from mlengine.core.policies import granted
from mlengine.prediction.routing import Grant
from mlengine.store import Store

__all__ = ["grant_of", "grants_of"]

_PREDICT = "ml.models.predict"
_METRICS = "mlengine.metrics.get"


def grants_of(store: Store) -> dict[str, Grant]:
    """Return the grant of every key that was not revoked, by the key's digest."""
    bindings = {name: granted(policy) for name, policy in store.model_policies().items()}
    return {
        record.digest: grant_of(record.project, record.key, bindings)
        for record in store.open_keys()
    }


def grant_of(
    project: str, key: Key, policies: Mapping[tuple[str, str], Iterable[Granted]]
) -> Grant:
    """Write down what a key may predict.

    Args:
        project: The key's.
        key: A key that counts; its `name` is the bare id.
        policies: Project and id of each model that has a policy → its bindings.
    """
    caller = caller_of(project, key)
    whole = may(caller, _PREDICT, project=project)
    models = set() if whole else {model_name(project, model_id) for model_id in key.models}
    for (its_project, model_id), bindings in policies.items():
        if not (whole and its_project == project) and may(
            caller, _PREDICT, project=its_project, model=model_id, policy=bindings
        ):
            models.add(model_name(its_project, model_id))
    return Grant(
        key=caller.key,
        projects=[project] if whole else [],
        models=sorted(models),
        metrics=may(caller, _METRICS, project=""),
        requests_per_second=key.requests_per_second,
        burst=key.burst,
        daily_quota=key.daily_quota,
        expires=expires_s(key),
    )
