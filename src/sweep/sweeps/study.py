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
from sweep.base.retry import Retrying

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import optuna

    from sweep.results.goals import Objective
    from sweep.sweeps.space import Space

_POLL_SECONDS = 0.2
_PATIENCE = 50


def open_study(
    name: str, storage: str, goal: Objective, space: Space, sampler: Any
) -> optuna.Study:
    """The study of that name, begun or gone on with.

    Args:
        name: the study's.
        storage: an Optuna storage URL, or `journal:///FILE` for Optuna's append-only log.
        goal: what it is told.
        space: what is searched.
        sampler: an Optuna sampler, or None for Optuna's own choice.

    Raises:
        StoreError: the storage cannot be opened.
        ConfigError: the study that is there searches another space or for something else.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    wanted = {"goal": goal.signature(), "space": space.signature()}
    try:
        opened = _storage(storage)
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
            study.set_user_attr("asked", wanted)
        except optuna.exceptions.DuplicatedStudyError:
            study = optuna.load_study(storage=opened, study_name=name, sampler=sampler)
            if sampler is not None:
                sampler.reseed_rng()  # the same seed would draw the points again that are there
        given = _asked(study)
    except Exception as error:
        raise StoreError(
            "hydra.sweeper.storage must be a storage that Optuna can open. "
            f"Received: {without_password(storage)}, which says: "
            f"{without_password(str(error).splitlines()[0][:200])}."
        ) from error
    for part, rule in (("goal", "what it maximises"), ("space", "its search space")):
        if given.get(part) != wanted[part]:
            raise ConfigError(
                f"a study that goes on must keep {rule}. Received: {wanted[part]}; study {name} "
                f"has {given.get(part)}. Give hydra.sweeper.study_name another name."
            )
    return study


def _storage(url: str) -> Any:
    """A storage as Optuna opens it; folders are made where it would not."""
    from optuna import storages
    from optuna.storages.journal import JournalFileBackend

    kind, _, path = url.partition(":///")
    if kind in ("sqlite", "journal"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    if kind == "journal":
        return storages.JournalStorage(JournalFileBackend(path))
    # Of several who make the tables at once all but one are told that there are some.
    waiting = Retrying(
        storages, lambda error: "already exists" in str(error), seconds=_POLL_SECONDS * _PATIENCE
    )
    return waiting.get_storage(url)


def _asked(study: optuna.Study) -> Mapping[str, str]:
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
