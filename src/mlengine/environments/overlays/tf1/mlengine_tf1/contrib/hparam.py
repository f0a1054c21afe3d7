"""`HParams`: named hyperparameters with types, read from `name=value,name=[v,w]` or JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["HParams", "parse_values"]

__path__: list[str] = []

ASSIGNMENT = re.compile(
    r"\s*(?P<name>[a-zA-Z][\w.]*)(?:\[(?P<index>\d+)\])?\s*=\s*"
    r"(?:\[(?P<values>[^\]]*)\]|(?P<value>[^,\[\]]*))\s*(?:,|$)"
)
TRUTHS = {"true": True, "1": True, "false": False, "0": False}


class HParams:
    """Hyperparameters as attributes; each keeps the type of its first value.

    Example:
        >>> hparams = HParams(learning_rate=0.1, layers=[64, 32], deep=True)
        >>> hparams.parse("learning_rate=0.3,layers=[16,8],deep=false").values() == {
        ...     "learning_rate": 0.3,
        ...     "layers": [16, 8],
        ...     "deep": False,
        ... }
        True
    """

    def __init__(self, hparam_def: Any = None, model_structure: Any = None, **kwargs: Any) -> None:
        if hparam_def is not None:
            raise ValueError("HParams(hparam_def=) is not in the overlay: give names and values")
        self._hparam_types: dict[str, tuple[type, bool]] = {}
        self._model_structure = model_structure
        for name, value in kwargs.items():
            self.add_hparam(name, value)

    def add_hparam(self, name: str, value: Any) -> None:
        """Add a hyperparameter.

        Raises:
            ValueError: The name is taken, or the value is an empty list, which has no type.
        """
        if getattr(self, name, None) is not None:
            raise ValueError(f"Hyperparameter name is reserved: {name}")
        if isinstance(value, (list, tuple)):
            if not value:
                raise ValueError(f"Multi-valued hyperparameters cannot be empty: {name}")
            self._hparam_types[name] = (type(value[0]), True)
        else:
            self._hparam_types[name] = (type(value), False)
        setattr(self, name, value)

    def set_hparam(self, name: str, value: Any) -> None:
        """Give a hyperparameter another value, of its own type.

        Raises:
            KeyError: There is none of this name.
            ValueError: The value is of another type.
        """
        kind, many = self._hparam_types[name]
        if isinstance(value, (list, tuple)) != many:
            raise ValueError(f"Must {'' if many else 'not '}pass a list for parameter: {name}.")
        setattr(
            self, name, [_cast(name, kind, v) for v in value] if many else _cast(name, kind, value)
        )

    def del_hparam(self, name: str) -> None:
        """Remove a hyperparameter, if it is there."""
        if self._hparam_types.pop(name, None):
            delattr(self, name)

    def parse(self, values: str) -> HParams:
        """Override values from `name=value,...`; return itself."""
        return self.override_from_dict(parse_values(values, self._kinds()))

    def parse_json(self, values_json: str) -> HParams:
        """Override values from a JSON object; return itself."""
        return self.override_from_dict(json.loads(values_json))

    def override_from_dict(self, values_dict: Mapping[str, Any]) -> HParams:
        """Override values; return itself."""
        for name, value in values_dict.items():
            if isinstance(value, dict):  # `name[1]=v`: by index
                changed = list(getattr(self, name))
                for index, item in value.items():
                    changed[index] = item
                value = changed
            self.set_hparam(name, value)
        return self

    set_from_map = override_from_dict

    def to_json(
        self, indent: int | None = None, separators: Any = None, sort_keys: bool = False
    ) -> str:
        """Return the values as a JSON object; functions among them by name."""
        return json.dumps(
            self.values(),
            indent=indent,
            separators=separators,
            sort_keys=sort_keys,
            default=lambda value: getattr(value, "__name__", str(value)),
        )

    def values(self) -> dict[str, Any]:
        """Return all values by name."""
        return {name: getattr(self, name) for name in self._hparam_types}

    def get(self, key: str, default: Any = None) -> Any:
        """Return one value, or `default` where there is none of this name."""
        return getattr(self, key) if key in self._hparam_types else default

    def get_model_structure(self) -> Any:
        """Return what was set as the model structure."""
        return self._model_structure

    def set_model_structure(self, model_structure: Any) -> None:
        """Keep a model structure, which is not a hyperparameter."""
        self._model_structure = model_structure

    def _kinds(self) -> dict[str, type]:
        return {name: kind for name, (kind, _) in self._hparam_types.items()}

    def __contains__(self, key: str) -> bool:
        return key in self._hparam_types

    def __str__(self) -> str:
        return ",".join(f"{name}={value}" for name, value in sorted(self.values().items()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self})"


def parse_values(
    values: str, type_map: Mapping[str, type], ignore_unknown: bool = False
) -> dict[str, Any]:
    """Read `name=value,name=[v,w],name[1]=v` into values of the types given.

    Raises:
        ValueError: The text is not of that form, or names what has no type, or twice one name.
    """
    found: dict[str, Any] = {}
    at = 0
    while at < len(values):
        match = ASSIGNMENT.match(values, at)
        if match is None:
            raise ValueError(f"Malformed hyperparameter value: {values[at:]}")
        at = match.end()
        name, index = match["name"], match["index"]
        if name not in type_map:
            if ignore_unknown:
                continue
            raise ValueError(f"Unknown hyperparameter type for {name}")
        value = _read(name, type_map[name], match["values"], match["value"])
        if index is not None:
            found.setdefault(name, {})[int(index)] = value
        elif name in found:
            raise ValueError(f"Multiple assignments to variable '{name}' in {values}")
        else:
            found[name] = value
    return found


def _read(name: str, kind: type, values: str | None, value: str | None) -> Any:
    if values is None:
        return _read_one(name, kind, (value or "").strip())
    items: Iterable[str] = (item.strip() for item in values.split(","))
    return [_read_one(name, kind, item) for item in items if item]


def _read_one(name: str, kind: type, text: str) -> Any:
    try:
        if kind is bool:
            return TRUTHS[text.lower()]
        return kind(text)
    except (KeyError, ValueError):
        raise ValueError(
            f"Could not parse hparam '{name}' of type '{kind.__name__}' with value '{text}'"
        ) from None


def _cast(name: str, kind: type, value: Any) -> Any:
    """Return `value` as `kind` where nothing is lost: an int as a float, no text as a number."""
    exact = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if exact or kind is type(None):
        return value
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or kind not in (int, float) or (kind is int and not float(value).is_integer()):
        raise ValueError(f"Could not cast hparam '{name}' of type '{kind}' from value {value!r}")
    return kind(value)
