"""Predict once, without a server: what `mlengine local predict` runs.

    python -m mlengine.runtime.predict --model-dir DIR [--framework F] [--signature-name S]
                                       [--prediction-class M.C] [--package P]...

Reads ``{"instances": [...]}`` on stdin and prints the answer's JSON on stdout. Whatever the model
prints goes to stderr. The packages are installed already, here they are for messages.
Exit status: 0 with predictions, 1 with ``{"error": ...}``.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path
from typing import Any

from mlengine.runtime import process
from mlengine.runtime.answerer import predict
from mlengine.runtime.answers import Answer, error_answer
from mlengine.runtime.opening import load_model
from mlengine.runtime.prediction_error import PredictionError

__all__ = ["main"]

_MAX_ANSWER_BYTES = 1 << 30


def main(argv: list[str]) -> int:
    """Answer the request on stdin; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m mlengine.runtime.predict")
    parser.add_argument("--model-dir", type=Path, required=True)
    parser.add_argument("--framework", default="")
    parser.add_argument("--signature-name", default="")
    parser.add_argument("--prediction-class", default="")
    parser.add_argument("--package", dest="package_uris", action="append", default=[])
    args = parser.parse_args(argv)
    stdout = process.send_prints_to_stderr()
    answer = _answer({**vars(args), "artifact": args.model_dir})
    stdout.write(answer.body.decode() + "\n")
    stdout.close()
    return 0 if answer.status == 200 else 1


def _answer(spec: dict[str, Any]) -> Answer:
    body = sys.stdin.buffer.read()
    try:
        model = load_model(spec)
    except PredictionError as error:
        # The person who asks owns the model, so here the message keeps its paths.
        if error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        return error_answer(400, str(error))
    for warning in model.describe()["warnings"]:
        print(f"WARNING: {warning}", file=sys.stderr)
    return predict(model, body, max_answer_bytes=_MAX_ANSWER_BYTES)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
