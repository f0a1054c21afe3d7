"""Compiles one model: ``python -m mlengine.runtime.compiled.compiler SPEC``.

The specification is a JSON file: ``artifact`` and ``framework`` of the model, and the folder
``output``, which is written whole or with the problem alone. The status is 0 either way: a model
that cannot be compiled is served as it is.

It loads the model, as a worker does, and therefore runs in a process like a worker's.
"""

from __future__ import annotations

import base64
import json
import shutil
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlengine.runtime import process
from mlengine.runtime.compiled import RECIPE_FILE, TOLERANCE, NotCompiled
from mlengine.runtime.compiled.model import About, Part, Table, load_compiled, write_about
from mlengine.runtime.compiled.networks import NotDense, from_onnx, write_network
from mlengine.runtime.compiled.pictureloops import drawn_pictures
from mlengine.runtime.frameworks import Model, ask, load
from mlengine.runtime.frameworks.keras import KerasModel
from mlengine.runtime.frameworks.signatures import signature_of
from mlengine.runtime.frameworks.sklearn import SklearnModel
from mlengine.runtime.frameworks.tensorflow import SavedModel
from mlengine.runtime.frameworks.xgboost import BoosterModel
from mlengine.runtime.golden import ROWS_FILE
from mlengine.runtime.prediction_error import PredictionError
from mlengine.runtime.rehearsal import GoldenRow, rehearse
from mlengine.runtime.shortcuts import recipe_of
from mlengine.runtime.shortcuts.kernel import NoKernel
from mlengine.runtime.shortcuts.proof import distance, drawn_rows, drawn_values, prove
from mlengine.runtime.strictjson import StrictJsonError, dumps, loads

__all__ = ["compile_model", "main"]

_LIFETIME_S = 900  # whoever started this may be gone
_KEPT_ROWS = 64
_KEPT_BYTES = 1 << 20
_SHOWN = 300


def main(argv: list[str]) -> int:
    """Compile the model of a specification."""
    signal.alarm(_LIFETIME_S)
    process.scrub_environment()
    process.send_prints_to_stderr()
    spec = json.loads(Path(argv[0]).read_bytes())
    compile_model(Path(spec["artifact"]), spec.get("framework") or "", Path(spec["output"]))
    return 0


def compile_model(artifact: Path, framework: str, output: Path) -> About:
    """Write a model's compiled form, or why it has none, to a folder; return what was written."""
    output.mkdir(parents=True, exist_ok=True)
    try:
        about = _compiled(artifact, framework, output)
    except MemoryError:
        raise
    except NotCompiled as error:
        print(f"Not compiled: {error}", file=sys.stderr)
        about = _without(output, error)
    except Exception as error:  # a converter may raise anything: the model is served as it is
        traceback.print_exc()
        about = _without(output, error)
    write_about(output, about)
    return about


def _without(output: Path, error: Exception) -> About:
    shutil.rmtree(output)
    output.mkdir()
    return About(problem=(str(error) or type(error).__name__)[:_SHOWN])


def _compiled(artifact: Path, framework: str, output: Path) -> About:
    model = load(artifact, framework=framework)
    golden, _notes = rehearse(model, artifact)
    if isinstance(model, SklearnModel | BoosterModel):
        return _compiled_table(model, golden, output)
    # Late, as is what it leads to: tables do without TensorFlow.
    from mlengine.runtime.compiled.tensorflow import convert

    if isinstance(model, SavedModel):
        functions = model.functions()
    elif isinstance(model, KerasModel):
        functions = {"": model.function()}
    else:
        name = model.describe()["framework"] or type(model).__name__
        raise NotCompiled(f"{name} models are not compiled: they are in ONNX, or routines")
    signatures = model.signatures()
    parts = [
        convert(function, signatures[name], output, number)
        for number, (name, function) in enumerate(functions.items())
    ]
    about = About(
        description=model.describe(), default=model.default_signature(),
        parts=_without_twins(parts, output),
    )  # fmt: skip
    numbers = _in_numbers(about, output)
    try:
        if numbers is not None:
            found = _proven(model, numbers, golden, output)
            _remove(output, "*.onnx")
            return found
    except NotCompiled as error:
        print(f"Not in plain numbers: {error}", file=sys.stderr)
        _remove(output, "*.npz")
    return _proven(model, about, golden, output)


def _remove(folder: Path, pattern: str) -> None:
    for file in folder.glob(pattern):
        file.unlink()


def _proven(model: Any, about: About, golden: Sequence[GoldenRow], output: Path) -> About:
    """Write what a worker repeats; return what is to be said of the form, once it was tried."""
    write_about(output, about)
    proof = _prove(model, load_compiled(output), golden, about)
    _write_rows(output, proof.rows)
    form = "plain numbers" if about.parts[0].onnx.endswith(".npz") else "ONNX"
    equal = f"equal on {proof.count} rows within {proof.largest:.1g}"
    return About(
        description=about.description, default=about.default, parts=about.parts,
        way=f"compiled: {form}{_first(about.parts)}, {equal}", rowwise=proof.rowwise is True,
    )  # fmt: skip


def _in_numbers(about: About, output: Path) -> About | None:
    """Write a network of dense layers in plain numbers; None where it is another."""
    import msgspec

    parts = []
    try:
        for part in about.parts:
            if part.graph:
                return None
            own = {spec.name: spec for spec in part.signature.inputs}
            feeds = {theirs: own[ours] for theirs, ours in part.feeds.items()}
            network = from_onnx(output / part.onnx, feeds, list(part.fetches.values()))
            file = Path(part.onnx).with_suffix(".npz").name
            write_network(network, output / file)
            parts.append(msgspec.structs.replace(part, onnx=file))
    except NotDense as error:
        print(f"Not in plain numbers: {error}", file=sys.stderr)
        _remove(output, "*.npz")
        return None
    return msgspec.structs.replace(about, parts=parts)


def _first(parts: Sequence[Part]) -> str:
    """Say what goes before the arithmetic."""
    if any(part.graph and part.decoding is None for part in parts):
        return " after a TensorFlow graph"
    return " after libjpeg-turbo" if any(part.decoding for part in parts) else ""


def _compiled_table(
    model: SklearnModel | BoosterModel, golden: Sequence[GoldenRow], output: Path
) -> About:
    from mlengine.runtime.compiled.rows import kernel_from
    from mlengine.runtime.shortcuts.recipe import write_recipe
    from mlengine.runtime.shortcuts.rows import Rows

    try:
        recipe = recipe_of(model)
    except NoKernel as error:
        raise NotCompiled(str(error)) from error
    write_recipe(recipe, output / RECIPE_FILE)
    table = Table(signature=signature_of(model))
    kernel = kernel_from(output)
    shortcut = Rows(kernel, model.describe()["inputs"])
    drawn, known = drawn_rows(kernel), [row.instance for row in golden]
    found = prove(
        model, shortcut, drawn, golden=known, singles=_KEPT_ROWS, tolerance=TOLERANCE
    )  # fmt: skip
    if found.problem:
        raise NotCompiled(f"the answers differ: {found.problem}")
    kept = [row for row in (*known, *drawn) if shortcut.read(dumps({"instances": [row]}))]
    answers = [(row, _asked(model, [row], "")) for row in kept[:_KEPT_ROWS]]
    _write_rows(output, [{"instance": row, "prediction": a[0]} for row, a in answers if a])
    return About(
        description=model.describe(), table=table,
        way=f"compiled: {recipe.name} in plain numbers, equal on {len(drawn)} rows "
            f"within {found.largest:.1g}",
    )  # fmt: skip


def _without_twins(parts: Sequence[Part], output: Path) -> list[Part]:
    """Keep one file where signatures have the same arithmetic, as Keras' exports do."""
    import msgspec

    kept: dict[bytes, str] = {}
    found = []
    for part in parts:
        data = (output / part.onnx).read_bytes()
        first = kept.setdefault(data, part.onnx)
        if first != part.onnx:
            (output / part.onnx).unlink()
        found.append(msgspec.structs.replace(part, onnx=first))
    return found


class _Proof:
    """Both ways, asked the same.

    Attributes:
        count: How many rows were answered, both ways alike.
        largest: Difference of two floats.
        rows: Some of them, with the original's answers, for each worker to repeat.
        rowwise: Whether the original answers a row alike alone and in company; None: not seen.
    """

    def __init__(self, model: Model, compiled: Model) -> None:
        self._model = model
        self._compiled = compiled
        self.count = 0
        self.largest = 0.0
        self.rows: list[dict[str, Any]] = []
        self.rowwise: bool | None = None

    def rows_of(self, instances: Sequence[Any], name: str, *, kept: bool = True) -> None:
        """Ask for instances alone, then for all that were answered in one call."""
        answers = [(row, self._same([row], name)) for row in instances]
        answered = [(row, wanted[0]) for row, wanted in answers if wanted is not None]
        together = self._same([row for row, _ in answered], name) if answered else None
        if together is not None:
            self._compare([wanted for _, wanted in answered], together)
        self.count += len(answered)
        if kept and name == self._default():
            some = answered[:_KEPT_ROWS]
            self.rows += [{"instance": row, "prediction": wanted} for row, wanted in some]

    def _compare(self, alone: list[Any], together: list[Any]) -> None:
        found = distance(alone, together)
        is_same = not found.problem and found.largest <= TOLERANCE
        self.rowwise = is_same and self.rowwise is not False

    def _default(self) -> str:
        return signature_of(self._model).name

    def _same(self, rows: Sequence[Any], name: str) -> list[Any] | None:
        """Return the original's answers, None where it refuses; raise where they differ."""
        wanted, got = _asked(self._model, rows, name), _asked(self._compiled, rows, name)
        if wanted is None or got is None:
            if wanted is not got:
                who = "the original" if wanted is None else "the compiled model"
                raise NotCompiled(f"{who} refuses a row that the other answers")
            return None
        found = distance(wanted, got)
        self.largest = max(self.largest, found.largest)
        if found.problem or found.largest > TOLERANCE:
            text = found.problem or f"a float differs by {found.largest:.3g}"
            raise NotCompiled(f"the answers differ: {text}")
        return wanted


def _prove(model: Any, compiled: Model, golden: Sequence[GoldenRow], about: About) -> _Proof:
    proof = _Proof(model, compiled)
    proof.rows_of([row.instance for row in golden], signature_of(model).name)
    for part in about.parts:
        before = proof.count
        proof.rows_of(drawn_values(part.signature.inputs), part.signature.name)
        if proof.count == before:
            _prove_by_pictures(proof, part)
        if proof.count == before:
            named = f"the signature {part.signature.name!r}" if part.signature.name else "the model"
            raise NotCompiled(
                f"{named} answers no drawn row; golden rows beside the model would prove it"
            )
    return proof


def _prove_by_pictures(proof: _Proof, part: Part) -> None:
    """Ask for pictures, of a signature that takes nothing else: in JPEG, and in another format."""
    if [spec.dtype for spec in part.signature.inputs] != ["string"]:
        return
    kept = True  # of one size: a worker repeats them in one call
    for plain, others in drawn_pictures(part.gives):
        before = proof.count
        proof.rows_of(_in_base64(plain), part.signature.name, kept=kept)
        kept = kept and proof.count == before
        # A worker that repeats one of the others opens the graph, which it may do without.
        also = kept and part.decoding is None
        proof.rows_of(_in_base64(others), part.signature.name, kept=also)


def _in_base64(files: Sequence[bytes]) -> list[Any]:
    return [{"b64": base64.b64encode(file).decode("ascii")} for file in files]


def _asked(model: Model, rows: Sequence[Any], name: str) -> list[Any] | None:
    try:
        answers: Any = loads(dumps(ask(model, list(rows), {"signature_name": name})))
    except (PredictionError, StrictJsonError):
        return None
    return list(answers)


def _write_rows(output: Path, rows: Sequence[dict[str, Any]]) -> None:
    size = 0
    lines: list[bytes] = []
    for row in rows:
        line = dumps(row)
        size += len(line)
        if lines and size > _KEPT_BYTES:
            break
        lines.append(line + b"\n")
    (output / ROWS_FILE).write_bytes(b"".join(lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
