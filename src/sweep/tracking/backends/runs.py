"""Runs as both ways into a store give them, and what they are searched by."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    Value = tuple[str, float, int]


# How long this project lets a tag's value be, in characters, which any store takes.
LENGTH = 5000


@dataclass(frozen=True)
class Run:
    """A run, with times in milliseconds since 1970 and the URI of its files.

    Of its tags those are there that this project reads.
    """

    run_id: str
    name: str
    status: str
    start: int
    end: int | None
    place: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Query:
    """What runs must have to be found; what is left empty does not matter.

    Attributes:
        tags: tags with these values.
        params: params with these values.
        status: MLflow's word.
        beginning: of the run's id.
        ids: one of these ids.
        start: when it began.
    """

    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    status: str = ""
    beginning: str = ""
    ids: Sequence[str] = ()
    start: int | None = None


@dataclass(frozen=True)
class Input:
    """An image set that a job read, as MLflow describes one.

    Attributes:
        name: which set it is.
        digest: the beginning of its SHA-256.
        source: JSON of where it lies.
        profile: JSON of how many images it has, and the whole SHA-256.
        context: what it is for.
    """

    name: str
    digest: str
    source: str
    profile: str
    context: str


class Runs(Protocol):
    """A way to the runs of one experiment: MLflow's client, or SQLite."""

    experiment_id: str

    def client(self) -> Any:
        """MLflow's client, for what is seldom done."""

    def held(self) -> AbstractContextManager[None]:
        """Hold open what is used while a run goes on."""

    def create(self, name: str, tags: Mapping[str, str], start: int) -> str:
        """Create a run whose status is RUNNING; its id."""

    def write(
        self,
        run_id: str,
        params: Mapping[str, str] | None = None,
        metrics: Sequence[Value] = (),
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log params, metrics by name, value and step, and tags."""

    def log_inputs(self, run_id: str, inputs: Sequence[Input]) -> None:
        """Log the image sets that a run read."""

    def create_model(self, run_id: str, name: str) -> tuple[str, str]:
        """Begin to log a Keras model; its id, and the URI of its folder."""

    def finish_model(self, run_id: str, model_id: str) -> None:
        """Mark a model whose files are there as ready, and as the run's output."""

    def set_status(self, run_id: str, status: str) -> None:
        """Set a run's status; one that is not RUNNING ends the run now."""

    def delete(self, run_id: str) -> None:
        """Mark a run as deleted."""

    def find(self, query: Query) -> list[Run]:
        """The runs that answer to a query, newest first."""
