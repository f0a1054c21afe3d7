"""Reading ``--config``: one YAML or JSON mapping, from a file or stdin."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import yaml

from mlengine.cli.errors import CommandError

__all__ = ["MAX_BYTES", "read_config"]

T = TypeVar("T")
MAX_BYTES = 1 << 20
_MAX_VALUES = 100_000
_SHOWN = 100  # characters of a value that is none
# Below these keys stands text, though it may look like a number.
_TEXTS = ("args", "categoricalvalues", "categoricalvaluespec", "labels",
          "parentcategoricalvalues", "pythonversion", "runtimeversion")  # fmt: skip
_EXPONENT = re.compile(r"[-+]?([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9][0-9_]*)[eE][-+]?[0-9]+$", re.ASCII)


class _Number(float):
    """A number that remembers its spelling, so that ``runtimeVersion: 1.10`` stays 1.10."""

    text: str


class _Integer(int):
    """The same: ``args: [--zip, 010]`` is not 8."""

    text: str


class _Truth(NamedTuple):
    """The same: ``categoricalValues: [yes, no]`` are two words."""

    value: bool
    text: str

    def __str__(self) -> str:
        return self.text  # as a key: `on` is not True


class _Loader(yaml.SafeLoader):
    """Safe, refuses a key that is there twice, and leaves dates and versions as they are."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [str(self.construct_object(key, deep=True)) for key, _value in node.value]
        for key in keys:
            if keys.count(key) > 1 and key != "<<":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key}' is there twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


def _float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return _number(node.value, _constructed(loader.construct_yaml_float, node))


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return _whole(node.value, _constructed(loader.construct_yaml_int, node))


def _bool(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> _Truth:
    return _Truth(_constructed(loader.construct_yaml_bool, node), str(node.value))


def _constructed(construct: Callable[[yaml.ScalarNode], T], node: yaml.ScalarNode) -> T:
    """Read what a tag says a text is: PyYAML takes for granted that it looks like one."""
    try:
        return construct(node)
    except (IndexError, KeyError):
        kind = node.tag.rpartition(":")[2]
        raise yaml.constructor.ConstructorError(
            None, None, f"{node.value[:_SHOWN]!r} is no {kind}", node.start_mark
        ) from None


def _refused(_loader: yaml.SafeLoader, node: yaml.Node) -> None:
    kind = node.tag.rpartition(":")[2]
    problem = f"a !!{kind} is nothing that JSON has. Use text, a list or a mapping"
    raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _number(text: str, value: float | None = None) -> _Number:
    number = _Number(text if value is None else value)
    number.text = str(text)
    return number


def _whole(text: str, value: int | None = None) -> _Integer:
    number = _Integer(text if value is None else value)
    number.text = str(text)
    return number


def _text(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


_Loader.add_constructor("tag:yaml.org,2002:float", _float)
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.add_constructor("tag:yaml.org,2002:bool", _bool)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", _text)
for _kind in ("binary", "omap", "pairs", "set"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _refused)
# YAML 1.1 takes 1e-05 for text; JSON, YAML 1.2 and whoever writes it mean a number.
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+.0123456789"))


def read_config(path: str) -> dict[str, Any]:
    """Read a configuration.

    Args:
        path: A file's name; ``-`` is stdin.

    Raises:
        CommandError: It cannot be read, is too large, or is no YAML mapping.
    """
    text = _read(path)
    try:
        value = _parse(text)
        _check_size(value, path)
        value = _restore_spelling(value)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        problem = " ".join(str(error).split()) or type(error).__name__
        raise CommandError(f"The configuration file [{path}] is not YAML: {problem}") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise CommandError(
            f"The configuration file [{path}] holds no mapping. Write 'key: value' lines."
        )
    return value


def _read(path: str) -> str:
    try:
        if path == "-":
            raw = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with Path(path).open("rb") as file:
                raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise CommandError(f"Unable to read file [{path}]: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise CommandError(f"The configuration file [{path}] is larger than {MAX_BYTES} bytes.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CommandError(f"The configuration file [{path}] is not UTF-8 text.") from None


def _parse(text: str) -> Any:
    """Read JSON as JSON, for not all of it is YAML: a tab may indent it."""
    not_json = ""
    if text.lstrip().startswith("{"):
        try:
            return json.loads(
                text,
                parse_float=_number,
                parse_int=_whole,
                parse_constant=str,  # NaN is text in the API's JSON, and in YAML
                object_pairs_hook=_unique,
            )
        except ValueError as error:  # perhaps a mapping of YAML in braces
            not_json = str(error)
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  # a SafeLoader
    except yaml.YAMLError as error:
        if not_json:
            raise ValueError(f"{error} (nor JSON: {not_json})") from None
        raise


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise yaml.YAMLError(f"the key '{key}' is there twice")
        found[key] = value
    return found


def _check_size(value: Any, path: str) -> None:
    """Refuse what a few lines of aliases expand to."""
    count, left = 0, [value]
    while left:
        item = left.pop()
        count += 1
        if count > _MAX_VALUES:
            raise CommandError(f"The configuration file [{path}] holds too many values.")
        if isinstance(item, dict):
            left.extend(item.values())
        elif isinstance(item, list):
            left.extend(item)


def _restore_spelling(value: Any, *, is_text: bool = False) -> Any:
    """Give back as it was typed what is text, and everything else as a plain value."""
    if isinstance(value, dict):
        return {
            str(key): _restore_spelling(
                item, is_text=is_text or str(key).lower().replace("_", "") in _TEXTS
            )
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_restore_spelling(item, is_text=is_text) for item in value]
    if isinstance(value, _Number):
        return value.text if is_text else float(value)
    if isinstance(value, _Integer):
        return value.text if is_text else int(value)
    if isinstance(value, _Truth):
        return value.text if is_text else value.value
    if isinstance(value, bool) and is_text:
        return str(value).lower()  # of JSON, which has one way to write it
    return value
