import numpy as np
import pandas as pd
import xgboost as xgb


def load(path):
    table = pd.read_csv(path, header=None)
    return xgb.DMatrix(table.iloc[:, :-1].values, label=table.iloc[:, -1].values.astype(np.int))


def train(dtrain, deval, max_depth, eta, rounds):
    params = {'objective': 'multi:softmax', 'num_class': 3, 'silent': 1,
              'max_depth': max_depth, 'eta': eta, 'seed': 4}
    return xgb.train(params, dtrain, rounds, evals=[(deval, 'eval')])


def accuracy(bst, deval):
    return float(np.mean(bst.predict(deval) == deval.get_label()))
