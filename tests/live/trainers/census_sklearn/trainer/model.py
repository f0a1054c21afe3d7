import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.externals import joblib
from sklearn.externals.six.moves import xrange
from sklearn.feature_selection import SelectKBest
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import LabelBinarizer

NUMERICAL = [0, 4, 10, 12]
CATEGORICAL = [3, 5, 6, 9]


def get_pipeline(n_estimators, max_depth):
    pipelines = []
    for i in CATEGORICAL:
        scores = [0] * 15
        scores[i] = 1
        skb = SelectKBest(k=1)
        skb.scores_ = scores
        pipelines.append(('categorical-%d' % i, Pipeline([
            ('select', Column(i)), ('binarize', Binarizer())])))
    pipelines.append(('numerical', Numbers(NUMERICAL)))
    return Pipeline([
        ('union', FeatureUnion(pipelines)),
        ('classifier', RandomForestClassifier(
            n_estimators=n_estimators, max_depth=max_depth, random_state=3))])


class Column(object):
    def __init__(self, index):
        self.index = index

    def fit(self, x, y=None):
        return self

    def transform(self, x):
        return [row[self.index] for row in x]

    def fit_transform(self, x, y=None):
        return self.transform(x)


class Numbers(Column):
    def transform(self, x):
        return [[float(row[i]) for i in self.index] for row in x]


class Binarizer(LabelBinarizer):
    def fit_transform(self, x, y=None):
        return super(Binarizer, self).fit(x).transform(x)


def load(path):
    table = pd.read_csv(path, header=None)
    rows = table.values.tolist()
    return [r[:-1] for r in rows], [r[-1] == ' >50K' for r in rows]


def dump(model, path):
    for _ in xrange(1):
        joblib.dump(model, path)
