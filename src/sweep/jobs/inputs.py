"""Where the four image sets and B lie, for each kind of dataset."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.base import files
from sweep.base.errors import ConfigError, DataError, ModelError
from sweep.data.image_set import fit, open_sets
from sweep.jobs.config import Objective, StandinDataset
from sweep.models.load import read_badnet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sweep.attacks import standin
    from sweep.jobs.config import Config

SETS = ("clean_valid", "poisoned_valid", "clean_test", "poisoned_test")


class Watch:
    """Notices files that change between the moment when they are named and when they are read."""

    def __init__(self, paths: Iterable[Path]) -> None:
        """Note how files are now; for one that is missing, whoever opens it has the words."""
        self._stamps = {path: files.stamp(path) for path in paths if path.is_file()}

    def check(self) -> None:
        """See whether the files are as they were.

        Raises:
            DataError: one was changed, replaced or removed.
        """
        for path, stamp in self._stamps.items():
            try:
                same = files.stamp(path) == stamp
            except OSError:
                same = False
            if not same:
                raise DataError(
                    f"{path} was changed while a job read it, so the job ended without a result. "
                    "Give the same command again once the file stays as it is."
                )


@dataclass(frozen=True)
class Inputs:
    """The files of a job: the image sets that it opens, by name, and B."""

    sets: Mapping[str, Path]
    badnet: Path


def used(config: Config) -> tuple[str, ...]:
    """Which of the four sets a job opens: the job of a search never opens a test set."""
    if config.objective is Objective.none:
        return SETS
    return tuple(name for name in SETS if name.endswith("_valid"))


def find(config: Config) -> Inputs:
    """Where the files of a job lie, or will lie once a made dataset is made.

    Raises:
        ConfigError: no file is named for B.
    """
    dataset = config.dataset
    if isinstance(dataset, StandinDataset):
        from sweep.attacks import standin

        made = standin.folder(_settings(config, dataset), Path(config.paths.data))
        sets = {
            "clean_valid": made / "cl" / "valid.h5",
            "poisoned_valid": made / "bd" / "bd_valid.h5",
            "clean_test": made / "cl" / "test.h5",
            "poisoned_test": made / "bd" / "bd_test.h5",
        }
        sets = {name: sets[name] for name in used(config)}
        own = made / "models" / "bd_net.keras"
        return Inputs(sets, Path(config.badnet.path) if config.badnet.path else own)
    badnet = config.badnet.path or dataset.badnet
    if not badnet:
        raise ConfigError(
            f"badnet.path must name B's file, since dataset={dataset.name} brings none. "
            "Received: nothing. Add badnet.path=FILE."
        )
    return Inputs({name: Path(getattr(dataset, name)) for name in used(config)}, Path(badnet))


def locate(config: Config) -> Inputs:
    """The files that a job reads; a made dataset is made first if it is not there.

    Raises:
        ConfigError: no file is named for B.
    """
    if isinstance(config.dataset, StandinDataset):
        from sweep.attacks import standin

        standin.ensure(_settings(config, config.dataset), Path(config.paths.data))
    return find(config)


def check(config: Config) -> None:
    """Refuse files and layers that a job could not use, without TensorFlow, MLflow or a store.

    A dataset that is still to be made passes, and so does what shows only when B runs.

    Raises:
        SweepError: the first file that is missing, damaged or of the wrong form, or a layer that B
            has not.
    """
    inputs = find(config)
    made = isinstance(config.dataset, StandinDataset)
    shape, classes = (None, None, None), sys.maxsize
    if not made or inputs.badnet.is_file() or config.badnet.path:
        network = read_badnet(inputs.badnet)
        _check_layers(config.layers, [call.layer.name for call in network.calls])
        shape = network.image.layer.settings.get("shape") or shape
        classes = network.output.layer.settings.get("units", classes)
    if made and not all(path.is_file() for path in inputs.sets.values()):
        return
    fit(open_sets(inputs.sets), tuple(shape), classes)


def _check_layers(wanted: Sequence[str], known: Sequence[str]) -> None:
    for name in wanted:
        if name not in known:
            near = get_close_matches(name.lower(), known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ModelError(
                f"layer must name a layer of B. Received: layer={name}.{hint} "
                f"Layers: {', '.join(known)}."
            )


def _settings(config: Config, dataset: StandinDataset) -> standin.Standin:
    from sweep.attacks import standin

    own = {"seed": config.seed, "attack": config.attack.name, "attack_params": config.attack.params}
    names = [field.name for field in fields(standin.Standin) if field.name not in own]
    return standin.Standin(**{name: getattr(dataset, name) for name in names} | own)
