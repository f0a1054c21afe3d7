import argparse
import datetime
import os
import subprocess
import sys

from sklearn.metrics import accuracy_score

from trainer import model

parser = argparse.ArgumentParser()
parser.add_argument('--train-file', required=True)
parser.add_argument('--eval-file', required=True)
parser.add_argument('--job-dir', required=True)
parser.add_argument('--n_estimators', type=int, default=20)
parser.add_argument('--max-depth', '--max_depth', type=int, default=10)
args = parser.parse_args()

x, y = model.load(args.train_file)
pipeline = model.get_pipeline(args.n_estimators, args.max_depth)
pipeline.fit(x, y)
x, y = model.load(args.eval_file)
print('accuracy: %.4f' % accuracy_score(y, pipeline.predict(x)))

model_filename = 'model.joblib'
model.dump(pipeline, model_filename)
path = os.path.join(args.job_dir, datetime.datetime.now().strftime('census_%Y%m%d_%H%M%S'))
if path.startswith('gs://'):
    command = ['gsutil', 'cp', model_filename, os.path.join(path, model_filename)]
else:
    os.makedirs(path)
    command = ['cp', model_filename, path]
subprocess.check_call(command, stderr=sys.stdout)
