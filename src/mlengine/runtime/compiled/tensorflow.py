"""TensorFlow's functions as ONNX: their variables become numbers, their operations ONNX's.

What ONNX has no words for (texts, pictures, loops over them) stays a TensorFlow graph. It goes
first and makes the tensors that the arithmetic begins with:

    words ──graph: StringSplit, StringToNumber──▶ numbers ──ONNX: the network──▶ scores

A loop that decodes pictures does without that graph (`pictures`). The line runs where the last
operation on texts, lists of tensors or resources ends. A function with such an operation in its
midst, after arithmetic, has no more than that arithmetic taken along.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from mlengine.runtime.compiled import AT_ONCE, LATER, TOLERANCE, NotCompiled
from mlengine.runtime.compiled.model import Part
from mlengine.runtime.compiled.pictureloops import Loop, drawn_pictures, find_loop
from mlengine.runtime.compiled.pictures import MADE, PICTURE, Decoding, Graph, PictureReader
from mlengine.runtime.frameworks.signatures import Signature
from mlengine.runtime.frameworks.tensorflow import brief
from mlengine.runtime.frameworks.tensors import TensorSpec
from mlengine.runtime.prediction_error import run_error

__all__ = ["convert", "open_graph"]

_OPSET = 17
_LARGEST_BYTES = (2 << 30) - (1 << 20)  # one file of protobuf; larger ones would need two
_FOREIGN = frozenset({"string", "variant", "resource"})
_ON_BOTH_SIDES = frozenset({"Const", "Placeholder"})
_OWN = "compiled_"


def convert(function: Any, signature: Signature, folder: Path, number: int) -> Part:
    """Write a function of TensorFlow's as ONNX, and as a graph what cannot be.

    Args:
        function: Concrete; its inputs are those of the signature in the order of their names, its
            outputs likewise.
        signature: What it takes and gives.
        folder: Where the files go.
        number: What they are called.

    Raises:
        NotCompiled: It cannot be converted.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
    inputs = [tensor for tensor in frozen.inputs if tensor.dtype != tf.resource]
    columns = {t.name: spec.name for t, spec in _paired(inputs, signature.inputs)}
    outputs = {spec.name: t for t, spec in _paired(frozen.outputs, signature.outputs)}
    needed = _ancestors(tensor.op for tensor in outputs.values())
    foreign = _foreign(needed)
    if any(op.type == "Placeholder" and op.outputs[0].dtype == tf.resource for op in foreign):
        raise NotCompiled("it looks words up in a table, which stays with the SavedModel")
    for name, tensor in outputs.items():
        if tensor.op in foreign:
            raise NotCompiled(f"the output {name!r} is not made of numbers alone")
    borders = _borders(needed, foreign)
    cut = {f"border_{index}:0": tensor for index, tensor in enumerate(borders)}
    definition = _arithmetic(frozen.graph, cut, list(outputs.values()))
    begins = {name: tensor.name for name, tensor in cut.items()}
    nodes = {f"{node.name}:0" for node in definition.node}
    feeds = {name: ours for name, ours in {**columns, **begins}.items() if name in nodes}
    fetches = {name: tensor.name for name, tensor in outputs.items()}
    _write_onnx(definition, feeds, fetches.values(), folder / f"{number}.onnx")
    part = Part(signature=signature, onnx=f"{number}.onnx", feeds=feeds, fetches=fetches)
    if not borders:
        return part
    made = _ancestors(tensor.op for tensor in borders)
    _write_graph(frozen.graph, borders, folder / f"{number}{AT_ONCE}")
    part = msgspec.structs.replace(
        part, graph=f"{number}{AT_ONCE}", gives=[_spec(tensor) for tensor in borders],
        takes={t.name: columns[t.name] for t in inputs if t.op in made},
    )  # fmt: skip
    decoding = _decoding(part, borders, columns, folder, number)
    if decoding is None:
        return part
    later = (folder / part.graph).rename(folder / f"{number}{LATER}").name
    return msgspec.structs.replace(part, graph=later, decoding=decoding)


def _decoding(
    part: Part, borders: Sequence[Any], columns: Mapping[str, str], folder: Path, number: int
) -> Decoding | None:
    """Return how the pictures of a part are decoded without its graph, once that was tried."""
    try:
        loop = find_loop(borders[0], columns) if len(borders) == 1 else None
        if loop is None:
            return None
        decoding = _each_picture(loop, folder, f"{number}.picture.onnx")
        graph = open_graph(folder / part.graph, part.takes, part.gives)
        reader = PictureReader(folder, decoding, part.gives[0], graph)
        _prove_pixels(reader, graph, decoding.column, part.gives)
    except MemoryError:
        raise
    except Exception as error:  # whatever it is about this loop, its graph is there
        why = str(error) or type(error).__name__
        print(f"Pictures are decoded by TensorFlow: {why}", file=sys.stderr)
        (folder / f"{number}.picture.onnx").unlink(missing_ok=True)
        return None
    return decoding


def _each_picture(loop: Loop, folder: Path, name: str) -> Decoding:
    """Write what a loop does to each picture once it is decoded, if it does anything."""
    if loop.item is loop.pixels:
        return loop.decoding
    import tensorflow as tf

    channels = loop.decoding.channels or None
    loop.pixels.set_shape([None, None, channels])
    with loop.body.as_default():
        made = tf.identity(loop.item, MADE.partition(":")[0])
    definition = _arithmetic(loop.body, {PICTURE: loop.pixels}, [made])
    _write_onnx(definition, [PICTURE], [MADE], folder / name)
    return msgspec.structs.replace(loop.decoding, onnx=name)


def _prove_pixels(
    reader: PictureReader, graph: Graph, column: str, gives: Sequence[TensorSpec]
) -> None:
    """Have drawn pictures read both ways.

    Raises:
        NotCompiled: They differ, or none was read.
    """
    count = 0
    for file in (file for plain, _ in drawn_pictures(gives) for file in plain):
        files = np.array([file], dtype=object)
        read = reader.read(files)
        if read is None:
            continue
        wanted = graph({column: files})[gives[0].name]
        furthest = TOLERANCE * np.maximum(1, np.abs(wanted)) if wanted.dtype.kind == "f" else 0
        if read.shape != wanted.shape or (np.abs(read - wanted) > furthest).any():
            raise NotCompiled("they come out otherwise")
        count += 1
    if not count:
        raise NotCompiled("none that was drawn fits")


def open_graph(file: Path, takes: Mapping[str, str], gives: Sequence[TensorSpec]) -> Graph:
    """Return the function of a graph that was written beside the arithmetic.

    Args:
        file: The graph.
        takes: Tensors that are fed, and the columns that they are.
        gives: Tensors that are asked for.
    """
    import tensorflow as tf

    definition = tf.compat.v1.GraphDef.FromString(file.read_bytes())
    whole = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(definition, name=""), [])
    tensor = whole.graph.get_tensor_by_name
    function = whole.prune([tensor(name) for name in takes], [tensor(spec.name) for spec in gives])
    columns = list(takes.values())

    def run(given: Mapping[str, Any]) -> dict[str, np.ndarray]:
        try:
            found = function(*[tf.constant(given[column]) for column in columns])
        except tf.errors.OpError as error:
            raise run_error(brief(error)) from error
        return {spec.name: value.numpy() for spec, value in zip(gives, found, strict=True)}

    return run


def _paired(tensors: Sequence[Any], specs: Sequence[TensorSpec]) -> list[tuple[Any, TensorSpec]]:
    """Put tensors beside what they are known as; both are in the order of these names."""
    found = list(zip(tensors, sorted(specs, key=lambda spec: spec.name), strict=True))
    for tensor, spec in found:
        if tensor.dtype.name != spec.dtype:
            raise NotCompiled(f"{spec.name!r} is {spec.dtype}, and its tensor {tensor.dtype.name}")
    return found


def _spec(tensor: Any) -> TensorSpec:
    known = tensor.shape.rank is not None
    return TensorSpec(
        tensor.name, tensor.dtype.name, tuple(tensor.shape.as_list()) if known else None
    )


def _ancestors(operations: Iterable[Any]) -> set[Any]:
    """Return operations and all that they are made of."""
    found: set[Any] = set()
    waiting = list(operations)
    while waiting:
        operation = waiting.pop()
        if operation not in found:
            found.add(operation)
            waiting += [tensor.op for tensor in operation.inputs]
            waiting += operation.control_inputs
    return found


def _foreign(needed: set[Any]) -> set[Any]:
    """Return operations that ONNX has no words for, and all that they are made of."""
    first = [
        operation for operation in needed
        if any(t.dtype.name in _FOREIGN for t in (*operation.inputs, *operation.outputs))
    ]  # fmt: skip
    return {one for one in _ancestors(first) if one in first or one.type not in _ON_BOTH_SIDES}


def _borders(needed: set[Any], foreign: set[Any]) -> list[Any]:
    """Return the tensors that the arithmetic takes from the other side, in the order of names."""
    found = {
        tensor.name: tensor
        for operation in needed - foreign
        for tensor in operation.inputs
        if tensor.op in foreign
    }
    return [found[name] for name in sorted(found)]


def _arithmetic(graph: Any, borders: Mapping[str, Any], outputs: Sequence[Any]) -> Any:
    """Return the graph of the outputs, which begins at the inputs and, by new names, borders."""
    import tensorflow as tf

    with tf.Graph().as_default() as arithmetic:
        begins = {
            tensor.name: tf.compat.v1.placeholder(tensor.dtype, tensor.shape, name.split(":")[0])
            for name, tensor in borders.items()
        }
        tf.import_graph_def(graph.as_graph_def(), input_map=begins, name="")
    definition = arithmetic.as_graph_def()
    for node in definition.node:  # what is merely done before, as a check on the other side
        node.input[:] = [name for name in node.input if not name.startswith("^")]
    wanted = [tensor.op.name for tensor in outputs]
    return tf.compat.v1.graph_util.extract_sub_graph(definition, wanted)


def _write_onnx(definition: Any, takes: Iterable[str], gives: Iterable[str], file: Path) -> None:
    try:
        import tf2onnx
    except ModuleNotFoundError as error:
        raise NotCompiled(
            f"{error.name} is not installed: pip install 'mlengine[compile]'"
        ) from error
    try:
        made, _ = tf2onnx.convert.from_graph_def(
            definition, input_names=list(takes), output_names=list(gives), opset=_OPSET
        )
    except Exception as error:  # an operation without a converter is a ValueError, or any other
        raise NotCompiled(f"tf2onnx: {brief(error)}") from error
    data = made.SerializeToString()
    if len(data) > _LARGEST_BYTES:
        raise NotCompiled(f"{len(data)} bytes are more than one ONNX file holds")
    file.write_bytes(data)


def _write_graph(graph: Any, borders: Sequence[Any], file: Path) -> None:
    """Write what makes the borders; its functions get names that no other model's have."""
    import tensorflow as tf

    definition = tf.compat.v1.graph_util.extract_sub_graph(
        graph.as_graph_def(), [tensor.op.name for tensor in borders]
    )
    names = {one.signature.name for one in definition.library.function}
    for one in definition.library.function:
        one.signature.name = _OWN + one.signature.name
    for node in (*definition.node, *(n for f in definition.library.function for n in f.node_def)):
        for value in node.attr.values():
            for function in (value.func, *value.list.func):
                if function.name in names:
                    function.name = _OWN + function.name
    file.write_bytes(definition.SerializeToString())
