"""One request on its way to an engine verb, already parsed; and what may come back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from mlengine.core.batches import Part
from mlengine.core.errors import InvalidArgument
from mlengine.core.resources import Resource
from mlengine.core.undocumented import without_undocumented
from mlengine.core.wire import decode, encode
from mlengine.engine import Engine, Page, PredictReply

__all__ = [
    "Answer",
    "Answered",
    "Call",
    "Document",
    "Download",
    "Handler",
    "Upload",
    "bare_id",
    "page_answer",
]

R = TypeVar("R", bound=Resource)

Answered = tuple[int, dict[str, str], bytes]
"""The answer to a part of a batch: status, headers and body."""


class Call(NamedTuple):
    """A request, as a handler sees it.

    Attributes:
        engine: Whose verb is called.
        ids: The path's parts by name: ``project``, ``job``, ….
        query: The query's parameters that the route declares; those not given are absent.
        body: The parsed JSON body; ``{}`` when there is none.
        raw: The body as it came.
        base_url: How the caller reaches this engine: ``http://127.0.0.1:8080/``.
        content_type: What the body is declared as.
        ask: Answers a part of a batch; for who is called in a thread.
    """

    engine: Engine
    ids: Mapping[str, str]
    query: Mapping[str, str]
    body: object
    raw: bytes
    base_url: str = ""
    content_type: str = ""
    ask: Callable[[Part], Answered] | None = None

    @property
    def project(self) -> str:
        """The project's id."""
        return self.ids["project"]

    def decode(self, cls: type[R], *, at: str) -> R:
        """Read the body as a resource, without what only the engine may set."""
        return decode(cls, without_undocumented(self.body, at), at=at, own_fields_only=True)

    def paging(self) -> dict[str, Any]:
        """The arguments that every paged verb with a filter takes."""
        return {"filter": self.query.get("filter", ""), **self.page()}

    def page(self) -> dict[str, Any]:
        """The arguments that every paged verb takes."""
        return {
            "page_size": self.integer("pageSize"),
            "page_token": self.query.get("pageToken", ""),
        }

    def integer(self, key: str) -> int:
        """Read an int32 of the query; 0 when it is not given."""
        text = self.query.get(key, "") or "0"
        digits = text.removeprefix("-")
        if digits.isascii() and digits.isdigit() and len(digits) <= 10:
            number = int(text)
            if -(2**31) <= number < 2**31:
                return number
        raise _bad_query(key, text, "an integer of 32 bits")

    def whole(self, key: str) -> int | None:
        """Read a size of the query; None when it is not given."""
        text = self.query.get(key, "")
        if not text:
            return None
        if text.isascii() and text.isdigit() and len(text) <= 18:
            return int(text)
        raise _bad_query(key, text, "a whole number, not negative")

    def boolean(self, key: str) -> bool:
        """Read a flag of the query; false when it is not given."""
        text = self.query.get(key, "") or "false"
        if text not in ("true", "false"):
            raise _bad_query(key, text, "true or false")
        return text == "true"

    def seconds(self, key: str) -> float:
        """Read seconds of the query; 0 when they are not given."""
        text = self.query.get(key, "") or "0"
        whole, _dot, fraction = text.partition(".")
        digits_only = text.isascii() and whole.isdigit() and (fraction + "0").isdigit()
        if digits_only and len(text) <= 12:
            return float(text)
        raise _bad_query(key, text, "seconds, such as 20 or 0.5")


class Document(NamedTuple):
    """An answer that is not a resource: a page or a description of the API."""

    body: bytes
    media_type: str = "application/json"
    content_security_policy: str = ""


Answer = Resource | Document | dict[str, Any] | PredictReply
Handler = Callable[[Call], Answer]
Upload = Callable[[Call, Iterable[bytes]], Answer]
Download = Callable[[Call], Iterator[bytes]]


def page_answer(key: str, page: Page[Any]) -> dict[str, Any]:
    """Write one page of a list; an empty one is exactly ``{}``."""
    answer: dict[str, Any] = {}
    if page.items:
        answer[key] = [encode(item) for item in page.items]
    if page.next_page_token:
        answer["nextPageToken"] = page.next_page_token
    return answer


def bare_id(name: str, prefix: str, *, field: str) -> str:
    """Reduce a full name to its id when it lies under `prefix`; a bare id stays as it is.

    Raises:
        InvalidArgument: It is a full name of something elsewhere.

    Example:
        >>> bare_id("projects/p/models/census", "projects/p/models/", field="model.name")
        'census'
    """
    reduced = name.removeprefix(prefix)
    if "/" in reduced:
        raise InvalidArgument(
            f"{name[:200]!r} is not under {prefix!r}.", "Send the bare id.", field=field
        )
    return reduced


def _bad_query(key: str, text: str, wanted: str) -> InvalidArgument:
    return InvalidArgument(
        f"Invalid value at '{key}' (query): {text[:60]!r}.", f"This must be {wanted}."
    )
