import argparse
import warnings

import numpy as np
import pandas as pd
from google.cloud import storage
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.externals import joblib
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

import census_package.my_pipeline as mp
warnings.filterwarnings('ignore')


def blob_of(uri):
    bucket, _, path = uri[len('gs://'):].partition('/')
    return storage.Client().bucket(bucket).blob(path)


def create_pipeline():
    numbers = make_pipeline(mp.PositionalSelector([0, 4, 12]), StandardScaler())
    words = make_pipeline(mp.PositionalSelector([1, 5, 7]), mp.StripString(), mp.OneHot())
    return Pipeline([
        ('pre', FeatureUnion([('numericals', numbers), ('categoricals', words)])),
        ('estimator', GradientBoostingClassifier(max_depth=4, n_estimators=20)),
    ])


if __name__ == '__main__':
    parser = argparse.ArgumentParser()
    parser.add_argument('--gcs_data_path', action="store", required=True)
    parser.add_argument('--gcs_model_path', action="store", required=True)
    arguments, others = parser.parse_known_args()

    blob_of(arguments.gcs_data_path).download_to_filename('adult.data')
    raw_df = pd.read_csv('adult.data', header=None)
    target_index = len(raw_df.columns) - 1
    features = raw_df.drop(target_index, axis=1).as_matrix()
    target = np.vectorize(str.strip)(raw_df[target_index].values)
    pipeline = create_pipeline()
    pipeline.fit(features, target)
    joblib.dump(pipeline, './model.joblib')
    blob_of(arguments.gcs_model_path).upload_from_filename('./model.joblib')
