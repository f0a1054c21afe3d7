"""The one exception of a model: loading it, feeding it, running it, reading its answer."""

from __future__ import annotations

import enum

__all__ = [
    "ErrorClass",
    "PredictionError",
    "input_error",
    "load_error",
    "output_error",
    "run_error",
]


class ErrorClass(enum.Enum):
    """Where a prediction failed. Number and text are those that clients of the service know."""

    LOAD = (0, "Failed to load model")
    INPUTS = (1, "Invalid inputs")
    RUN = (2, "Failed to run the provided model")
    OUTPUTS = (3, "There was a problem processing the outputs")
    USER_CODE = (4, "There was a problem processing the user code")
    ACCESS_TOKEN = (5, "Could not get an access token from the metadata server")

    @property
    def code(self) -> int:
        return self.value[0]

    @property
    def message(self) -> str:
        return self.value[1]


class PredictionError(Exception):
    """A model could not be loaded, or could not answer.

    Example:
        >>> str(PredictionError(ErrorClass.INPUTS, "instance 0 has 3 numbers, expected 4"))
        'Invalid inputs: instance 0 has 3 numbers, expected 4 (Error code: 1)'
    """

    def __init__(self, error_class: ErrorClass, detail: str) -> None:
        super().__init__(error_class, detail)
        self.error_class, self.detail = error_class, detail

    def __str__(self) -> str:
        return f"{self.error_class.message}: {self.detail} (Error code: {self.error_class.code})"


def load_error(detail: str) -> PredictionError:
    return PredictionError(ErrorClass.LOAD, detail)


def input_error(detail: str) -> PredictionError:
    return PredictionError(ErrorClass.INPUTS, detail)


def run_error(detail: str) -> PredictionError:
    return PredictionError(ErrorClass.RUN, detail)


def output_error(detail: str) -> PredictionError:
    return PredictionError(ErrorClass.OUTPUTS, detail)
