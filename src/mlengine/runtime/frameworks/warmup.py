"""Imported ahead by the zygotes of scikit-learn's workers: makes the first prediction of all.

Libraries look around when they are called for the first time (scikit-learn's checks read the entry
points of all that is installed), which costs a prediction 70 ms and a fork that inherits it none.
"""

from __future__ import annotations

from sklearn.linear_model import LogisticRegression

__all__: list[str] = []

LogisticRegression().fit([[0.0], [1.0]], [0, 1]).predict([[0.0]])
