"""Trainer packages as third parties write them: each a handful of habits that the engine must bear.

Texts, not files, because their style is theirs and no linter's business.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["TRAINERS", "Trainer"]


class Trainer(NamedTuple):
    """A package: its files, what to type, and what both of its runs leave in the job directory."""

    package: str
    module: str
    args: tuple[str, ...]
    files: dict[str, str]
    exports: dict[str, str]
    """Name below the job directory: text it holds; an empty text is not compared."""


CLASSIC = Trainer(
    package="flowers",
    module="flowers.trainer.task",
    args=("--max_iter", "5"),
    files={
        "setup.py": """
            from setuptools import find_packages, setup
            setup(name="flowers", version="0.1", packages=find_packages(),
                  include_package_data=True, package_data={"flowers": ["vocab/*.txt"]},
                  install_requires=["numpy>=1.13", "joblib>=0.11"], requires=[])
            """,
        "flowers/__init__.py": "",
        "flowers/trainer/__init__.py": "",
        "flowers/vocab/species.txt": "setosa versicolor virginica",
        "flowers/trainer/model.py": """
            import pkgutil
            def species():
                return pkgutil.get_data("flowers", "vocab/species.txt").decode("utf-8").split()
            """,
        "flowers/trainer/task.py": """
            import argparse, os
            from . import model
            if __name__ == "__main__":
                parser = argparse.ArgumentParser()
                parser.add_argument("--job-dir", default="")
                parser.add_argument("--max_iter", type=int)
                known, _ = parser.parse_known_args()
                export = os.path.join(known.job_dir, "export", "model")
                if not os.path.isdir(export):
                    os.makedirs(export)
                with open(os.path.join(export, "species"), "w") as f:
                    f.write("%d %s" % (known.max_iter, model.species()[-1]))
            """,
    },
    exports={"export/model/species": "5 virginica"},
)

UNCHECKED_TF_CONFIG = Trainer(
    package="trainer",
    module="trainer.task",
    args=(
        "--train-files",
        "gs://mine/tables/a.csv",
        "gs://mine/tables/b.csv",
        "--eval-files=gs://mine/tables/b.csv",
        "--train_steps",
        "3",
    ),
    files={
        "trainer/__init__.py": "",
        "trainer/task.py": """
            import argparse, json, os
            p = argparse.ArgumentParser()
            p.add_argument('--train-files', nargs='+', required=True)
            p.add_argument('--eval-files', nargs='+', required=True)
            p.add_argument('--job-dir', required=True)
            p.add_argument('--train-steps', '--train_steps', type=int, default=1)
            args, unknown = p.parse_known_args()
            env = json.loads(os.environ.get('TF_CONFIG', '{}'))
            task_data = env.get('task') or {'type': 'master', 'index': 0}
            task = type('TaskSpec', (object,), task_data)
            trial = task_data.get('trial')
            out = os.path.join(args.job_dir, trial) if trial else args.job_dir
            assert env['environment'] == 'cloud' and env['job']['args'] and 'cluster' in env
            total = sum(int(line.split(',')[1]) for f in args.train_files + args.eval_files
                        for line in open(f).read().splitlines()[1:])
            if task.type in ('master', 'chief') and task.index == 0:
                with open(os.path.join(out, 'sum.json'), 'w') as o:
                    json.dump({'sum': total * args.train_steps}, o)
            """,
    },
    exports={"sum.json": '{"sum": 72}'},
)

COPIER = Trainer(
    package="trainer",
    module="trainer.task",
    args=("--train-data-path", "gs://mine/tables/a.csv", "--pattern", "gs://mine/tables/*.csv"),
    files={
        "trainer/__init__.py": "",
        "trainer/task.py": """
            import argparse, glob, os, subprocess, tempfile
            import pandas as pd
            p = argparse.ArgumentParser()
            p.add_argument('--train-data-path'); p.add_argument('--pattern')
            p.add_argument('--job-dir')
            a = p.parse_args()
            mean = pd.read_csv(a.train_data_path)['y'].mean()
            local = os.path.join(tempfile.mkdtemp(), 'model.txt')
            with open(local, 'w') as f:
                f.write('%.1f %d' % (mean, len(glob.glob(a.pattern))))
            subprocess.check_call(['cp', local, os.path.join(a.job_dir, 'model.txt')])
            """,
    },
    exports={"model.txt": "3.0 2"},
)

PROJECT = Trainer(
    package="src/digits_trainer",
    module="digits_trainer.cli",
    args=(),
    files={
        "pyproject.toml": """
            [build-system]
            requires = ["setuptools>=61", "wheel"]
            build-backend = "setuptools.build_meta"
            [project]
            name = "digits-trainer"
            version = "1.2.3"
            dependencies = ["numpy"]
            [project.scripts]
            train-digits = "digits_trainer.cli:main"
            [tool.setuptools.packages.find]
            where = ["src"]
            """,
        "src/digits_trainer/__init__.py": "",
        "src/digits_trainer/cli.py": """
            import argparse, importlib.metadata, shutil, sys
            from pathlib import Path
            def main(argv=None):
                p = argparse.ArgumentParser(prog="train-digits")
                p.add_argument("--job-dir", type=Path, required=True)
                a = p.parse_args(argv)
                script = shutil.which("train-digits")
                if script:
                    print("installed as", importlib.metadata.version("digits-trainer"))
                (a.job_dir / "done.txt").write_text("done")
                return 0
            if __name__ == "__main__":
                sys.exit(main())
            """,
    },
    exports={"done.txt": "done"},
)

LOUD = Trainer(
    package="trainer",
    module="trainer.task",
    args=(),
    files={
        "trainer/__init__.py": "",
        "trainer/task.py": r"""
            import argparse, json, logging, os, sys
            p = argparse.ArgumentParser(); p.add_argument('--job-dir'); a = p.parse_args()
            logging.basicConfig(level=logging.INFO)
            logging.getLogger('trainer').info('starting')
            for i in range(0, 101, 10):
                sys.stderr.write('\rEpoch 1/1 %3d%% |%s' % (i, '#' * (i // 10)))
                sys.stderr.flush()
            sys.stderr.write('\nW1121 06:16:13.123456 139 task.py:12] learning rate is high\n')
            sys.stderr.write('E1121 06:16:13.123456 139 task.py:13] a shard is missing\n')
            print(json.dumps({'severity': 'NOTICE', 'message': 'half way', 'step': 5}))
            metrics = os.environ.get('CLOUD_ML_HP_METRIC_FILE')  # as cloudml-hypertune does
            if metrics:
                os.makedirs(os.path.dirname(metrics), exist_ok=True)
                with open(metrics, 'w') as f:
                    json.dump({'acc': '0.93', 'global_step': '10', 'trial': '0'}, f)
            with open(os.path.join(a.job_dir, 'saved.txt'), 'w', encoding='utf-8') as f:
                f.write('é ✓')
            print('gespeichert: é ✓')
            """,
    },
    exports={"saved.txt": "é ✓"},
)

TRAINERS = {
    "setup.py with requirements and data files": CLASSIC,
    "TF_CONFIG read unchecked": UNCHECKED_TF_CONFIG,
    "pandas, a glob, and cp into the job directory": COPIER,
    "a pyproject.toml with its package below src": PROJECT,
    "progress bars, logging and a metric file": LOUD,
}
