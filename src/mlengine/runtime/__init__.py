"""What runs inside user environments: replica supervisor, model worker, batch runner, frameworks.

Imports nothing of mlengine but itself, so that it works next to any TensorFlow or PyTorch.
`supervisor` uses the standard library alone (Python >= 3.7).
"""

from mlengine.runtime.golden import save_golden
from mlengine.runtime.report import report

__all__ = ["report", "save_golden"]
