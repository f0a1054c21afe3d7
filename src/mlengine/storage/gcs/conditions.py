"""What a caller makes a condition: generations, metagenerations, etags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from mlengine.core.errors import InvalidArgument
from mlengine.storage.gcs.messages import ConditionNotMet, Query

__all__ = ["Conditions", "Facts", "whole_number"]


class Facts(NamedTuple):
    """What conditions are about; a generation of 0 is an object that is not there."""

    generation: int = 0
    metageneration: int = 0

    @property
    def etag(self) -> str:
        """The object's state as one opaque word."""
        return f"{self.generation:x}-{self.metageneration:x}"


class Conditions(NamedTuple):
    """All must hold at the moment of the change. None: nothing was said."""

    generation: int | None = None
    not_generation: int | None = None
    metageneration: int | None = None
    not_metageneration: int | None = None
    etags: tuple[str, ...] = ()
    not_etags: tuple[str, ...] = ()

    @classmethod
    def of(cls, query: Query, headers: Mapping[str, str] | None = None) -> Conditions:
        """Read the conditions on the object that a request reads or changes."""
        lines = headers or {}
        return cls(
            generation=whole_number(query, "ifGenerationMatch"),
            not_generation=whole_number(query, "ifGenerationNotMatch"),
            metageneration=whole_number(query, "ifMetagenerationMatch"),
            not_metageneration=whole_number(query, "ifMetagenerationNotMatch"),
            etags=_etags(lines.get("if-match", "")),
            not_etags=_etags(lines.get("if-none-match", "")),
        )

    @classmethod
    def of_source(cls, query: Query) -> Conditions:
        """Read the conditions on the object that is copied."""
        return cls.of({k.replace("Source", ""): v for k, v in query.items() if "Source" in k})

    def fails(self, facts: Facts) -> bool:
        """Return whether the object must be another one than it is."""
        if self.etags and "*" not in self.etags and facts.etag not in self.etags:
            return True
        return (
            (self.generation is not None and self.generation != facts.generation)
            or (self.metageneration is not None and self.metageneration != facts.metageneration)
            or (bool(self.etags) and not facts.generation)
        )

    def is_unchanged(self, facts: Facts) -> bool:
        """Return whether the object is still the one that the caller knows and does not want."""
        if self.not_generation == facts.generation:
            return True
        if not facts.generation:
            return False
        known = "*" in self.not_etags or facts.etag in self.not_etags
        return known or self.not_metageneration == facts.metageneration

    def check(self, facts: Facts) -> None:
        """Raise `ConditionNotMet` unless all hold."""
        if self.fails(facts) or self.is_unchanged(facts):
            raise ConditionNotMet(
                "At least one of the pre-conditions you specified did not hold.",
                f"The object's generation is {facts.generation}, "
                f"its metageneration {facts.metageneration}.",
            )


def whole_number(values: Mapping[str, object], name: str) -> int | None:
    """Return a parameter that is a whole number, or None when it is not there."""
    value = values.get(name)
    if value is None or value == "":
        return None
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise InvalidArgument(f"{text[:40]!r} is no whole number.", field=name)
    return int(text)


def _etags(line: str) -> tuple[str, ...]:
    tags = (tag.strip().removeprefix("W/").strip('"') for tag in line.split(","))
    return tuple(tag for tag in tags if tag)
