"""The gateway's share of traffic: which version a prediction goes to, and what came of it, counted.

A prediction of a model that has a split passes through a `Drawn`, which stands between it and the
worker: it notes when the answer came, counts, and offers a copy to the shadow. One of any other
model costs a look-up and passes by all of this. An explanation goes to a version that is drawn for
it, and that is all: it takes hundreds of times as long, and nobody's choice depends on it. So does
a question for a model's signature, which is no prediction either.
"""

from __future__ import annotations

import bisect
import random
import time
from collections.abc import Callable
from typing import Protocol

from mlengine.core.errors import EngineError
from mlengine.core.names import last_id
from mlengine.prediction.gateway.shadow import Shadow
from mlengine.prediction.gateway.workers import Prediction
from mlengine.prediction.requestlog.ids import PredictionIds
from mlengine.prediction.routing import PredictTarget, Snapshot, Traffic
from mlengine.prediction.tally import Counter, Tally
from mlengine.prediction.traffic.compare import bucket
from mlengine.prediction.traffic.rules import field_reader, position, reapportion
from mlengine.runtime.frames import PING, PREDICT

__all__ = ["Group", "Split", "Splits"]

_MOST_UNITS = 1 << 16


class Asked(Prediction, Protocol):
    """A prediction that names a model and no version."""

    version: str
    prediction_id: str
    headers: list[tuple[bytes, bytes]]

    @property
    def is_prediction(self) -> bool: ...


class Group(Protocol):
    """The workers of a version."""

    @property
    def version(self) -> str: ...
    def submit(self, prediction: Prediction) -> None: ...


Link = Callable[[PredictTarget], Group]


class Splits:
    """The splits of all models, by the newest snapshot.

    Args:
        link: Finds the workers of a version.
        now_s: A clock that tells microseconds, as most answers take less than a millisecond.
        ids: Names the predictions that are drawn.
    """

    def __init__(
        self, link: Link, now_s: Callable[[], float], ids: PredictionIds | None = None
    ) -> None:
        self.tally = Tally()
        self._ids = ids or PredictionIds(time.time())
        self._link = link
        self._now_s = now_s
        self._found: dict[PredictTarget, Split] = {}

    def replace(self, snapshot: Snapshot) -> None:
        """Share out by this snapshot from now on; a split that did not change goes on counting."""
        found: dict[PredictTarget, Split] = {}
        for model, traffic in snapshot.traffic.items():
            target, default = PredictTarget(model, ""), snapshot.models.get(model, "")
            old = self._found.get(target)
            if old is not None and (old.traffic, old.default) == (traffic, default):
                found[target] = old
            elif traffic.weights or default:
                found[target] = Split(
                    model, traffic, default, self._link, self.tally, self._now_s, self._ids
                )
        self._found = found

    def find(self, target: PredictTarget) -> Split | None:
        """Return the split that shares out the predictions of a target, if there is one."""
        return self._found.get(target)


class _Arm:
    __slots__ = ("counter", "target", "version_id")

    def __init__(self, model: str, version: str, traffic: Traffic, tally: Tally) -> None:
        self.target = PredictTarget(model, version)
        self.version_id = last_id(version)
        self.counter: Counter = tally.counter(model, traffic.period, self.version_id)


class Split:
    """How one model's predictions are shared out in one period."""

    def __init__(
        self, model: str, traffic: Traffic, default: str, link: Link, tally: Tally,
        now_s: Callable[[], float], ids: PredictionIds,
    ) -> None:  # fmt: skip
        self.traffic, self.default = traffic, default
        self._link, self._now_s = link, now_s
        weights = traffic.weights or {default: 1}
        segments = traffic.segments or reapportion([], weights)
        arms = {name: _Arm(model, name, traffic, tally) for name in weights}
        self._ends = [end for end, _version in segments]
        self._arms = [arms[version] for _end, version in segments]
        self._value = _value_reader(traffic.sticky_by)
        self._seen: set[int] = set()
        self._shadows = [
            Shadow(PredictTarget(model, name), link, now_s,
                   tally.counter(model, traffic.period, last_id(name)))
            for name in traffic.shadow
        ]  # fmt: skip
        self._ids = ids if traffic.weights else None

    def send(self, asked: Asked) -> None:
        """Draw a version for a prediction and give it to that one's workers.

        Raises:
            EngineError: They cannot be asked.
        """
        value = self._value(asked) if self._value is not None else ""
        if value:
            place, unit = position(self.traffic.salt, value)
        else:
            place, unit = random.getrandbits(32), -1
        arm = self._arms[bisect.bisect_right(self._ends, place)]
        if self._ids is not None and asked.is_prediction:
            asked.prediction_id = self._ids.drawn(
                arm.version_id, period=self.traffic.period, unit=f"{unit:x}" if unit >= 0 else ""
            )
        now_s = self._now_s()
        try:
            group = self._link(arm.target)
        except EngineError:
            if asked.is_prediction:
                self.count(arm, unit, now_s, is_error=True)
            raise
        asked.version = group.version
        # A ping only asks for the way of a body that comes later, past all of this.
        is_counted = asked.is_prediction and asked.kind != PING
        group.submit(Drawn(asked, self, arm, unit, now_s) if is_counted else asked)

    def count(self, arm: _Arm, unit: int, begun_s: float, *, is_error: bool) -> None:
        """Note how a prediction ended."""
        counts = arm.counter.counts
        counts.requests += 1
        index = bucket(self._now_s() - begun_s)
        counts.times[index] = counts.times.get(index, 0) + 1
        if is_error:
            counts.errors += 1
        if self._value is None:
            counts.units += 1
        elif unit >= 0 and unit not in self._seen and len(self._seen) < _MOST_UNITS:
            # The first so many values are as good a sample of the shares as all of them.
            self._seen.add(unit)
            counts.units += 1

    def copy(self, arm: _Arm, body: bytes, payload: bytes) -> None:
        """Offer what was answered to the shadows."""
        for shadow in self._shadows:
            shadow.offer(arm.version_id, body, payload)

    @property
    def has_shadows(self) -> bool:
        """Whether any version gets copies."""
        return bool(self._shadows)


class Drawn:
    """A prediction on its way to the version that was drawn for it: a `Prediction`, as it is."""

    __slots__ = ("_arm", "_asked", "_begun_s", "_split", "_unit", "kind")

    follows_default = True

    def __init__(self, asked: Asked, split: Split, arm: _Arm, unit: int, begun_s: float) -> None:
        self._asked, self._split, self._arm = asked, split, arm
        self._unit, self._begun_s = unit, begun_s
        self.kind = asked.kind

    @property
    def body(self) -> bytes:
        return self._asked.body

    @body.setter
    def body(self, body: bytes) -> None:
        self._asked.body = body

    @property
    def gone(self) -> bool:
        return self._asked.gone

    @gone.setter
    def gone(self, gone: bool) -> None:
        self._asked.gone = gone

    def answered(self, status: int, payload: bytes) -> None:
        """Pass the answer on; everything else comes after that."""
        asked, split = self._asked, self._split
        body = asked.body if split.has_shadows else b""
        asked.answered(status, payload)
        split.count(self._arm, self._unit, self._begun_s, is_error=status != 200)
        if body and status == 200 and self.kind == PREDICT:
            split.copy(self._arm, body, payload)

    def failed(self, error: EngineError) -> None:
        """Pass on that there is no answer."""
        self._asked.failed(error)
        self._split.count(self._arm, self._unit, self._begun_s, is_error=True)

    def unsent(self) -> None:
        """Have it drawn anew: its version may be gone."""
        self._asked.unsent()


def _value_reader(sticky_by: str) -> Callable[[Asked], str] | None:
    if not sticky_by:
        return None
    kind, _colon, name = sticky_by.partition(":")
    if kind == "field":
        read = field_reader(name)
        return lambda asked: read(asked.body)
    wanted = name.lower().encode()

    def of_header(asked: Asked) -> str:
        for header, value in asked.headers:
            if header == wanted:
                return value.decode("latin-1").strip()
        return ""

    return of_header
