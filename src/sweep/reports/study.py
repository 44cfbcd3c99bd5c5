"""What a search found: its trials as a table, its plots, the chosen trial and why.

The choice is made of what trials were told, which is validation figures; only then is the chosen
job run with the test sets, next to the baseline at the same drop.
"""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.base import files
from sweep.reports import tables
from sweep.results.intervals import interval, wilson
from sweep.results.records import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import optuna
    from optuna.trial import FrozenTrial

    from sweep.results.goals import Objective
    from sweep.results.records import Record

    # Runs the chosen job and the baseline's with the test sets.
    Tests = Callable[[FrozenTrial], tuple[Record, Record] | None]

_SHOWN = tuple(f"{net}/test_{rate}" for net in NETWORKS for rate in ("accuracy", "asr"))


def complete(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that have been told their figures."""
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def note(trial: optuna.Trial, row: Record, goal: Objective) -> None:
    """Keep with a trial what its table shows of it, all from validation."""
    trial.set_user_attr("figures", goal.figures(row))
    trial.set_user_attr("pruned", row.stop.pruned)
    trial.set_user_attr("run", row.run_id)


def front(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that keep the constraints and that none beats in every figure; best sum first.

    Of trials with the same figures, which often made the same B', the first stands for all.
    """
    best = sorted(study.best_trials, key=lambda trial: (-sum(trial.values), trial.number))
    return list({tuple(trial.values): trial for trial in reversed(best)}.values())[::-1]


def why(goal: Objective, best: Sequence[FrozenTrial]) -> str:
    """Why the first of the best is chosen, in one sentence."""
    kept = "".join(f", with {name} at least {least:g}" for name, least in goal.least.items())
    names = " + ".join(goal.names)
    return (
        f"Trial {best[0].number} has the largest {names} on validation "
        f"({sum(best[0].values):.4f}){kept}. Trials that none beats: {len(best)}."
    )


def report(
    study: optuna.Study, goal: Objective, store: Any, run_id: str, tests: Tests | None
) -> None:
    """Log and print what the study found.

    Args:
        study: with one finished trial at least.
        goal: what it was told.
        store: where the parent run lies.
        run_id: the parent run, which gets tables and plots.
        tests: runs the chosen job with the test sets; None while the study has not its trials.
    """
    trials, best = complete(study), front(study)
    rows = tests(best[0]) if best and tests is not None else None
    text = markdown(study.study_name, goal, trials, best, rows)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files.write_text(folder / "trials.csv", as_csv(trials, best))
        files.write_text(folder / "study.md", text)
        _plots(study, goal, best, folder)
        store.log_files(run_id, folder)
    store.tag(run_id, {"mlflow.note.content": text})
    if best:
        chosen = {"chosen/trial": float(best[0].number)} | _figures("chosen", best[0])
        if rows is not None:
            for title, row in zip(("chosen", "baseline"), rows, strict=True):
                chosen |= {f"{title}/{name}": row.figures[name].rate for name in _SHOWN}
        store.log_figures(run_id, chosen)
    print(text)


def _figures(prefix: str, trial: FrozenTrial) -> dict[str, float]:
    return {f"{prefix}/valid_{k}": float(v) for k, v in trial.user_attrs["figures"].items()}


def _plots(study: optuna.Study, goal: Objective, best: Sequence[FrozenTrial], folder: Path) -> None:
    from sweep.reports import charts, plots

    trials = complete(study)
    points = [trial.user_attrs["figures"] for trial in trials]
    numbers = {trial.number for trial in best}
    on_front = [trial.number in numbers for trial in trials]
    chosen = best[0].number if best else None
    marked = [trial.number == chosen for trial in trials]
    drawn = {
        "front": charts.draw_front(points, on_front, marked, goal.name),
        "history": charts.draw_history([t.values for t in trials], goal.names),
        "importance": charts.draw_importance(importance(study, goal)),
    }
    for name, figure in drawn.items():
        plots.save(figure, folder / "plots" / name)


def importance(study: optuna.Study, goal: Objective) -> Mapping[str, Mapping[str, float]]:
    """How much of each figure's variance each free setting explains; empty if too few trials.

    By fANOVA (Hutter, Hoos and Leyton-Brown, ICML 2014). Conditional settings are left out: they
    have a value in some trials only.
    """
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    everywhere = set.intersection(*(set(trial.params) for trial in complete(study)))
    found: dict[str, Mapping[str, float]] = {}
    for index, name in enumerate(goal.names):

        def target(trial: FrozenTrial, index: int = index) -> float:
            return float(trial.values[index])

        try:
            found[name] = get_param_importances(
                study,
                evaluator=FanovaImportanceEvaluator(seed=0),
                params=sorted(everywhere),
                target=target,
            )
        except (RuntimeError, ValueError):  # fewer than two trials, or all alike
            continue
    return found


def as_csv(trials: Sequence[FrozenTrial], best: Sequence[FrozenTrial]) -> str:
    """A line per finished trial: number, figures, channels pruned, front, run and settings."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    params = list(dict.fromkeys(name for trial in trials for name in trial.params))
    writer.writerow(
        ["trial", "accuracy", "resistance", "pruned_channels", "on_front", *params, "run_id"]
    )
    numbers = {trial.number for trial in best}
    for trial in trials:
        notes = trial.user_attrs
        figures = [notes["figures"][name] for name in ("accuracy", "resistance")]
        settings = [trial.params.get(name, "") for name in params]
        on_front = int(trial.number in numbers)
        writer.writerow(
            [trial.number, *figures, notes["pruned"], on_front, *settings, notes["run"]]
        )
    return text.getvalue()


def markdown(
    name: str,
    goal: Objective,
    trials: Sequence[FrozenTrial],
    best: Sequence[FrozenTrial],
    tested: tuple[Record, Record] | None,
) -> str:
    """The study in words and tables.

    Args:
        name: the study's.
        goal: what it was told.
        trials: that finished.
        best: none beats them, the chosen one first.
        tested: rows of the chosen job and of the baseline's with test figures.
    """
    title = f"# Study {tables.inert(name)}"
    lines = [title, "", f"{len(trials)} trials finished; {goal.signature()}.", ""]
    if not best:
        return "\n".join([*lines, "No trial keeps the constraints, so none is chosen.", ""])
    lines += [why(goal, best), "", "## Best trials, validation sets, percent", ""]
    attack = "ASR" if goal.name == "oracle" else "suspicion"
    lines += [
        f"| trial | accuracy | {attack} | pruned | settings |",
        "| ---: | ---: | ---: | ---: | --- |",
    ]
    for trial in best:
        figures = trial.user_attrs["figures"]
        lines.append(
            f"| {trial.number} | {100 * figures['accuracy']:.2f} "
            f"| {100 * (1 - figures['resistance']):.2f} | {trial.user_attrs['pruned']} "
            f"| {tables.inert(_settings(trial.params))} |"
        )
    if tested is not None:
        lines += ["", "## The chosen trial, test sets, percent with 95% Wilson intervals", ""]
        lines += tests_table(*tested)
    return "\n".join([*lines, ""])


def _settings(params: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name.lstrip('+')}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in params.items()
    )


def tests_table(chosen: Record, baseline: Record) -> list[str]:
    """The chosen job next to the baseline, as Markdown, and what may be said of the difference."""
    drop = 100 * float(str(chosen.settings["drop"]))
    lines = [f"| figure | chosen | baseline at X = {drop:.3g}% |", "| --- | ---: | ---: |"]
    for name in _SHOWN:
        network, rate = name.split("/test_")
        network = {"badnet": "B", "repaired": "B'", "goodnet": "G"}[network]
        rate = "ASR" if rate == "asr" else rate
        lines.append(
            f"| {network} {rate} | {interval(chosen.figures[name])} "
            f"| {interval(baseline.figures[name])} |"
        )
    lines.append(f"| channels pruned | {chosen.stop.pruned} | {baseline.stop.pruned} |")
    ours, theirs = (row.figures["goodnet/test_asr"] for row in (chosen, baseline))
    widths = [high - low for low, high in map(wilson, (ours, theirs))]
    gain = theirs.rate - ours.rate
    more = "more" if gain > max(widths) else "no more"
    verdict = (
        f"G's ASR falls by {100 * gain:.2f} points against the baseline, {more} than the wider "
        f"interval ({100 * max(widths):.2f} points)."
    )
    return [*lines, "", verdict]
