"""`sweep.run`: one job from Python or a notebook, and its result as arrays."""

from __future__ import annotations

import io
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from sweep.base.errors import ConfigError
from sweep.jobs import config
from sweep.results.records import Record
from sweep.sweeps import overrides as typed

if TYPE_CHECKING:
    from collections.abc import Iterable

    import keras
    import pandas as pd
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Result:
    """What one job found out.

    Attributes:
        record: all of it, in counts.
        badnet: B; None where the job was tracked, and its files lie in its run.
        repaired: B'; likewise.
    """

    record: Record
    badnet: keras.Model | None = None
    repaired: keras.Model | None = None

    @property
    def figures(self) -> dict[str, float]:
        """Final figures by name, as `goodnet/test_asr`, each 0..1."""
        return {name: count.rate for name, count in self.record.figures.items()}

    @property
    def pruned(self) -> tuple[int, ...]:
        """The channels that B' is without, in the order of their removal."""
        return self.record.full.curve.channels[: self.record.stop.pruned]

    @property
    def curve(self) -> dict[str, NDArray[Any]]:
        """Columns of the pruning curve, each (K + 1,): entry k belongs to k channels removed.

        `channel` is -1 and `score` NaN at step 0, which removes nothing.
        """
        details = self.record.full
        traced, removed = details.curve, np.array(details.curve.channels, np.int64)
        columns: dict[str, NDArray[Any]] = {
            "step": np.arange(len(removed) + 1),
            "channel": np.concatenate([[-1], removed]),
            "score": np.concatenate([[np.nan], details.scores[removed]]),
        }
        return columns | traced.rates

    @property
    def goodnet(self) -> keras.Model:
        """G as one Keras model with N + 1 outputs.

        Raises:
            ValueError: the job was tracked; its run holds `goodnet.keras`.
        """
        if self.badnet is None or self.repaired is None:
            raise ValueError("a tracked job's networks are files of its run")
        from sweep.models.surgery import join_goodnet

        return join_goodnet(self.badnet, self.repaired)

    def to_pandas(self) -> pd.DataFrame:
        """The curve as a table with the index `step`."""
        import pandas as pd

        return pd.DataFrame(self.curve).set_index("step")

    def _repr_png_(self) -> bytes:
        """The curve, as notebooks show it."""
        from sweep.reports import plots, series, summary

        data, title = series.series([self.record])[0], summary.settings_name(self.record.settings)
        with io.BytesIO() as file:
            plots.draw_curve(data, title).savefig(file, format="png")
            return file.getvalue()


def run(overrides: Iterable[str] = (), *, track: bool = False) -> Result:
    """Do one job.

    Args:
        overrides: as on the command line, such as `drop=0.04`; one value each.
        track: whether the job is an MLflow run, or the result of one that is there.

    Returns:
        Its result, with B and B' where it is not tracked.

    Raises:
        SweepError: a setting, a file or a network cannot be used.
    """
    composed = _compose([typed.quote_paths(line) for line in overrides])
    checked = config.typed(composed)
    if track:
        return _tracked(checked, OmegaConf.to_yaml(composed, resolve=True))
    from sweep.jobs import inputs, pipeline

    inputs.check(checked)
    done = pipeline.run(checked)
    return Result(done.record, done.badnet, done.repaired)


def _compose(lines: list[str]) -> Any:
    """The configuration of one job; no state of Hydra is touched, so this works inside of jobs."""
    config.register()
    loader = ConfigLoaderImpl(create_config_search_path(str(config.folder())))
    try:
        composed = loader.load_configuration("config", ["tracking.sweep=''", *lines], RunMode.RUN)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(typed.explain(error)) from error
    with open_dict(composed):
        composed.pop("hydra")
    return composed


def _tracked(checked: config.Config, composed: str) -> Result:
    from sweep.sweeps import job
    from sweep.tracking.opening import open_store

    with tempfile.TemporaryDirectory(prefix="sweep-") as folder:
        brief = job.run_job(checked, composed, Path(folder))
    store = open_store(Path(checked.paths.mlruns), checked.tracking.experiment)
    text = store.read(brief.run_id, "result.json")
    return Result(Record.from_json(text.decode(), brief.run_id) if text else brief)
