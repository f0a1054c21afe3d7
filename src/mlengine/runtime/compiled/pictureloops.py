"""Finds the loop over pictures in a graph of TensorFlow's, to have it done without TensorFlow.

    tf.map_fn(lambda file: scaled(tf.io.decode_jpeg(file, 3)), files)

It is a loop that reads the next file, decodes it, does some arithmetic with the pixels and writes
what comes out to a list, which is stacked at the end. A loop in which anything else has a part (a
value from outside, a check, chance) is left to TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from mlengine.runtime.compiled.pictures import Decoding
from mlengine.runtime.frameworks.tensors import TensorSpec

__all__ = ["Loop", "drawn_pictures", "find_loop"]

_DECODERS = frozenset({"DecodeJpeg", "DecodeImage"})  # not PNG's: its callers send PNG
_LEFT_ALONE = frozenset({"Placeholder", "Assert", "EnsureShape"})
_SEED = 20_261
_SIDES = (64, 224)  # where the graph does not say of which size its pictures are
_EACH = 4


class Loop(msgspec.Struct, frozen=True, kw_only=True):
    """A loop over files that decodes each.

    Attributes:
        decoding: How.
        body: The graph of one turn.
        pixels: The decoded picture in it.
        item: What is made of it, the turn's result.
    """

    decoding: Decoding
    body: Any
    pixels: Any
    item: Any


def find_loop(border: Any, columns: Mapping[str, str]) -> Loop | None:
    """Return the loop that makes a tensor, `tf.map_fn` of one picture; None if anything else does.

    Args:
        border: The tensor.
        columns: The graph's inputs, and the columns that they are.
    """
    from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

    stacked = _behind(border)
    if stacked.op.type != "TensorListStack":
        return None
    turned = _behind(stacked.op.inputs[0])
    loop = turned.op
    if loop.type not in ("While", "StatelessWhile"):
        return None
    name = loop.get_attr("body").name
    known = loop.graph.as_graph_def().library.function
    body = function_def_to_graph(next(one for one in known if one.signature.name == name))
    written = _behind(body.outputs[turned.value_index])
    if written.op.type != "TensorListSetItem":
        return None
    results, position, item = (_behind(tensor) for tensor in written.op.inputs[:3])
    decoders = [op for op in _made_of(item) if op.type in _DECODERS]
    if len(decoders) != 1 or results is not body.inputs[turned.value_index]:
        return None
    (decoder,) = decoders
    read = _behind(decoder.inputs[0])
    if read.op.type != "TensorListGetItem" or _behind(read.op.inputs[1]) is not position:
        return None
    given = next((i for i, one in enumerate(body.inputs) if one is read.op.inputs[0]), -1)
    files = _behind(loop.inputs[given]) if given >= 0 else None
    if files is None or files.op.type != "TensorListFromTensor":
        return None
    column = columns.get(_behind(files.op.inputs[0]).name)
    decoding = _decoding(decoder, column) if column else None
    pixels = decoder.outputs[0]
    if decoding is None or not _is_of_one_picture(item, pixels):
        return None
    return Loop(decoding=decoding, body=body, pixels=pixels, item=item)


def _decoding(decoder: Any, column: str) -> Decoding | None:
    channels = decoder.get_attr("channels")
    if channels not in (0, 1, 3) or decoder.outputs[0].dtype.name != "uint8":
        return None
    exact, smooth = False, True  # what TensorFlow's other operations ask of libjpeg-turbo
    if decoder.type == "DecodeJpeg":
        transform = decoder.get_attr("dct_method").decode()
        exact, smooth = transform == "INTEGER_ACCURATE", decoder.get_attr("fancy_upscaling")
        if decoder.get_attr("ratio") != 1 or decoder.get_attr("try_recover_truncated"):
            return None
    return Decoding(column=column, channels=channels, exact=exact, smooth=smooth)


def _behind(tensor: Any) -> Any:
    while tensor.op.type == "Identity":
        tensor = tensor.op.inputs[0]
    return tensor


def _made_of(tensor: Any, begin: Any = None) -> Iterator[Any]:
    """Yield the operations that a tensor is made of; the one of `begin` is passed by."""
    waiting, seen = [tensor.op], {begin.op} if begin is not None else set()
    while waiting:
        operation = waiting.pop()
        if operation not in seen:
            seen.add(operation)
            yield operation
            waiting += [one.op for one in operation.inputs] + list(operation.control_inputs)


def _is_of_one_picture(item: Any, pixels: Any) -> bool:
    """Return whether all is arithmetic with these pixels: no other value, check or chance."""
    return not any(
        operation.type in _LEFT_ALONE or operation.op_def.is_stateful
        for operation in _made_of(item, pixels)
    )


def drawn_pictures(specs: Sequence[TensorSpec]) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Draw pictures that are smooth and ones that are not; yield JPEG files, and other ones.

    Args:
        specs: Columns of pictures that a network takes; where these do not say of which size,
            there are some of several, one size after the other.
    """
    import tensorflow as tf

    random = np.random.default_rng(_SEED)
    shapes = [spec.shape[1:3] for spec in specs if spec.shape and len(spec.shape) == 4]
    known = [(height, width) for height, width in shapes if height and width]
    for height, width in known or [(side, side) for side in _SIDES]:
        plain: list[bytes] = []
        others: list[bytes] = []
        for number in range(_EACH):
            coarse = random.integers(0, 256, (8, 8, 3)).astype(np.float32)
            smooth = tf.cast(tf.image.resize(coarse, (height, width)), tf.uint8)
            noisy = tf.constant(random.integers(0, 256, (height, width, 3)).astype(np.uint8))
            for picture in smooth, noisy:
                plain += [
                    tf.io.encode_jpeg(picture).numpy(),
                    tf.io.encode_jpeg(
                        picture, quality=60 + 9 * number, progressive=True,
                        chroma_downsampling=number % 2 == 0,
                    ).numpy(),
                ]  # fmt: skip
            plain.append(tf.io.encode_jpeg(smooth[:, :, :1], format="grayscale").numpy())
            others.append(tf.io.encode_png(smooth).numpy())
        yield plain, others
