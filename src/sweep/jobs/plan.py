"""What a grid would do: each cell's state, why it runs, and what the rest will take."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache
from itertools import chain
from statistics import median
from typing import TYPE_CHECKING

from sweep.base import files
from sweep.base.errors import SweepError
from sweep.jobs import identity as ledger
from sweep.jobs import inputs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sweep.jobs.config import Config

# B' twice, G, and G once more as a served model, each about as large as B; curve and plots.
_FILES_A_JOB, _BYTES_A_JOB = 6, 500_000


@dataclass(frozen=True)
class Plan:
    """The cells of a grid, in its order.

    Attributes:
        configs: one per cell.
        identities: what each is known by.
        cells: each one's state.
        runs: the store's runs of these cells, by configuration.
    """

    configs: Sequence[Config]
    identities: Sequence[ledger.Identity]
    cells: Sequence[ledger.Cell]
    runs: Mapping[str, Sequence[ledger.Past]]

    @property
    def waiting(self) -> list[int]:
        """Indices of the cells that are to run."""
        cells = enumerate(self.cells)
        return [index for index, cell in cells if cell.past is None and cell.refusal is None]

    @property
    def refused(self) -> dict[int, SweepError]:
        """Why cells cannot run, by index."""
        return {index: cell.refusal for index, cell in enumerate(self.cells) if cell.refusal}

    def states(self) -> str:
        """How many cells are done, and why the others run."""
        reasons = Counter(
            cell.state if cell.past or cell.refusal else cell.why for cell in self.cells
        )
        parts = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
        return f"{len(self.cells)} jobs: {parts}"

    def needs(self) -> str:
        """How long the rest will take, from past runs, and how much disk."""
        waiting = self.waiting
        if not waiting:
            return "nothing to run"
        runs = (run for past in self.runs.values() for run in past)
        took = [run.seconds for run in runs if run.seconds and run.status == "FINISHED"]
        time = f"about {_duration(median(took) * len(waiting))}" if took else "unknown time"
        size = sum(_bytes(self.configs[index]) for index in waiting)
        return f"{len(waiting)} to run: {time}, about {size / 1e6:.0f} MB of artifacts"


def make(configs: Sequence[Config], past: Sequence[ledger.Past]) -> Plan:
    """Judge every cell of a grid by the store's jobs, newest first."""
    runs = ledger.group(past)
    digest = cache(files.digest)
    identities = [ledger.identify(config, digest) for config in configs]
    refusals: dict[str, SweepError | None] = {}
    cells = []
    for config, identity in zip(configs, identities, strict=True):
        cell = ledger.judge(
            identity,
            runs.get(identity.config, []),
            rerun=config.rerun,
            cached=ledger.is_cached(config, identity),
        )
        if cell.past is None:
            read = str((inputs.find(config), config.layers, config.trigger_at, config.target))
            if read not in refusals:
                refusals[read] = _refusal(config)
            if refusal := refusals[read]:
                cell = ledger.Cell("refused", str(refusal), refusal=refusal)
        cells.append(cell)
    own = {identity.config for identity in identities}
    return Plan(configs, identities, cells, {key: runs[key] for key in runs if key in own} or runs)


def _refusal(config: Config) -> SweepError | None:
    try:
        inputs.check(config)
    except SweepError as error:
        return error
    return None


def shared_settings(configs: Sequence[Config]) -> dict[str, object]:
    """The settings that are the same in every cell of a grid, but for where files lie."""
    described = [ledger.settings(config) for config in configs]
    return {
        name: value
        for name, value in described[0].items()
        if all(name in each and each[name] == value for each in described)
    }


def _bytes(config: Config) -> int:
    path = inputs.find(config).badnet
    return _BYTES_A_JOB + _FILES_A_JOB * (path.stat().st_size if path.is_file() else 0)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def lines(plan: Plan) -> list[tuple[str, str, str]]:
    """A line for each cell: what varies in the grid, its state, and why it runs or which run."""
    told = [ledger.describe(config) for config in plan.configs]
    names = dict.fromkeys(chain.from_iterable(told))
    varied = [name for name in names if len({str(settings.get(name)) for settings in told}) > 1]
    return [
        (
            " ".join(f"{name}={settings[name]}" for name in varied if name in settings)
            or "the one job",
            cell.state,
            cell.why,
        )
        for settings, cell in zip(told, plan.cells, strict=True)
    ]
