"""The verbs of traffic: who gets a model's predictions, what came of them, which did better."""

from __future__ import annotations

import logging
import math
import random
import threading
import uuid
from collections.abc import Callable, Sequence

import msgspec

from mlengine.core.clock import Clock, rfc3339
from mlengine.core.errors import Aborted, EngineError, FailedPrecondition, InvalidArgument
from mlengine.core.names import check_id, model_name, parse_model_or_version, version_name
from mlengine.core.traffic import AddOutcomesResponse, Comparison, ModelTraffic, Outcome
from mlengine.prediction.requestlog.ids import parse_id
from mlengine.prediction.routing import Traffic
from mlengine.prediction.tally import Batch
from mlengine.prediction.traffic.comparison import compare
from mlengine.prediction.traffic.rules import (
    WHOLE,
    check_sticky_by,
    check_weights,
    choose,
    field_reader,
    position,
    reapportion,
)
from mlengine.store import Store
from mlengine.store.trafficstore import NewOutcome, TrafficPlan, TrafficRecord

__all__ = ["Experiments", "traffic_routes"]

_log = logging.getLogger(__name__)
_MOST_OUTCOMES = 1000
_LARGEST = 1e100  # its square can still be added up


class Experiments:
    """Traffic of every model.

    Args:
        store: Where the records are.
        tally: Gets what a gateway counted; see `GatewayControl.tally`.
        clock: For times that people read.
        publish: Called after the traffic of a model changed.
    """

    def __init__(
        self,
        store: Store,
        tally: Callable[[Batch], Batch],
        *,
        clock: Clock,
        publish: Callable[[], None],
    ) -> None:
        self._store = store
        self._tally = tally
        self._clock = clock
        self._publish = publish
        self._written = Batch()
        self._collecting = threading.Lock()

    def get(self, project: str, model_id: str) -> ModelTraffic:
        """Return a model's traffic; without a split, its default version answers all."""
        return _view(self._store.traffic(project, model_id))

    def set(self, project: str, model_id: str, traffic: ModelTraffic) -> ModelTraffic:
        """Share a model's predictions out anew, from now on.

        Raises:
            InvalidArgument: The shares, the key or the shadow make no sense.
            FailedPrecondition: A version is not READY.
            Aborted: An etag was sent, and it is not the newest.
        """
        _check(traffic)
        self.collect()  # what was counted until now is of the period that ends

        def change(before: TrafficRecord) -> TrafficPlan:
            if traffic.etag and traffic.etag != before.etag:
                raise Aborted(
                    f"The etag {traffic.etag!r} is not the current one.",
                    "Read the traffic again, then retry.",
                )
            return self._plan(before, traffic)

        record = self._store.edit_traffic(project, model_id, change)
        self._publish()
        return _view(record)

    def clear(self, project: str, model_id: str) -> ModelTraffic:
        """Let the default version answer all again; what was counted can still be compared."""
        return self.set(project, model_id, ModelTraffic())

    def compare(self, project: str, model_id: str, baseline: str, candidate: str) -> Comparison:
        """Compare two versions by what the newest experiment has brought so far."""
        for version_id in (baseline, candidate):
            check_id(version_id, kind="version", field="version")
            self._store.version(project, model_id, version_id)
        if baseline == candidate:
            raise InvalidArgument(f"'{baseline}' is compared with itself.", "Name two versions.")
        self.collect()
        arms = self._store.arms(project, model_id)
        if not {arm.version_id for arm in arms} & {baseline, candidate}:
            raise FailedPrecondition(
                f"Neither '{baseline}' nor '{candidate}' has got predictions to be compared.",
                f"Share them out with 'mlengine models set-traffic {model_id} "
                f"--split {baseline}=90,{candidate}=10', or by --shadow.",
            )
        sums = self._store.outcome_sums(project, model_id)
        sticky = bool(self._store.traffic(project, model_id).plan.sticky_by)
        found = compare(baseline, candidate, arms, sums, sticky=sticky)
        return msgspec.structs.replace(found, name=model_name(project, model_id))

    def add_outcomes(
        self, project: str, model_id: str, outcomes: Sequence[Outcome]
    ) -> AddOutcomesResponse:
        """Count what became of predictions, by the ids that their answers carried."""
        if len(outcomes) > _MOST_OUTCOMES:
            raise InvalidArgument(
                f"{len(outcomes)} outcomes are too many at once.", f"At most {_MOST_OUTCOMES}.",
                field="outcomes",
            )  # fmt: skip
        new = [_outcome(outcome, f"outcomes[{i}]") for i, outcome in enumerate(outcomes)]
        found = self._store.add_outcomes(project, model_id, new)
        return AddOutcomesResponse(added=found.added, known=found.known, outdated=found.outdated)

    def choose(self, project: str, model_id: str, body: bytes) -> str:
        """Return the version that answers a prediction without a gateway; nothing is counted."""
        record = self._store.traffic(project, model_id)
        plan = record.plan
        if not plan.split:
            return record.default_version_id
        kind, _colon, name = plan.sticky_by.partition(":")
        value = field_reader(name)(body) if kind == "field" else ""
        place = position(plan.salt, value)[0] if value else random.getrandbits(32)
        return choose(plan.segments, place)

    def collect(self) -> None:
        """Write down what the gateway has counted; what it counts meanwhile comes next time."""
        with self._collecting:
            try:
                batch = self._tally(self._written)
                # An engine that died may have left one: then what is new comes after that.
                for _ in range(2):
                    if not batch.counted:
                        return
                    counts = []
                    for one in batch.counted:
                        ref = parse_model_or_version(one.model, field="model")
                        row = (ref.project, ref.model_id, one.period, one.version_id, one.counts)
                        counts.append(row)
                    self._store.add_counts(counts, gateway=batch.gateway, batch=batch.number)
                    self._written = batch
                    batch = self._tally(self._written)
            except EngineError as error:
                _log.warning("the gateway's counts wait: %s", error)

    def _plan(self, before: TrafficRecord, traffic: ModelTraffic) -> TrafficPlan:
        split = dict(traffic.split)
        for name in traffic.shadow:
            if name in split or (not split and name == before.default_version_id):
                raise InvalidArgument(
                    f"'{name}' answers predictions, so it cannot be their shadow.",
                    "Name a version that gets no part of them.",
                    field="traffic.shadow",
                )
        old = before.plan
        # What it was before is where nothing has to move from; with no split, that is the default.
        segments = old.segments or [(WHOLE, before.default_version_id)]
        plan = msgspec.structs.replace(
            old,
            split=split,
            segments=reapportion(segments, split) if split else [],
            sticky_by=traffic.sticky_by,
            shadow=list(traffic.shadow),
            salt=(old.salt if not old.idle else "") or uuid.uuid4().hex,
        )
        if plan.idle:
            return old if old.idle else TrafficPlan(update_time=rfc3339(self._clock.now()))
        if msgspec.structs.replace(plan, segments=old.segments) == old:
            return old
        return msgspec.structs.replace(plan, update_time=rfc3339(self._clock.now()))


def traffic_routes(store: Store) -> dict[str, Traffic]:
    """Return what the gateway is to know of every model's traffic."""
    found = {}
    for record in store.traffics():
        plan = record.plan

        def name(version_id: str, record: TrafficRecord = record) -> str:
            return version_name(record.project, record.model_id, version_id)

        found[model_name(record.project, record.model_id)] = Traffic(
            weights={name(version_id): parts for version_id, parts in plan.split.items()},
            segments=[(end, name(version_id)) for end, version_id in plan.segments],
            period=record.period,
            sticky_by=plan.sticky_by,
            salt=plan.salt,
            shadow=[name(version_id) for version_id in plan.shadow],
        )
    return found


def _view(record: TrafficRecord) -> ModelTraffic:
    plan = record.plan
    return ModelTraffic(
        name=model_name(record.project, record.model_id),
        split=dict(plan.split),
        sticky_by=plan.sticky_by,
        shadow=list(plan.shadow),
        etag=record.etag,
        update_time=plan.update_time,
        period=record.period,
    )


def _check(traffic: ModelTraffic) -> None:
    check_weights(traffic.split, field="traffic.split")
    if traffic.sticky_by:
        check_sticky_by(traffic.sticky_by, field="traffic.sticky_by")
        if not traffic.split:
            raise InvalidArgument(
                "Without a split there is nothing to stick to.", "Send a split as well.",
                field="traffic.sticky_by",
            )  # fmt: skip
    if len(traffic.shadow) != len(set(traffic.shadow)) or len(traffic.shadow) > 1:
        raise InvalidArgument(
            f"{len(traffic.shadow)} shadows are too many.", "A model has at most one.",
            field="traffic.shadow",
        )  # fmt: skip
    for version_id in (*traffic.split, *traffic.shadow):
        check_id(version_id, kind="version", field="traffic")


def _outcome(outcome: Outcome, at: str) -> NewOutcome:
    """Read whom an outcome is of off its prediction's id."""
    named = parse_id(outcome.prediction_id)
    if named is None:
        raise InvalidArgument(
            f"{outcome.prediction_id[:120]!r} is no id of a prediction.",
            "Send what the answer's header 'x-mlengine-prediction-id' said.",
            field=f"{at}.prediction_id",
        )
    value = outcome.value
    if value is None or not math.isfinite(value) or abs(value) > _LARGEST:
        raise InvalidArgument(
            f"The outcome of '{outcome.prediction_id[:120]}' is {value}.",
            "Send a number, such as 1 for a sale and 0 for none.",
            field=f"{at}.value",
        )
    return NewOutcome(
        prediction_id=outcome.prediction_id,
        period=named.period,
        version_id=named.version_id,
        unit=named.unit or named.end,
        value=value,
    )
