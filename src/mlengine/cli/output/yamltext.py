"""YAML as gcloud writes it: keys in alphabetical order, look-alike strings quoted."""

from __future__ import annotations

import re
from typing import Any

import yaml

__all__ = ["to_yaml"]

# PyYAML writes these raw: they are legal YAML, but they turn a terminal's text around.
_TURNING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
# These PyYAML would write as themselves, or read back as line breaks.
_NEEDS_QUOTES = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]"
)


class _Dumper(yaml.SafeDumper):
    """No anchors: two equal lists are written twice."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    tag = "tag:yaml.org,2002:str"
    if _NEEDS_QUOTES.search(value):
        return dumper.represent_scalar(tag, value, style='"')
    # A block keeps a traceback readable. One with control characters or with spaces at the end of
    # a line cannot be a block; PyYAML then falls back to double quotes by itself.
    return dumper.represent_scalar(tag, value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def to_yaml(value: Any) -> str:
    """Write one document, without its ``---``.

    Example:
        >>> to_yaml({"state": "QUEUED", "jobId": "a", "endTime": "2019-03-27T18:01:46"})
        "endTime: '2019-03-27T18:01:46'\\njobId: a\\nstate: QUEUED\\n"
    """
    text: str = yaml.dump(
        value,
        Dumper=_Dumper,
        default_flow_style=False,
        allow_unicode=True,
        sort_keys=True,
        width=1 << 30,
    )
    text = text.removesuffix("...\n")
    return _TURNING.sub(lambda found: f"\\u{ord(found.group()):04x}", text)
