"""One invocation of a search: trials through Hydra's launcher until the study has its total."""

from __future__ import annotations

import re
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.base import files
from sweep.base.errors import ConfigError
from sweep.jobs import identity as ledger
from sweep.jobs import inputs
from sweep.jobs.config import FolderDataset
from sweep.reports import study as findings
from sweep.results import goals
from sweep.results.records import Record
from sweep.sweeps import console, study
from sweep.sweeps.invocation import command_of, ending, interruptible, joined_run, value_of
from sweep.sweeps.overrides import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import optuna
    from hydra.core.utils import JobReturn

    from sweep.jobs.config import Config
    from sweep.results.goals import Objective
    from sweep.sweeps.space import Space
    from sweep.tracking.store import Store

    Compose = Callable[[Sequence[str]], Config]
    Launch = Callable[[Sequence[Sequence[str]], int], Sequence[JobReturn]]

_WAIT_SECONDS = 1.0


@dataclass(frozen=True)
class Settings:
    """How to search (`hydra.sweeper`).

    Attributes:
        study_name: which study; the same name goes on with it. None is a name made of objective,
            dataset and seed.
        storage: an Optuna storage URL.
        n_trials: how many trials the study is to have finished, over all invocations.
        n_jobs: how many go to the launcher together.
        sampler: an Optuna sampler, or None.
        maximise: `accuracy`, `resistance` or both, the default.
        constraints: figures that must be at least so high, by name.
    """

    study_name: str | None
    storage: str
    n_trials: int
    n_jobs: int
    sampler: Any = None
    maximise: Sequence[str] | None = None
    constraints: Mapping[str, float] | None = None


def run(settings: Settings, space: Space, compose: Compose, launch: Launch) -> None:
    """Search until the study has its trials, then tell what it found.

    Args:
        settings: how.
        space: what is varied.
        compose: makes a checked configuration from overrides.
        launch: runs jobs, given by their overrides, through Hydra's launcher; the second
            argument is the number of the first.

    Raises:
        SystemExit: with 1 where the trials did not all succeed, 130 or 143 after an interruption.
        SweepError: nothing was started.
    """
    from sweep.tracking.opening import open_store

    if settings.n_trials < 1 or settings.n_jobs < 1:
        raise ConfigError(
            "hydra.sweeper.n_trials and n_jobs must be at least 1. "
            f"Received: n_trials={settings.n_trials}, n_jobs={settings.n_jobs}."
        )
    first, *_ = [compose(overrides) for overrides in (space.fixed, *space.corners())]
    goal = goals.find(first.objective.name, settings.maximise, settings.constraints)
    name = settings.study_name or f"{goal.name}_{first.dataset.name}_seed{first.seed}"
    inputs.check(first)
    about = space.shared(ledger.settings(first)) | space.described() | _content(first)
    if first.plan:
        begun = study.find_study(name, settings.storage, goal, about)
        done = len(findings.complete(begun)) if begun else 0
        print(f"study {name}: {done} of {settings.n_trials} trials are done; {goal.signature()}")
        return
    kept = study.open_study(name, settings.storage, goal, about, settings.sampler)
    store = open_store(Path(first.paths.mlruns), first.tracking.experiment)
    store.close_orphaned_runs()
    identity = f"study/{_safe(name)}"
    details = {"study": name, "trials": settings.n_trials, "goal": goal.signature()}
    with joined_run(store, identity, details) as run_id:
        worker = Worker(kept, settings, space, goal, identity, launch)
        ended, errors = worker.work()
        with ending(store, ended) as store:
            store.close_orphaned_runs()
            console.show_failures(errors)
            done = len(findings.complete(kept))
            if done and not ended:
                tests = _Tests(space, compose, launch, identity, settings.n_trials)
                _report(kept, goal, store, run_id, tests if done >= settings.n_trials else None)
            if ended:
                print(
                    f"interrupted: {done} of {settings.n_trials} trials are done; "
                    "the same command goes on",
                    file=sys.stderr,
                )
        if done < settings.n_trials:
            raise SystemExit(1)


def _content(config: Config) -> dict[str, str]:
    """A name for what the files hold; the stand-in's are named by its settings."""
    if not config.dataset.made or config.badnet.path:
        return {"the content of B and its sets": str(ledger.identify(config).data)}
    if not isinstance(config.dataset, FolderDataset):
        return {}
    return {"the content of dataset.images": inputs.find(config).badnet.parents[1].name}


def _safe(name: str) -> str:
    """A study's name as queries of stores can hold it, told apart from others'."""
    safe = re.sub(r"[^\w.+-]", "_", name)
    return safe if safe == name else f"{safe}-{files.key(name)[:8]}"


def _report(
    kept: optuna.Study, goal: Objective, store: Store, run_id: str, tests: _Tests | None
) -> None:
    """Log and print what the study found; `tests` is None while it has not all its trials."""
    from sweep.reports import plots

    trials, best = findings.complete(kept), findings.front(kept)
    tested = tests(best[0]) if best and tests is not None else None
    text = findings.markdown(kept.study_name, goal, trials, best, tested)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files.write_text(folder / "trials.csv", findings.as_csv(trials, best))
        files.write_text(folder / "study.md", text)
        for title, figure in findings.draw(kept, goal, best).items():
            plots.save(figure, folder / "plots" / title)
        store.log_files(run_id, folder)
    store.tag(run_id, {"mlflow.note.content": text})
    if best:
        store.log_figures(run_id, findings.figures(best, tested))
    print(text)


@dataclass(frozen=True)
class _Tests:
    """Runs the chosen trial's job with the test sets, once, next to the baseline's."""

    space: Space
    compose: Compose
    launch: Launch
    identity: str
    number: int

    def __call__(self, trial: optuna.trial.FrozenTrial) -> tuple[Record, Record] | None:
        """The rows of the chosen job and of the baseline at the same drop, if both succeed."""
        from optuna.trial import FixedTrial

        chosen = self.space.suggest(FixedTrial(trial.params))
        x = self.compose(chosen)
        kept = [line for line in self.space.fixed if not line.lstrip("+").startswith(_VARIED)]
        own = ["criterion=mean_activation", "ordering=increasing"]
        baseline = [*kept, *own, f"drop={x.drop!r}", f"stop={x.stop}"]
        marks = ["objective=none", f"tracking.sweep={quote(self.identity)}"]
        jobs = [[*chosen, *marks], [*baseline, *marks]]
        _, returns = interruptible(partial(self.launch, jobs, self.number))
        rows = [value_of(back) for back in returns]
        console.show_failures(
            [
                (command_of(job), row)
                for job, row in zip(jobs, rows, strict=False)
                if not isinstance(row, Record)
            ]
        )
        done = [row for row in rows if isinstance(row, Record)]
        return (done[0], done[1]) if len(done) == len(jobs) else None


_VARIED = ("criterion", "ordering=", "drop=", "stop=", "objective=")


@dataclass
class Worker:
    """What this invocation does for a study."""

    study: optuna.Study
    settings: Settings
    space: Space
    goal: Objective
    identity: str
    launch: Launch

    def work(self) -> tuple[int, list[tuple[str, Exception]]]:
        """Run trials until the total is there; an exit code if interrupted, and the errors."""
        errors: list[tuple[str, Exception]] = []
        total, most = self.settings.n_trials, self.settings.n_jobs
        while len(findings.complete(self.study)) < total:
            for lost in study.orphans(self.study):
                study.give_back(self.study, lost.number, lost.params, study.job_of(lost))
            # A trial whose job fails is not counted, so failures must end a search of their own.
            if len(errors) >= max(3, total // 10):
                break
            trials = study.take(self.study, total, most)
            if not trials:
                time.sleep(_WAIT_SECONDS)
                continue
            jobs = [
                [*self.space.suggest(trial), *self._marks(study.job_of(trial))] for trial in trials
            ]
            with study.heartbeat(trials):
                ended, returns = interruptible(partial(self.launch, jobs, trials[0].number))
                errors += self._tell(trials, jobs, returns)
            if ended:
                return ended, errors
            print(f"{len(findings.complete(self.study))} of {total} trials", file=sys.stderr)
        return 0, errors

    def _marks(self, number: int) -> list[str]:
        return [
            f"trial={quote(f'{self.study.study_name}/{number}')}",
            f"tracking.sweep={quote(self.identity)}",
        ]

    def _tell(
        self,
        trials: Sequence[optuna.Trial],
        jobs: Sequence[Sequence[str]],
        returns: Sequence[JobReturn],
    ) -> list[tuple[str, Exception]]:
        errors = []
        for trial, job, back in zip(trials, jobs, returns, strict=False):
            value = value_of(back)
            if isinstance(value, Record):
                self._finish(trial, value)
            else:
                study.give_back(self.study, trial.number, trial.params, None)
                errors.append((command_of(job), value))
        for trial in trials[len(returns) :]:  # interrupted: tried again by whoever goes on
            study.give_back(self.study, trial.number, trial.params, study.job_of(trial))
        return errors

    def _finish(self, trial: optuna.Trial, row: Record) -> None:
        findings.note(trial, row, self.goal)
        for name, missing in self.goal.missing(row).items():
            trial.set_constraint(name, missing)
        self.study.tell(trial, self.goal.values(row), skip_if_finished=True)


__all__ = ["Settings", "Worker", "run"]
