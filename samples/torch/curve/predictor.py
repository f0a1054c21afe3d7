"""Serves the network; each instance is a number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from curve.net import make_net

__all__ = ["Predictor"]


class Predictor:
    """Answers with one number for each."""

    def __init__(self, net: torch.nn.Module) -> None:
        self._net = net.eval()

    def predict(self, instances: list[float], **kwargs: Any) -> Any:
        with torch.inference_mode():
            return self._net(torch.tensor(instances)[:, None])[:, 0]

    @classmethod
    def from_path(cls, model_dir: str) -> Predictor:
        net = make_net()
        net.load_state_dict(torch.load(Path(model_dir) / "weights.pt", weights_only=True))
        return cls(net)
