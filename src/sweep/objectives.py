"""What a search maximises, from validation figures alone.

The jobs of a search compute no test figures, so none can be read here: `values` fails on a name
that a job has not counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweep.results import Row


@dataclass(frozen=True)
class Objective:
    """Two figures to maximise together.

    Attributes:
        name: as in `objective=...`.
        names: what a person calls the two figures.
        attack: which figure of B' stands for the attack's survival; one minus it is maximised.
    """

    name: str
    names: tuple[str, str]
    attack: str

    @property
    def directions(self) -> tuple[str, str]:
        """As Optuna wants them."""
        return ("maximize", "maximize")

    def values(self, row: Row) -> tuple[float, float]:
        """Both figures of a job."""
        figures = row.figures
        return figures["repaired/valid_accuracy"].rate, 1 - figures[self.attack].rate


OBJECTIVES = {
    "clean_only": Objective(
        "clean_only", ("clean accuracy", "1 - suspicion"), "repaired/valid_suspicion"
    ),
    "oracle": Objective("oracle", ("clean accuracy", "1 - ASR"), "repaired/valid_asr"),
}
