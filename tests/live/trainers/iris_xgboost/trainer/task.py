import argparse
import logging
import os

import hypertune

from trainer import model

if __name__ == '__main__':
    logging.getLogger().setLevel(logging.INFO)
    parser = argparse.ArgumentParser()
    parser.add_argument('--train-files', required=True)
    parser.add_argument('--eval-files', required=True)
    parser.add_argument('--job-dir', required=True)
    parser.add_argument('--max_depth', type=int, default=3)
    parser.add_argument('--eta', type=float, default=0.3)
    parser.add_argument('--rounds', type=int, default=10)
    args = parser.parse_args()

    dtrain, deval = model.load(args.train_files), model.load(args.eval_files)
    bst = model.train(dtrain, deval, args.max_depth, args.eta, args.rounds)
    accuracy = model.accuracy(bst, deval)
    hpt = hypertune.HyperTune()
    hpt.report_hyperparameter_tuning_metric(
        hyperparameter_metric_tag='accuracy', metric_value=accuracy,
        global_step=args.rounds)
    logging.info('accuracy: %.4f', accuracy)
    bst.save_model(os.path.join(args.job_dir, 'model.bst'))
