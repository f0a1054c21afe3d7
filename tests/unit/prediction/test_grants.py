"""What the gateway is told decides as the engine's own table does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mlengine.core.keys import Key, caller_of
from mlengine.core.names import model_name
from mlengine.core.permissions import ENGINE_ROLES, PROJECT_ROLES, ROLES, Granted, may
from mlengine.prediction.grants import grant_of

_PROJECTS = st.sampled_from(["p", "q"])
_MODELS = st.sampled_from(["a", "b", "c"])
_MEMBERS = st.sampled_from(["user:a", "serviceAccount:k", "allAuthenticatedUsers"])
_KEYS = st.builds(
    Key,
    name=st.just("k"),
    member=st.sampled_from(["user:a", "serviceAccount:k"]),
    role=st.sampled_from(["", *PROJECT_ROLES, *ENGINE_ROLES]),
    models=st.lists(_MODELS, max_size=2),
)
_POLICIES = st.dictionaries(
    st.tuples(_PROJECTS, _MODELS),
    st.lists(st.builds(Granted, st.sampled_from(sorted(ROLES)), st.frozensets(_MEMBERS))),
)


@given(_PROJECTS, _KEYS, _POLICIES, _PROJECTS, _MODELS)
def test_gateway_and_engine_decide_alike(
    own: str,
    key: Key,
    policies: dict[tuple[str, str], list[Granted]],
    project: str,
    model: str,
) -> None:
    grant = grant_of(own, key, policies)
    assert grant.covers(model_name(project, model)) == may(
        caller_of(own, key),
        "ml.models.predict",
        project=project,
        model=model,
        policy=policies.get((project, model), ()),
    )


def test_limits_and_name_go_along() -> None:
    key = Key(name="app", models=["m"], requests_per_second=2.5, burst=7, daily_quota=9,
              expire_time="2030-01-01T00:00:00Z")  # fmt: skip
    grant = grant_of("p", key, {})
    assert (grant.key, grant.models) == ("projects/p/keys/app", ["projects/p/models/m"])
    assert (grant.requests_per_second, grant.burst, grant.daily_quota) == (2.5, 7, 9)
    assert (grant.expires, grant.projects, grant.metrics) == (1893456000.0, [], False)


def test_who_watches_the_engine_reads_its_metrics_and_predicts_nothing() -> None:
    grant = grant_of("p", Key(name="k", role="monitor"), {})
    assert grant.metrics and not grant.projects and not grant.models
