"""A search by Optuna: one trial is one Hydra job is one nested MLflow run.

The study lives in an Optuna storage, so a search is resumed, and shared by several invocations,
up to a total number of trials. The trial of a process that is gone is tried again under the name
of its job: if that had finished, the store has its result, and nothing runs twice. What a trial is
told comes from validation figures alone: the jobs of a search never open a test set.
"""

from __future__ import annotations

import platform
import time
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.base.errors import ConfigError, StoreError
from sweep.base.processes import beating, is_gone, own_process
from sweep.base.redact import without_password
from sweep.tracking.retry import Retrying

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import optuna

    from sweep.results.goals import Objective

_POLL_SECONDS = 0.2
_PATIENCE = 50


def open_study(
    name: str, storage: str, goal: Objective, about: Mapping[str, str], sampler: Any
) -> optuna.Study:
    """The study of that name, begun or gone on with.

    Args:
        name: the study's.
        storage: an Optuna storage URL, or `journal:///FILE` for Optuna's append-only log.
        goal: what it is told.
        about: what is searched and what stays the same, by name; a study that goes on keeps it.
        sampler: an Optuna sampler, or None for Optuna's own choice.

    Raises:
        StoreError: the storage cannot be opened.
        ConfigError: the study that is there searches something else or for something else.
    """
    import optuna

    with _opening(storage) as opened:
        try:
            study = optuna.create_study(
                storage=opened,
                study_name=name,
                directions=["maximize"] * len(goal.names),
                sampler=sampler,
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names(list(goal.names))
            study.set_user_attr("asked", {"goal": goal.signature(), "space": dict(about)})
        except optuna.exceptions.DuplicatedStudyError:
            study = optuna.load_study(storage=opened, study_name=name, sampler=sampler)
            if sampler is not None:
                sampler.reseed_rng()  # the same seed would draw the points again that are there
    _check_same(study, goal, about)
    return study


def find_study(
    name: str, storage: str, goal: Objective, about: Mapping[str, str]
) -> optuna.Study | None:
    """The study of that name if there is one; nothing is made. Arguments as in `open_study`."""
    import optuna

    kind, _, path = storage.partition(":///")
    if kind in ("sqlite", "journal") and not Path(path).exists():
        return None
    with _opening(storage) as opened:
        if name not in optuna.get_all_study_names(opened):
            return None
        study = optuna.load_study(storage=opened, study_name=name)
    _check_same(study, goal, about)
    return study


def _check_same(study: optuna.Study, goal: Objective, about: Mapping[str, str]) -> None:
    asked = _asked(study)
    given, wanted = asked.get("space"), dict(about)
    pairs = [("what it maximises", asked.get("goal"), goal.signature())]
    if isinstance(given, dict):
        for key in sorted({*given, *wanted}):
            rule = f"its search space and what its jobs share, {key} among it"
            pairs.append((rule, given.get(key, "nothing"), wanted.get(key, "nothing")))
    else:
        pairs.append(
            ("a description of its search space", "that of an earlier version", str(wanted))
        )
    for rule, then, now in pairs:
        if then != now:
            raise ConfigError(
                f"a study that goes on must keep {rule}. Received: {now}; study "
                f"{study.study_name} has {then}. Give hydra.sweeper.study_name another name."
            )


@contextmanager
def _opening(url: str) -> Iterator[Any]:
    """A storage as Optuna opens it; folders are made where it would not."""
    import optuna
    from optuna import storages
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    kind, _, path = url.partition(":///")
    try:
        if kind in ("sqlite", "journal"):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        if kind == "journal":
            yield storages.JournalStorage(JournalFileBackend(path))
            return
        # Of several who make the tables at once all but one are told that there are some.
        waiting = Retrying(
            storages,
            lambda error: "already exists" in str(error),
            seconds=_POLL_SECONDS * _PATIENCE,
        )
        yield waiting.get_storage(url)
    except Exception as error:
        raise StoreError(
            "hydra.sweeper.storage must be a storage that Optuna can open. "
            f"Received: {without_password(url)}, which says: "
            f"{without_password(str(error).splitlines()[0][:200])}."
        ) from error


def _asked(study: optuna.Study) -> Mapping[str, Any]:
    """What the study was begun for; who begins it at this moment has still to write it down."""
    for _ in range(_PATIENCE):
        if "asked" in study.user_attrs:
            break
        time.sleep(_POLL_SECONDS)
    return dict(study.user_attrs.get("asked", {}))


def take(study: optuna.Study, total: int, most: int) -> list[optuna.Trial]:
    """Ask for trials that are still needed.

    Several workers may ask at once, so each counts again once its trial is running, and gives it
    back if they are too many: whoever came last has seen all others.

    Args:
        study: the study.
        total: how many trials it is to have finished.
        most: how many are wanted at once.

    Returns:
        Trials to run, at most `most`; none where living workers are at the rest.
    """
    taken: list[optuna.Trial] = []
    while len(taken) < most and _counted(study) < total:
        trial = study.ask()
        trial.set_user_attr("worker", f"{platform.node()} {own_process()}")
        trial.set_user_attr("beat", time.time())
        if _counted(study) > total:
            asked = study.get_trials(deepcopy=False)[trial.number]
            fixed = asked.system_attrs.get("fixed_params", {})
            give_back(study, trial.number, fixed, job_of(trial) if fixed else None)
            break
        taken.append(trial)
    return taken


def _counted(study: optuna.Study) -> int:
    from optuna.trial import TrialState

    states = (TrialState.COMPLETE, TrialState.RUNNING)
    return len(study.get_trials(deepcopy=False, states=states))


def job_of(trial: optuna.Trial | optuna.trial.FrozenTrial) -> int:
    """The number of a trial's job: its own, or that of the lost trial which it stands for."""
    return int(trial.user_attrs.get("job", trial.number))


def give_back(study: optuna.Study, number: int, params: Mapping[str, Any], job: int | None) -> None:
    """End a trial that nobody works at; with a job's number it is tried again."""
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    # Only whoever ends the trial may ask for another; the second to try is told that it has ended.
    with suppress(ValueError, UpdateFinishedTrialError):
        study.tell(number, state=TrialState.FAIL)
        if job is not None:
            study.enqueue_trial(dict(params), user_attrs={"job": job})


def orphans(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Running trials whose worker is gone: its process on this machine, or silent elsewhere."""
    from optuna.trial import TrialState

    found = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        host, _, process = str(trial.user_attrs.get("worker", "")).partition(" ")
        beat = float(trial.user_attrs.get("beat", 0)) or (
            trial.datetime_start.timestamp() if trial.datetime_start else 0
        )
        if is_gone(host, process, beat):
            found.append(trial)
    return found


@contextmanager
def heartbeat(trials: Sequence[optuna.Trial]) -> Iterator[None]:
    """Say for as long as the block runs that these trials are being worked at."""
    from optuna.exceptions import OptunaError

    def beat() -> None:
        for trial in trials:
            with suppress(OptunaError):  # a busy storage; the next beat will do
                trial.set_user_attr("beat", time.time())

    with beating(beat):
        yield
