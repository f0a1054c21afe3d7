"""Export strategies of an experiment: exporters of `tf.estimator`, in contrib's folders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from .input_fn_utils import receiver_fn

__all__ = ["ExportStrategy", "make_best_model_export_strategy", "make_export_strategy"]

estimator = tf.compat.v1.estimator
Exporter = estimator.Exporter
NAME = "Servo"
"""The folder below `export` that contrib wrote to when it was not told."""


class ExportStrategy:
    """An exporter by contrib's name."""

    def __init__(self, name: str, export_fn: Any, strip_default_attrs: bool | None = None) -> None:
        self.name = name
        self.export_fn = export_fn

    def export(
        self,
        estimator: Any,
        export_path: str,
        checkpoint_path: str | None = None,
        eval_result: Any = None,
    ) -> Any:
        """Export now."""
        if isinstance(self.export_fn, Exporter):
            return self.export_fn.export(estimator, export_path, checkpoint_path, eval_result, True)
        return self.export_fn(estimator, export_path, checkpoint_path)

    def exporter(self) -> Any:
        """Return the exporter to give to `train_and_evaluate`."""
        if isinstance(self.export_fn, Exporter):
            return self.export_fn
        return _FinalCall(self.name, self.export_fn)


class _FinalCall(tf.compat.v1.estimator.Exporter):
    """Calls a strategy's own function once training is over."""

    def __init__(self, name: str, export_fn: Callable[..., Any]) -> None:
        self._name = name
        self._export_fn = export_fn

    @property
    def name(self) -> str:
        return self._name

    def export(
        self,
        estimator: Any,
        export_path: str,
        checkpoint_path: str,
        eval_result: Any,
        is_the_final_export: bool,
    ) -> Any:
        return (
            self._export_fn(estimator, export_path, checkpoint_path)
            if is_the_final_export
            else None
        )


def make_export_strategy(
    serving_input_fn: Callable[[], Any],
    default_output_alternative_key: str | None = None,
    assets_extra: Any = None,
    as_text: bool = False,
    exports_to_keep: int | None = 5,
    strip_default_attrs: bool | None = None,
) -> ExportStrategy:
    """Return a strategy that exports a SavedModel at each evaluation and keeps the last ones.

    Of a model with several heads all are exported, each under its name, whichever is the default.
    """
    return ExportStrategy(
        NAME,
        estimator.LatestExporter(
            NAME,
            receiver_fn(serving_input_fn),
            assets_extra=assets_extra,
            as_text=as_text,
            exports_to_keep=exports_to_keep,
        ),
    )


def make_best_model_export_strategy(
    serving_input_fn: Callable[[], Any],
    exports_to_keep: int = 1,
    model_dir: str | None = None,
    event_file_pattern: str | None = None,
    compare_fn: Any = None,
    default_output_alternative_key: str | None = None,
    strip_default_attrs: bool | None = None,
) -> ExportStrategy:
    """Return a strategy that exports when an evaluation was the best one yet."""
    options = {"compare_fn": compare_fn} if compare_fn else {}
    return ExportStrategy(
        NAME,
        estimator.BestExporter(
            NAME,
            receiver_fn(serving_input_fn),
            event_file_pattern=event_file_pattern,
            exports_to_keep=exports_to_keep,
            **options,
        ),
    )
