"""A tuning job's study: the same records that a client of the studies API would keep.

The trials that a job added are those whose client it is: a study that is continued
(`resumePreviousJobId`) has trials of several jobs, numbered on.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Sequence

from mlengine.core.errors import AlreadyExists
from mlengine.core.resources import TrainingInput
from mlengine.core.states import StudyState, TrialState
from mlengine.core.studies import (
    AutomatedStoppingConfig,
    CategoricalValueSpec,
    DiscreteValueSpec,
    DoubleValueSpec,
    IntegerValueSpec,
    Measurement,
    MetricSpec,
    MetricValue,
    StoppingRule,
    Study,
    StudyConfig,
    StudyParameter,
)
from mlengine.store import JobRecord, Store, StudyRecord, TrialRecord
from mlengine.training.trials.hyperparameters import (
    HyperparameterSpec,
    ParameterSpec,
    hyperparameters_of,
    is_tuning,
    stopping_rule,
)
from mlengine.tuning.configs import algorithm_of, problem_of
from mlengine.tuning.problem import Kind, Parameter, Problem, Tried
from mlengine.tuning.reports import suggested, tried
from mlengine.tuning.search import Suggestion
from mlengine.tuning.space import Space
from mlengine.tuning.warmstart import Earlier, carried

__all__ = [
    "LOCATION",
    "WITHDRAWN",
    "TuningBooks",
    "measurement",
    "question",
    "search_of",
]

_STOPPING = {
    "median": "median_automated_stopping_config",
    "decay-curve": "decay_curve_stopping_config",
    "asha": "asha_stopping_config",
}

LOCATION = "local"
"""Where the studies of tuning jobs are listed."""

WITHDRAWN = "WITHDRAWN: "
"""How the reason begins of a trial that says nothing of its point: its job was called off."""

_LONGEST_CHAIN = 1000


class TuningBooks:
    """Finds and keeps the studies of tuning jobs; the store is the truth.

    Args:
        store: Where they are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def study(self, record: JobRecord) -> StudyRecord:
        """Return the study of a job, made when there is none yet."""
        owner = self._first(record)
        found = self._store.study_of(owner)
        if found is not None:
            return found
        study = Study(
            name=owner,
            study_config=_config(_asked(record), stopping_rule(record.job)),
            create_time=record.job.create_time,
        )
        try:
            return self._store.add_study(record.project, LOCATION, study, uid=owner, owner=owner)
        except AlreadyExists:  # another engine was faster
            return self._store.study_of(owner) or self._store.study(record.project, LOCATION, owner)

    def open(self, study: StudyRecord) -> StudyRecord:
        """Let trials be added to a study again that an earlier job has ended with."""
        if study.state is StudyState.INACTIVE:
            return self._store.move_study(study, StudyState.ACTIVE, inactive_reason="") or study
        return study

    def rest(self, study: StudyRecord) -> None:
        """Let no trial be added until a job continues the study."""
        if study.state is StudyState.ACTIVE:
            reason = "Its tuning job is over; resumePreviousJobId goes on with it."
            self._store.move_study(study, StudyState.INACTIVE, inactive_reason=reason)

    def trials(self, study: StudyRecord, record: JobRecord) -> list[TrialRecord]:
        """Return the trials that a job added to its study, by number."""
        return [t for t in self._store.trials(study) if t.trial.client_id == record.uid]

    def add(
        self,
        study: StudyRecord,
        record: JobRecord,
        suggestions: Sequence[Suggestion],
        *,
        alive: int,
    ) -> bool:
        """Record points as trials, all of them or, if the study has moved on, none."""
        fresh = [suggested(s, seen=study.last_trial) for s in suggestions]
        given = self._store.hand_out(study, record.uid, alive + len(fresh), fresh=fresh, fewer=True)
        return given is not None

    def measure(
        self, trial: TrialRecord, points: Sequence[tuple[int, float]], *, tag: str, elapsed: str
    ) -> None:
        """Add what is new of the points that a trial has measured so far, by step.

        An attempt that began again, behind or beside what an earlier one measured, takes its place.
        """
        # Another engine may have led meanwhile: the study knows how far it is.
        study = self._store.study(trial.project, trial.location, trial.study_id)
        kept = self._store.measurements(study, number=trial.number).get(trial.number, [])
        known = {point.step_count: point.metrics[0].value for point in kept}
        last = max(known, default=-1)
        again = next((step for step, value in points if known.get(step, value) != value), None)
        if again is None and points[-1][0] < last:
            again = points[-1][0]
        after = last if again is None else again - 1
        new = [measurement(*point, tag, elapsed=elapsed) for point in points if point[0] > after]
        if new:
            self._store.measure_trial(trial, new, from_step=again)

    def stop(self, trial: TrialRecord) -> TrialRecord | None:
        """Decide, durably, that a trial need not go on."""
        return self._store.move_trial(trial, TrialState.STOPPING)

    def history(self, study: StudyRecord, record: JobRecord, problem: Problem) -> list[Tried]:
        """Return what a search may know: a job's trials, and what those of other jobs say."""
        trials: dict[str, list[TrialRecord]] = {}
        for trial in self._store.trials(study):
            trials.setdefault(trial.trial.client_id, []).append(trial)
        own, earlier, spaces = _known(problem, trials.pop(record.uid, [])), [], problem.parameters
        space = Space(problem.parameters)
        running: list[Tried] = []  # in other jobs, at points that this one must not try too
        for job in self._jobs(record, trials.keys()):
            parameters = question(_asked(job), study)[1].parameters
            theirs = _known(problem, trials[job.uid])
            given = _given(job, problem.parameters)
            earlier.append(Earlier(parameters=parameters, trials=theirs, given=given))
            spaces += parameters
            running += [t for t in theirs if t.pending and space.contains(t.point)]
        found = carried(problem, earlier, own, given=_given(record, spaces))
        return sorted([*found, *running, *own], key=lambda tried: tried.number)

    def room(self, record: JobRecord) -> int | None:
        """Return how many points a job has, less those that another tried; None if uncountable."""
        problem = problem_of(_config(_asked(record)), uid=record.uid)
        space = Space(problem.parameters)
        study = self._store.study_of(self._first(record)) if space.size is not None else None
        if space.size is None or study is None:
            return space.size
        others = [t for t in self._store.trials(study) if t.trial.client_id != record.uid]
        points = [t.point for t in _known(problem, others) if space.contains(t.point)]
        return space.size - len({tuple(sorted(point.items())) for point in points})

    def _jobs(self, record: JobRecord, uids: Collection[str]) -> list[JobRecord]:
        """Return the jobs of these uids: that one continues, or that continue the same as it."""
        known = {job.uid: job for job in self._chain(record)}
        before_seq = None
        while not known.keys() >= {*uids}:
            page = self._store.jobs(record.project, before_seq=before_seq)
            if not page:
                break
            known |= {job.uid: job for job in page}
            before_seq = page[-1].seq
        return [known[uid] for uid in uids if uid in known]

    def _first(self, record: JobRecord) -> str:
        """Return the uid of the job that began the study that this one continues."""
        return self._chain(record)[-1].uid

    def _chain(self, record: JobRecord) -> list[JobRecord]:
        """Return a job, the one that it continues, and so on to the one that began the study."""
        chain = [record]
        for _step in range(_LONGEST_CHAIN):
            previous = _asked(chain[-1]).resume_previous_job_id
            if not previous:
                break
            chain.append(self._store.job(record.project, previous))
        return chain


def search_of(asked: HyperparameterSpec) -> str:
    """Return the name of the search that a job asks for."""
    return algorithm_of(_config(asked))


def question(asked: HyperparameterSpec, study: StudyRecord) -> tuple[str, Problem]:
    """Return which search a job asks for, and what it is to solve."""
    return search_of(asked), problem_of(_config(asked), uid=study.uid)


def measurement(step: int, value: float, tag: str, *, elapsed: str) -> Measurement:
    """Return one value of the objective as a study keeps it."""
    metrics = [MetricValue(metric=tag, value=value)]
    return Measurement(elapsed_time=elapsed, step_count=step, metrics=metrics)


def _known(problem: Problem, trials: Iterable[TrialRecord]) -> list[Tried]:
    """Return trials as a search sees them; those that say nothing of their point are left out."""
    return [
        tried(problem, record)
        for record in trials
        if record.state is not TrialState.REQUESTED
        and not record.trial.infeasible_reason.startswith(WITHDRAWN)
    ]


def _given(record: JobRecord, parameters: Iterable[Parameter]) -> dict[str, str]:
    """Return which of these parameters a job's arguments set, as its trainer reads them."""
    spec = record.job.training_input or TrainingInput()
    names = {parameter.name for parameter in parameters}
    found = {}
    for word, after in itertools.pairwise([*spec.args, ""]):
        name, equals, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and name in names:
            found[name] = value if equals else after
    return found


def _asked(record: JobRecord) -> HyperparameterSpec:
    if not is_tuning(record.job):
        return HyperparameterSpec()
    return hyperparameters_of(record.job.training_input or TrainingInput())


def _config(asked: HyperparameterSpec, rule: str = "") -> StudyConfig:
    return StudyConfig(
        metrics=[MetricSpec(metric=asked.tag, goal="MAXIMIZE" if asked.maximize else "MINIMIZE")],
        parameters=[_study_parameter(p) for p in asked.params],
        algorithm=asked.algorithm,
        automated_stopping_config=AutomatedStoppingConfig(**{_STOPPING[rule]: StoppingRule()})
        if rule
        else None,
    )


def _study_parameter(spec: ParameterSpec) -> StudyParameter:
    found = StudyParameter(
        parameter=spec.parameter_name,
        type=spec.type,
        scale_type="" if spec.scale_type == "NONE" else spec.scale_type,
    )
    low, high = spec.min_value, spec.max_value
    match spec.kind:
        case Kind.DOUBLE:
            found.double_value_spec = DoubleValueSpec(min_value=low, max_value=high)
        case Kind.INTEGER:
            found.integer_value_spec = IntegerValueSpec(
                min_value=int(low or 0), max_value=int(high or 0)
            )
        case Kind.CATEGORICAL:
            found.categorical_value_spec = CategoricalValueSpec(values=spec.categorical_values)
        case Kind.DISCRETE:
            found.discrete_value_spec = DiscreteValueSpec(values=spec.discrete_values)
    return found
