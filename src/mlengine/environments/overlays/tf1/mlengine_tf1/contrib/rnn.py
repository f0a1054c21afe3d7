"""`tf.contrib.rnn`: the cells that became `tf.nn.rnn_cell`, and the fused ones as plain ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from . import names_from

__all__ = [
    "GRUBlockCellV2",
    "LSTMBlockCell",
    "OutputProjectionWrapper",
    "stack_bidirectional_dynamic_rnn",
    "static_bidirectional_rnn",
    "static_rnn",
]

__path__: list[str] = []
__getattr__ = names_from(
    "rnn", "keras.src.layers.rnn.legacy_cells", "keras.src.layers.rnn.legacy_cell_wrappers"
)

v1 = tf.compat.v1

static_rnn = v1.nn.static_rnn
static_bidirectional_rnn = v1.nn.static_bidirectional_rnn
static_state_saving_rnn = v1.nn.static_state_saving_rnn


class LSTMBlockCell(tf.compat.v1.nn.rnn_cell.BasicLSTMCell):
    """The fused cell's mathematics and variable names, without its kernel."""

    def __init__(self, num_units: int, forget_bias: float = 1.0, **options: Any) -> None:
        for name in ("use_peephole", "cell_clip"):
            if options.pop(name, None):
                raise ValueError(f"LSTMBlockCell({name}=) is not in the TensorFlow 1 overlay")
        super().__init__(num_units, forget_bias=forget_bias, **options)


class GRUBlockCellV2(tf.compat.v1.nn.rnn_cell.GRUCell):
    """The fused cell's mathematics, without its kernel."""


class OutputProjectionWrapper(tf.compat.v1.nn.rnn_cell.RNNCell):
    """A cell whose output goes through one dense layer."""

    def __init__(
        self, cell: Any, output_size: int, activation: Any = None, reuse: bool | None = None
    ) -> None:
        super().__init__(_reuse=reuse)
        self._cell = cell
        self._output_size = output_size
        self._activation = activation

    @property
    def state_size(self) -> Any:
        """Return the wrapped cell's state size."""
        return self._cell.state_size

    @property
    def output_size(self) -> int:
        """Return the width of the dense layer."""
        return self._output_size

    def zero_state(self, batch_size: Any, dtype: Any) -> Any:
        """Return the wrapped cell's first state."""
        return self._cell.zero_state(batch_size, dtype)

    def call(self, inputs: Any, state: Any) -> tuple[Any, Any]:
        """Run the cell, then the dense layer."""
        output, after = self._cell(inputs, state)
        projected = v1.layers.dense(
            output, self._output_size, self._activation, name="output_projection_wrapper"
        )
        return projected, after


def stack_bidirectional_dynamic_rnn(
    cells_fw: Sequence[Any],
    cells_bw: Sequence[Any],
    inputs: Any,
    initial_states_fw: Sequence[Any] | None = None,
    initial_states_bw: Sequence[Any] | None = None,
    dtype: Any = None,
    sequence_length: Any = None,
    parallel_iterations: int | None = None,
    time_major: bool = False,
    scope: str | None = None,
) -> tuple[Any, tuple[Any, ...], tuple[Any, ...]]:
    """Stack bidirectional layers, each fed with both outputs of the one below."""
    if len(cells_fw) != len(cells_bw) or not cells_fw:
        raise ValueError("Forward and backward cells must be as many, and at least one.")
    states_fw, states_bw, layer = [], [], inputs
    with v1.variable_scope(scope or "stack_bidirectional_rnn"):
        for i, (forward, backward) in enumerate(zip(cells_fw, cells_bw)):
            with v1.variable_scope(f"cell_{i}"):
                outputs, (state_fw, state_bw) = v1.nn.bidirectional_dynamic_rnn(
                    forward,
                    backward,
                    layer,
                    initial_state_fw=initial_states_fw[i] if initial_states_fw else None,
                    initial_state_bw=initial_states_bw[i] if initial_states_bw else None,
                    sequence_length=sequence_length,
                    parallel_iterations=parallel_iterations,
                    dtype=dtype,
                    time_major=time_major,
                )
                layer = tf.concat(outputs, 2)
            states_fw.append(state_fw)
            states_bw.append(state_bw)
    return layer, tuple(states_fw), tuple(states_bw)
