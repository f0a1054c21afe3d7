from __future__ import annotations

import itertools

import msgspec
import pytest
import sqlalchemy as sa

from mlengine.core.errors import AlreadyExists, FailedPrecondition, Internal, NotFound
from mlengine.core.resources import ManualScaling, Model, Version
from mlengine.core.states import VERSION_MOVES, VersionState
from mlengine.store import Store, VersionRecord

READY, FAILED, DELETING = VersionState.READY, VersionState.FAILED, VersionState.DELETING
CREATING, UPDATING = VersionState.CREATING, VersionState.UPDATING

PATHS = {
    CREATING: [],
    READY: [READY],
    UPDATING: [READY, UPDATING],
    FAILED: [FAILED],
    DELETING: [FAILED, DELETING],
}

_uids = itertools.count()


def add(store: Store, version_id: str, state: VersionState = CREATING) -> VersionRecord:
    uid = f"{version_id}-{next(_uids)}"
    record = store.add_version("p", "census", Version(name=version_id), uid=uid)
    for to in PATHS[state]:
        record = move(store, record, to)
    return record


def move(store: Store, record: VersionRecord, to: VersionState) -> VersionRecord:
    moved = store.move_version(record, to)
    assert moved is not None
    return moved


def default(store: Store) -> str:
    return store.model("p", "census").default_version_id


@pytest.fixture(autouse=True)
def model(store: Store) -> None:
    store.add_model("p", Model(name="census", description="who", regions=["us-central1"]))


# --- models -------------------------------------------------------------------------------------


def test_a_model_reads_back_as_it_was_written(store: Store) -> None:
    record = store.model("p", "census")
    expected = Model(name="census", description="who", regions=["us-central1"])
    assert msgspec.structs.replace(record.model, etag="") == expected
    assert record.default_version_id == ""


def test_a_model_id_is_free_again_after_removal_with_another_etag(store: Store) -> None:
    with pytest.raises(AlreadyExists, match=r"model\.name"):
        store.add_model("p", Model(name="census"))
    before = store.model("p", "census")
    store.remove_model("p", "census")
    with pytest.raises(NotFound, match="models create census"):
        store.model("p", "census")
    after = store.add_model("p", Model(name="census"))
    assert after.model.etag != before.model.etag
    assert after.seq > before.seq


def test_a_model_with_versions_is_not_removed(store: Store) -> None:
    record = add(store, "v1", FAILED)
    with pytest.raises(FailedPrecondition, match="has versions"):
        store.remove_model("p", "census")
    assert store.remove_version(move(store, record, DELETING))
    store.remove_model("p", "census")


def test_a_model_is_edited_but_not_renamed(store: Store) -> None:
    before = store.model("p", "census")
    after = store.edit_model(
        "p", "census", lambda model: msgspec.structs.replace(model, description="all of us")
    )
    assert after.model.description == "all of us"
    assert after.model.etag != before.model.etag
    assert store.edit_model("p", "census", lambda model: model) == after
    with pytest.raises(Internal):
        store.edit_model("p", "census", lambda model: msgspec.structs.replace(model, name="b"))


def test_models_and_versions_are_listed_newest_first(store: Store) -> None:
    store.add_model("p", Model(name="b"))
    store.add_model("q", Model(name="c"))
    models = store.models("p", limit=1)
    assert [record.model_id for record in models] == ["b"]
    rest = store.models("p", before_seq=models[-1].seq)
    assert [record.model_id for record in rest] == ["census"]
    for version_id in ("v1", "v2", "v3"):
        add(store, version_id)
    versions = store.versions("p", "census", limit=2)
    assert [record.version_id for record in versions] == ["v3", "v2"]
    rest_of = store.versions("p", "census", before_seq=versions[-1].seq)
    assert [record.version_id for record in rest_of] == ["v1"]


# --- versions -----------------------------------------------------------------------------------


def test_a_version_is_created_with_its_model_or_not_at_all(store: Store) -> None:
    version = Version(name="v1", manual_scaling=ManualScaling(nodes=2), labels={"a": "b"})
    record = store.add_version("p", "census", version, uid="one")
    assert record == store.version("p", "census", "v1")
    assert (record.state, record.digest, record.uid) == (CREATING, "", "one")
    bare = msgspec.structs.replace(record.version, state="", etag="", is_default=False)
    assert bare == version
    with pytest.raises(NotFound):
        store.add_version("p", "other", version, uid="two")
    with pytest.raises(AlreadyExists, match=r"version\.name"):
        add(store, "v1")
    with pytest.raises(NotFound, match="Did you mean 'v1'"):
        store.version("p", "census", "v11")


@pytest.mark.parametrize(
    ("frm", "to"), list(itertools.product(VersionState, VersionState)), ids=str
)
def test_a_version_moves_exactly_where_the_states_allow(
    store: Store, raw: sa.Engine, frm: VersionState, to: VersionState
) -> None:
    record = add(store, "v1", frm)
    lawful = to in VERSION_MOVES[frm]
    if to is not frm and not lawful:
        with pytest.raises(sa.exc.DBAPIError, match="unlawful"), raw.begin() as connection:
            connection.execute(sa.text("UPDATE versions SET state = :to"), {"to": str(to)})
    moved = store.move_version(record, to, digest="sha256:1", error_message="why")
    assert (moved is not None) == lawful
    now = store.version("p", "census", "v1")
    if moved:
        assert (now.state, now.digest, now.version.error_message) == (to, "sha256:1", "why")
    else:
        assert now == record


def test_a_stale_version_record_moves_nothing(store: Store) -> None:
    record = add(store, "v1")
    failed = move(store, record, FAILED)
    assert store.move_version(record, READY) is None
    assert store.version("p", "census", "v1") == failed
    store.remove_version(move(store, failed, DELETING))
    assert store.move_version(record, READY) is None


def test_versions_of_all_models_are_found_by_state_oldest_first(store: Store) -> None:
    store.add_model("q", Model(name="other"))
    one = add(store, "v1")
    add(store, "v2", FAILED)
    two = store.add_version("q", "other", Version(name="v1"), uid="other-v1")
    found = store.versions_in({CREATING})
    assert [(r.project, r.model_id, r.version_id) for r in found] == [
        ("p", "census", "v1"),
        ("q", "other", "v1"),
    ]
    assert [r.seq for r in found] == [one.seq, two.seq]


def test_a_version_is_edited_but_keeps_name_and_state(store: Store) -> None:
    before = add(store, "v1", READY)
    after = store.edit_version(
        "p", "census", "v1", lambda version: msgspec.structs.replace(version, description="new")
    )
    assert after.version.description == "new"
    assert after.version.etag != before.version.etag
    assert store.edit_version("p", "census", "v1", lambda version: version) == after
    with pytest.raises(Internal):
        store.edit_version(
            "p", "census", "v1", lambda version: msgspec.structs.replace(version, state="FAILED")
        )


def test_a_version_that_is_used_has_the_etag_that_it_had(store: Store) -> None:
    before = add(store, "v1", READY)
    events = len(store.events(limit=1000))
    used = {"last_use_time": "2026-01-01T00:00:00Z"}
    after = store.edit_version(
        "p", "census", "v1", lambda version: msgspec.structs.replace(version, **used)
    )
    assert after.version == msgspec.structs.replace(before.version, **used)
    assert len(store.events(limit=1000)) == events
    used = {"last_use_time": "2026-01-02T00:00:00Z", "description": "and changed"}
    after = store.edit_version(
        "p", "census", "v1", lambda version: msgspec.structs.replace(version, **used)
    )
    assert after.version.etag != before.version.etag
    assert len(store.events(limit=1000)) == events + 1


# --- the default --------------------------------------------------------------------------------


def test_the_first_version_is_the_default_before_it_is_ready(store: Store) -> None:
    assert add(store, "v1").version.is_default
    assert not add(store, "v2").version.is_default
    assert default(store) == "v1"


def test_a_version_that_becomes_ready_takes_over_from_one_that_cannot_answer(
    store: Store,
) -> None:
    add(store, "v1", FAILED)
    second = add(store, "v2")
    etag = store.model("p", "census").model.etag
    assert move(store, second, READY).version.is_default
    assert default(store) == "v2"
    assert store.model("p", "census").model.etag != etag
    add(store, "v3", READY)
    assert default(store) == "v2"


def test_the_default_stays_while_it_is_updating(store: Store) -> None:
    add(store, "v1", UPDATING)
    add(store, "v2", READY)
    assert default(store) == "v1"


def test_the_defaults_of_all_models_are_read_at_one_moment(store: Store) -> None:
    add(store, "v1")
    store.add_model("q", Model(name="empty"))
    assert store.default_versions() == {("p", "census"): "v1", ("q", "empty"): ""}


def test_the_models_with_an_access_log_are_found_among_all(store: Store) -> None:
    for project, model_id, is_logged in (("q", "loud", True), ("q", "quiet", False)):
        text = '"onlinePredictionLogging":true'  # said, but not meant
        model = Model(name=model_id, description=text, online_prediction_logging=is_logged)
        store.add_model(project, model)
    assert store.logged_models() == {("q", "loud")}
    store.edit_model(
        "q", "loud", lambda old: msgspec.structs.replace(old, online_prediction_logging=False)
    )
    assert store.logged_models() == set()


def test_only_a_ready_version_is_made_the_default(store: Store) -> None:
    add(store, "v1", READY)
    second = add(store, "v2")
    with pytest.raises(FailedPrecondition, match="is CREATING"):
        store.set_default("p", "census", "v2")
    move(store, second, READY)
    assert store.set_default("p", "census", "v2").version.is_default
    events = len(store.events())
    assert store.set_default("p", "census", "v2").version.is_default
    assert len(store.events()) == events
    assert default(store) == "v2"
    assert not store.version("p", "census", "v1").version.is_default


def test_the_default_is_removable_only_as_the_last(store: Store) -> None:
    first = add(store, "v1", READY)
    second = add(store, "v2", READY)
    with pytest.raises(FailedPrecondition, match="Make another version the default first"):
        store.move_version(first, DELETING)
    assert not store.remove_version(second)
    assert store.remove_version(move(store, second, DELETING))
    assert not store.remove_version(second)
    assert store.remove_version(move(store, first, DELETING))
    assert default(store) == ""


def test_a_version_added_while_the_default_goes_takes_its_place(store: Store) -> None:
    first = add(store, "v1", DELETING)
    assert add(store, "v2").version.is_default
    assert store.remove_version(first)
    assert default(store) == "v2"


def test_a_default_that_could_not_be_removed_is_still_kept_by_its_company(store: Store) -> None:
    first = add(store, "v1", READY)
    leaving = move(store, first, DELETING)
    back = move(store, leaving, FAILED)
    add(store, "v2")
    with pytest.raises(FailedPrecondition):
        store.move_version(back, DELETING)
    assert default(store) == "v1"


def test_the_database_itself_refuses_a_second_default(store: Store, raw: sa.Engine) -> None:
    add(store, "v1")
    add(store, "v2")
    with pytest.raises(sa.exc.IntegrityError), raw.begin() as connection:
        connection.execute(sa.text("UPDATE versions SET is_default = true"))


def test_every_write_of_models_and_versions_appends_one_event(store: Store) -> None:
    first = add(store, "v1", READY)
    second = add(store, "v2", READY)
    store.set_default("p", "census", "v2")
    store.remove_version(move(store, first, DELETING))
    store.remove_version(move(store, second, DELETING))
    store.remove_model("p", "census")
    assert [event.kind for event in store.events()] == [
        "model.created",
        "version.created",
        "version.moved",
        "version.created",
        "version.moved",
        "version.made_default",
        "version.moved",
        "version.removed",
        "version.moved",
        "version.removed",
        "model.removed",
    ]


def test_the_defaults_of_all_models_are_read_at_once(store: Store) -> None:
    store.add_model("p", Model(name="empty"))
    store.add_model("q", Model(name="census"))
    store.add_version("q", "census", Version(name="v1"), uid="u1")
    found = store.default_versions()
    assert (found["p", "empty"], found["q", "census"]) == ("", "v1")
    assert ("q", "empty") not in found
