"""One invocation of a search: trials through Hydra's launcher until the study has its total."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep import session, study
from sweep.config import Objective
from sweep.errors import ConfigError, SweepError
from sweep.objectives import OBJECTIVES
from sweep.results import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import optuna
    from hydra.core.utils import JobReturn

    from sweep.config import Config
    from sweep.study import Space
    from sweep.tracking import Store

    Compose = Callable[[Sequence[str]], Config]
    Launch = Callable[[Sequence[Sequence[str]], int], Sequence[JobReturn]]

_WAIT_SECONDS = 1.0


@dataclass(frozen=True)
class Settings:
    """How to search (`hydra.sweeper`).

    Attributes:
        study_name: which study; the same name goes on with it.
        storage: an Optuna storage URL.
        n_trials: how many trials the study is to have finished, over all invocations.
        n_jobs: how many go to the launcher together.
        sampler: an Optuna sampler, or None.
        pruner: an Optuna pruner, or None.
    """

    study_name: str
    storage: str
    n_trials: int
    n_jobs: int
    sampler: Any
    pruner: Any


def run(settings: Settings, space: Space, compose: Compose, launch: Launch) -> None:
    """Search until the study has its trials, then tell what it found.

    Args:
        settings: how.
        space: what is varied.
        compose: makes a checked configuration from overrides.
        launch: runs jobs, given by their overrides, through Hydra's launcher; the second
            argument is the number of the first.

    Raises:
        SystemExit: with 1 where no trial succeeds, 130 or 143 after an interruption.
        SweepError: nothing was started.
    """
    from sweep import tracking

    if settings.n_trials < 1 or settings.n_jobs < 1:
        raise ConfigError(
            "hydra.sweeper.n_trials and n_jobs must be at least 1. "
            f"Received: n_trials={settings.n_trials}, n_jobs={settings.n_jobs}."
        )
    first = _probe(space, compose)
    objective = OBJECTIVES[first.objective.name]
    kept = study.open_study(
        settings.study_name,
        settings.storage,
        objective,
        space,
        settings.sampler,
        settings.pruner,
    )
    store = tracking.open_store(Path(first.paths.mlruns), first.tracking.experiment)
    store.bury_the_dead()
    identity = f"study/{settings.study_name}"
    details = {"study": settings.study_name, "trials": settings.n_trials}
    with session.joined_run(store, identity, details | {"objective": objective.name}) as run_id:
        worker = _Worker(kept, settings, space, store, identity, launch)
        ended, errors = worker.work()
        session.show_failures(errors)
        report(kept, store, run_id, settings.n_trials)
        if ended:
            print("interrupted: the same command goes on", file=sys.stderr)
            raise SystemExit(ended)
        if errors and len(_complete(kept)) < settings.n_trials:
            raise SystemExit(1)


def _probe(space: Space, compose: Compose) -> Config:
    """Compose every choice of the space once, so that mistakes show before the first job."""
    first = compose(space.fixed)
    if first.objective is Objective.none:
        raise ConfigError(
            "objective must say what a search maximises: clean_only or oracle. "
            "Received: objective=none."
        )
    for name, known in space.free.items():
        ends = known.values if isinstance(known, study.Choice) else (known.low, known.high)
        for value in ends:
            inner = {
                key: inside.values[0] if isinstance(inside, study.Choice) else inside.low
                for key, inside in space.when.get((name, str(value)), {}).items()
            }
            chosen = {name: value} | inner
            compose([*space.fixed, *(f"{key}={given}" for key, given in chosen.items())])
    return first


def _complete(kept: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    from optuna.trial import TrialState

    return kept.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


@dataclass
class _Worker:
    """What this invocation does for a study."""

    study: optuna.Study
    settings: Settings
    space: Space
    store: Store
    identity: str
    launch: Launch

    def work(self) -> tuple[int, list[tuple[str, Exception]]]:
        """Run trials until the total is there; an exit code if interrupted, and the errors."""
        errors: list[tuple[str, Exception]] = []
        total, most = self.settings.n_trials, self.settings.n_jobs
        while len(_complete(self.study)) < total:
            self._adopt_orphans()
            # A trial whose job fails is not counted, so failures must end a search of their own.
            if len(errors) >= max(3, total // 10):
                break
            trials = study.take(self.study, total, most)
            if not trials:
                time.sleep(_WAIT_SECONDS)
                continue
            jobs = [
                [*study.suggest(trial, self.space), *self._marks(trial.number)] for trial in trials
            ]
            with study.heartbeat(trials):
                ended, returns = session.interruptible(partial(self.launch, jobs, trials[0].number))
                errors += self._tell(trials, jobs, returns)
            if ended:
                return ended, errors
            done = len(_complete(self.study))
            print(f"{done} of {total} trials", file=sys.stderr)
        return 0, errors

    def _marks(self, number: int) -> list[str]:
        name = self.settings.study_name
        return [f"trial='{name}/{number}'", f"tracking.sweep={self.identity}"]

    def _tell(
        self,
        trials: Sequence[optuna.Trial],
        jobs: Sequence[Sequence[str]],
        returns: Sequence[JobReturn],
    ) -> list[tuple[str, Exception]]:
        from optuna.trial import TrialState

        errors = []
        for trial, job, back in zip(trials, jobs, returns, strict=False):
            value = session.value_of(back)
            if isinstance(value, Row):
                self._finish(trial.number, value)
            else:
                self.study.tell(trial.number, state=TrialState.FAIL)
                errors.append((session.command_of(job), value))
        for trial in trials[len(returns) :]:  # interrupted: tried again by whoever goes on
            self.study.tell(trial.number, state=TrialState.FAIL)
            self.study.enqueue_trial(trial.params)
        return errors

    def _finish(self, number: int, row: Row) -> None:
        objective = OBJECTIVES[str(self.study.user_attrs["objective"])]
        self.study.tell(number, list(objective.values(row)), skip_if_finished=True)

    def _adopt_orphans(self) -> None:
        """Finish trials of lost workers from their runs, or have them tried again."""
        from optuna.trial import TrialState

        lost = study.orphans(self.study)
        if not lost:
            return
        rows = {
            str(past.row.settings.get("trial")): past.row
            for past in self.store.past_jobs()
            if past.row is not None and past.status == "FINISHED"
        }
        for trial in lost:
            row = rows.get(f"{self.settings.study_name}/{trial.number}")
            if row is not None:
                self._finish(trial.number, row)
            else:
                self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
                self.study.enqueue_trial(trial.params)


def report(kept: optuna.Study, store: Store, run_id: str, total: int) -> None:
    """Log and print what the study found."""
    raise NotImplementedError


__all__ = ["Settings", "SweepError", "run"]
