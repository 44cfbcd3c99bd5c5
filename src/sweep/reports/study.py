"""What a search found: its trials as a table, its plots, the chosen trial and why.

The choice is made of what trials were told, which is validation figures; only then is the chosen
job run with the test sets, next to the baseline at the same drop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sweep.reports.tables import Table, inert, to_csv, to_markdown
from sweep.results.intervals import interval, wilson
from sweep.results.metrics import columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import optuna
    from matplotlib.figure import Figure
    from optuna.trial import FrozenTrial

    from sweep.results.goals import Objective
    from sweep.results.records import Count, Record


def complete(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that have been told their figures."""
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def note(trial: optuna.Trial, job: Record, goal: Objective) -> None:
    """Keep with a trial what its table shows of it, all from validation."""
    trial.set_user_attr("figures", goal.figures(job))
    trial.set_user_attr("pruned", job.stop.pruned)
    trial.set_user_attr("run", job.run_id)


def front(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that keep the constraints and that none beats in every figure; best sum first.

    Of trials with the same figures, which often made the same B', the first stands for all.
    """
    first: dict[tuple[float, ...], FrozenTrial] = {}
    for trial in sorted(study.best_trials, key=lambda trial: (-sum(trial.values), trial.number)):
        first.setdefault(tuple(trial.values), trial)
    return list(first.values())


def why(goal: Objective, best: Sequence[FrozenTrial]) -> str:
    """Why the first of the best is chosen, in one sentence."""
    kept = "".join(f", with {name} at least {least:g}" for name, least in goal.least.items())
    names = " + ".join(goal.names)
    return (
        f"Trial {best[0].number} has the largest {names} on validation "
        f"({sum(best[0].values):.4f}){kept}. Trials that none beats: {len(best)}."
    )


def figures(best: Sequence[FrozenTrial], tested: tuple[Record, Record] | None) -> dict[str, float]:
    """What is tracked of a study: figures of the chosen trial (the first), and test figures."""
    if not best:
        return {}
    found = {"chosen/trial": float(best[0].number)}
    found |= {f"chosen/valid_{k}": float(v) for k, v in best[0].user_attrs["figures"].items()}
    for title, job in zip(("chosen", "baseline"), tested or (), strict=False):
        found |= {f"{title}/{one.name}": job.figures[one.name].rate for one in columns([job])}
    return found


def draw(study: optuna.Study, goal: Objective, best: Sequence[FrozenTrial]) -> dict[str, Figure]:
    """The plots of a study, by name."""
    from sweep.reports import charts

    trials, numbers = complete(study), [trial.number for trial in best]
    points = [trial.user_attrs["figures"] for trial in trials]
    on_front = [trial.number in numbers for trial in trials]
    chosen = [trial.number in numbers[:1] for trial in trials]
    return {
        "front": charts.draw_front(points, on_front, chosen, goal.name),
        "history": charts.draw_history([trial.values for trial in trials], goal.names),
        "importance": charts.draw_importance(importance(study, goal)),
    }


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
    params = list(dict.fromkeys(name for trial in trials for name in trial.params))
    numbers = {trial.number for trial in best}
    lines = []
    for trial in trials:
        notes = trial.user_attrs
        rates = [notes["figures"][name] for name in ("accuracy", "resistance")]
        settings = [trial.params.get(name, "") for name in params]
        on_front = int(trial.number in numbers)
        lines.append([trial.number, *rates, notes["pruned"], on_front, *settings, notes["run"]])
    head = ["trial", "accuracy", "resistance", "pruned_channels", "on_front"]
    return to_csv([*head, *params, "run_id"], lines)


def markdown(
    name: str,
    goal: Objective,
    trials: Sequence[FrozenTrial],
    best: Sequence[FrozenTrial],
    tested: tuple[Record, Record] | None,
) -> str:
    """The study in words and tables.

    Of the trials, none beats the best ones, the chosen first; `tested` are the records of its job
    and of the baseline's with test figures.
    """
    lines = [f"# Study {inert(name)}", ""]
    lines += [f"{len(trials)} trials finished; {goal.signature()}.", ""]
    if not best:
        return "\n".join([*lines, "No trial keeps the constraints, so none is chosen.", ""])
    lines += [why(goal, best), "", "## Best trials, validation sets, percent", ""]
    attack = "ASR" if goal.name == "oracle" else "suspicion"
    header = ["settings", "trial", "accuracy", attack, "pruned"]
    lines += to_markdown(Table("", header, [_line(trial) for trial in best], words=1))
    if tested is not None:
        lines += ["", "## The chosen trial, test sets, percent with 95% Wilson intervals", ""]
        lines += tests_table(*tested)
    return "\n".join([*lines, ""])


def _line(trial: FrozenTrial) -> list[str]:
    found, pruned = trial.user_attrs["figures"], trial.user_attrs["pruned"]
    rates = (found["accuracy"], 1 - found["resistance"])
    numbers = [f"{100 * rate:.2f}" for rate in rates]
    return [_settings(trial.params), str(trial.number), *numbers, str(pruned)]


def _settings(params: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name.lstrip('+')}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in params.items()
    )


def tests_table(chosen: Record, baseline: Record) -> list[str]:
    """The chosen job next to the baseline, as Markdown, and what may be said of the difference."""
    lines = [
        [one.symbol, *(_cell(job, one.name) for job in (chosen, baseline))]
        for one in columns([chosen, baseline])
    ]
    lines.append(["channels pruned", str(chosen.stop.pruned), str(baseline.stop.pruned)])
    header = ["figure", "chosen", f"baseline at X = {chosen.x}"]
    table = to_markdown(Table("", header, lines, words=1))
    ours, theirs = (job.figures.get("goodnet/test_asr") for job in (chosen, baseline))
    return [*table, "", _verdict(ours, theirs)] if ours and theirs else table


def _cell(job: Record, name: str) -> str:
    return interval(job.figures[name]) if name in job.figures else ""


def _verdict(ours: Count, theirs: Count) -> str:
    widths = [high - low for low, high in map(wilson, (ours, theirs))]
    change = ours.rate - theirs.rate
    more = "more" if abs(change) > max(widths) else "no more"
    where = "higher" if change > 0 else "lower"
    return (
        f"G's ASR is {100 * abs(change):.2f} points {where} than the baseline's, {more} than the "
        f"wider interval ({100 * max(widths):.2f} points)."
    )
