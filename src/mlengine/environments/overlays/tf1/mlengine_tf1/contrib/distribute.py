"""`tf.contrib.distribute`: the strategies under the names that they had."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from . import names_from

__all__ = [
    "CollectiveAllReduceStrategy",
    "MirroredStrategy",
    "OneDeviceStrategy",
    "ParameterServerStrategy",
]

__path__: list[str] = []
__getattr__ = names_from(
    "distribute",
    "tensorflow.compat.v1.distribute",
    "tensorflow.compat.v1.distribute.experimental",
    "tensorflow.python.distribute.distribute_config",
)

strategies = tf.compat.v1.distribute

OneDeviceStrategy = strategies.OneDeviceStrategy


class MirroredStrategy(tf.compat.v1.distribute.MirroredStrategy):
    """Takes `num_gpus` beside `devices`."""

    def __init__(
        self,
        devices: Any = None,
        num_gpus: int | None = None,
        num_gpus_per_worker: int | None = None,
        cross_device_ops: Any = None,
    ) -> None:
        count = num_gpus or num_gpus_per_worker
        if devices is None and count:
            devices = [f"/gpu:{i}" for i in range(count)]
        super().__init__(devices=devices, cross_device_ops=cross_device_ops)


class CollectiveAllReduceStrategy(tf.compat.v1.distribute.experimental.MultiWorkerMirroredStrategy):
    """Takes `num_gpus_per_worker`, and uses the devices that are there."""

    def __init__(self, num_gpus_per_worker: int = 0) -> None:
        super().__init__()


class ParameterServerStrategy(tf.compat.v1.distribute.experimental.ParameterServerStrategy):
    """Takes `num_gpus_per_worker`, and uses the devices that are there."""

    def __init__(self, num_gpus_per_worker: int = 0) -> None:
        super().__init__()
