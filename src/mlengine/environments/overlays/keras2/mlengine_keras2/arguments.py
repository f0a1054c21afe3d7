"""`lr` and `decay`, for every optimizer that is derived from Keras's base class."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

__all__ = ["complete", "with_old_arguments"]


def complete(module: ModuleType) -> None:
    """Have the base class give each optimizer that derives from it its old arguments.

    Keras 3 has a module of the same name, whose optimizers never took them: it is left alone.
    """
    base: Any = getattr(module, "Optimizer", None)
    if base is None or not hasattr(base, "_process_kwargs"):
        return
    package = module.__name__.partition(".")[0]

    def __init_subclass__(cls: Any, /, **named: Any) -> None:
        super(base, cls).__init_subclass__(**named)
        own = cls.__dict__.get("__init__")
        if own is not None and _takes_a_rate(own):
            cls.__init__ = with_old_arguments(own, lambda *how: _fading(package, *how))

    base.__init_subclass__ = classmethod(__init_subclass__)


def with_old_arguments(
    init: Callable[..., None], fading: Callable[[Any, float], Any]
) -> Callable[..., None]:
    """Return an optimizer's `__init__` that understands `lr` and `decay`.

    Args:
        init: The optimizer's own.
        fading: Makes a rate that is divided by 1 + decay x step.
    """
    usual = inspect.signature(init).parameters["learning_rate"].default

    @functools.wraps(init)
    def __init__(self: Any, *positional: Any, **named: Any) -> None:
        rate, decay = named.pop("lr", None), named.pop("decay", None)
        if rate is not None or decay:
            given = positional[0] if positional else named.get("learning_rate", usual)
            named["learning_rate"] = given if rate is None else rate
            positional = positional[1:]
        if decay:
            named["learning_rate"] = fading(named["learning_rate"], decay)
        init(self, *positional, **named)

    return __init__


def _takes_a_rate(init: Callable[..., None]) -> bool:
    """Say whether this takes `learning_rate` first, and has no `lr` of its own."""
    names = list(inspect.signature(init).parameters)
    return names[1:2] == ["learning_rate"] and "lr" not in names


def _fading(package: str, rate: Any, decay: float) -> Any:
    schedules = importlib.import_module(
        f"{package}.src.optimizers.schedules.learning_rate_schedule"
    )
    return schedules.InverseTimeDecay(rate, decay_steps=1, decay_rate=decay)
