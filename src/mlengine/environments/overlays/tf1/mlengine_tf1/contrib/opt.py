"""`tf.contrib.opt`: the optimizers that trainers took from it."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from . import names_from

__all__ = ["AdamWOptimizer", "MomentumWOptimizer", "extend_with_decoupled_weight_decay"]

__path__: list[str] = []
__getattr__ = names_from("opt")


def extend_with_decoupled_weight_decay(base: Any) -> Any:
    """Return an optimizer class that shrinks the variables by `weight_decay` at each step."""

    class WithWeightDecay(base):
        """The base optimizer, with decoupled weight decay."""

        def __init__(self, weight_decay: Any, *options: Any, **named: Any) -> None:
            super().__init__(*options, **named)
            self._weight_decay = weight_decay

        def apply_gradients(
            self,
            grads_and_vars: Any,
            global_step: Any = None,
            name: str | None = None,
            decay_var_list: Any = None,
        ) -> Any:
            pairs = list(grads_and_vars)
            decayed = {id(v) for v in decay_var_list} if decay_var_list is not None else None
            gradients = [gradient for gradient, _ in pairs if gradient is not None]
            with tf.control_dependencies(gradients):  # which are those of the weights before
                shrunk = [
                    tf.compat.v1.assign_sub(variable, self._weight_decay * variable)
                    for gradient, variable in pairs
                    if gradient is not None and (decayed is None or id(variable) in decayed)
                ]
            with tf.control_dependencies(shrunk):
                return super().apply_gradients(pairs, global_step=global_step, name=name)

    return WithWeightDecay


AdamWOptimizer = extend_with_decoupled_weight_decay(tf.compat.v1.train.AdamOptimizer)
MomentumWOptimizer = extend_with_decoupled_weight_decay(tf.compat.v1.train.MomentumOptimizer)
