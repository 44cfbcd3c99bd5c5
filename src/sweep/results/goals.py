"""What a search maximises, from validation figures alone.

The jobs of a search compute no test figures, so none can be read here: `values` fails on a name
that a job has not counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweep.base.errors import ConfigError
from sweep.results import metrics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sweep.results.records import Record

# The figure of B' that stands for the attack's survival; resistance is one minus it.
_ATTACK = {"clean_only": "repaired/valid_suspicion", "oracle": "repaired/valid_asr"}
_NAMES = ("accuracy", "resistance")


@dataclass(frozen=True)
class Objective:
    """Figures to maximise, on the validation sets.

    Attributes:
        name: as in `objective=...`.
        names: `accuracy` of B', its `resistance` to the attack, or both.
        least: figures that must be at least so high, by name.
    """

    name: str
    names: tuple[str, ...]
    least: Mapping[str, float]

    @property
    def attack(self) -> str:
        """The figure that stands for the attack."""
        return _ATTACK[self.name]

    def signature(self) -> str:
        """All of it as text, to compare with that of a study that goes on."""
        rules = "".join(f", {name} >= {least:g}" for name, least in sorted(self.least.items()))
        return f"objective {self.name}: {' and '.join(self.names)}{rules}"

    def figures(self, job: Record) -> dict[str, float]:
        """Accuracy and resistance of a job."""
        found = job.figures
        whole = found["repaired/valid_accuracy"]
        return {
            # A repair knows the images that it tuned on by heart.
            "accuracy": found.get(metrics.DECIDING, whole).rate,
            "resistance": 1 - found[self.attack].rate,
        }

    def values(self, job: Record) -> list[float]:
        """What Optuna is told of a job."""
        figures = self.figures(job)
        return [figures[name] for name in self.names]

    def missing(self, job: Record) -> dict[str, float]:
        """By how much a job misses each constraint; at most 0 where it keeps it."""
        figures = self.figures(job)
        return {name: least - figures[name] for name, least in self.least.items()}


def find(
    name: str, maximise: Sequence[str] | None, constraints: Mapping[str, float] | None
) -> Objective:
    """What a search is asked for.

    Args:
        name: `clean_only` or `oracle`.
        maximise: `accuracy`, `resistance` or both, the default.
        constraints: figures that must be at least so high, by name.

    Raises:
        ConfigError: it cannot be searched for.
    """
    names, least = tuple(maximise or _NAMES), dict(constraints or {})
    if name not in _ATTACK:
        raise ConfigError(
            f"objective must say what a search maximises: {' or '.join(_ATTACK)}. "
            f"Received: objective={name}."
        )
    if not {*names, *least} <= {*_NAMES} or len({*names}) < len(names):
        raise ConfigError(
            f"hydra.sweeper.maximise and constraints must name {' and '.join(_NAMES)}. "
            f"Received: maximise={[*names]}, constraints={least}."
        )
    for bound in least.values():
        if not 0 <= bound <= 1:
            raise ConfigError(
                f"hydra.sweeper.constraints must give fractions in 0..1. Received: {least}."
            )
    return Objective(name, names, least)
