import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin


class PositionalSelector(BaseEstimator, TransformerMixin):
    def __init__(self, positions):
        self.positions = positions

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.array(X)[:, self.positions]


class StripString(BaseEstimator, TransformerMixin):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        strip = np.vectorize(str.strip)
        return strip(np.array(X))


class OneHot(BaseEstimator, TransformerMixin):
    def fit(self, X, y=None):
        self.values = [np.unique(X[:, c]) for c in range(X.shape[1])]
        return self

    def transform(self, X):
        X = np.array(X)
        columns = [X[:, c, None] == values for c, values in enumerate(self.values)]
        return np.concatenate(columns, axis=1).astype(np.int)
