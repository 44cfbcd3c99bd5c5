"""Where the four image sets and B lie, for each kind of dataset."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sweep import attacks
from sweep.attacks import stamped
from sweep.base import files
from sweep.base.errors import ConfigError, DataError, ModelError
from sweep.data import derived
from sweep.data.fit import fit
from sweep.data.image_set import open_sets
from sweep.jobs.config import FolderDataset, Objective
from sweep.jobs.rules import ALL_TO_ALL
from sweep.models.load import read_badnet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sweep.attacks.made import Made
    from sweep.data.image_set import ImageSet
    from sweep.jobs.config import Config

SETS = ("clean_valid", "poisoned_valid", "clean_test", "poisoned_test")


class Watch:
    """Notices files that change between the moment when they are named and when they are read."""

    def __init__(self, paths: Iterable[Path]) -> None:
        """Note how files are now; for one that is missing, whoever opens it has the words."""
        self._stamps = {path: files.stamp(path) for path in paths if path.exists()}

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
    """The files of a job.

    Attributes:
        sets: the image sets that it opens, by name; of several triggers, `poisoned_valid/NAME`.
        badnet: B.
        trigger: what is stamped on the clean sets, where that makes the poisoned ones.
    """

    sets: Mapping[str, Path]
    badnet: Path
    trigger: Path | None = None

    @property
    def paths(self) -> list[Path]:
        """All of them, in the order in which a job's identity names them."""
        return [*self.sets.values(), *([self.trigger] if self.trigger else []), self.badnet]


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
    if dataset.made:
        from sweep.attacks import standin

        made = standin.folder(_settings(config), Path(config.paths.data))
        sets = {
            "clean_valid": made / "cl" / "valid.h5",
            "poisoned_valid": made / "bd" / "bd_valid.h5",
            "clean_test": made / "cl" / "test.h5",
            "poisoned_test": made / "bd" / "bd_test.h5",
        }
        own = made / "models" / "bd_net.keras"
        return _inputs(config, sets, Path(config.badnet.path) if config.badnet.path else own)
    badnet = config.badnet.path or dataset.badnet
    if not badnet:
        raise ConfigError(
            f"badnet.path must name B's file, since dataset={dataset.name} brings none. "
            "Received: nothing. Add badnet.path=FILE."
        )
    return _inputs(config, {name: getattr(dataset, name) for name in SETS}, Path(badnet))


def _inputs(config: Config, places: Mapping[str, Any], badnet: Path) -> Inputs:
    sets: dict[str, Path] = {}
    for name in used(config):
        place = places[name]
        if not place or (config.trigger and name.startswith("poisoned")):
            continue
        if isinstance(place, dict):
            sets |= {f"{name}/{trigger}": Path(one) for trigger, one in place.items()}
        else:
            sets[name] = Path(place)
    return Inputs(sets, badnet, Path(config.trigger) if config.trigger else None)


def prepare(
    config: Config,
    inputs: Inputs,
    opened: Mapping[str, ImageSet],
    input_shape: tuple[int | None, ...],
    classes: int,
) -> dict[str, ImageSet]:
    """The sets that a job has, as B takes them (see `fit`) and the attack makes them.

    Raises:
        DataError: the sets do not belong to B or together, or the trigger does not fit them.
    """
    all_to_all = config.target == ALL_TO_ALL
    made = config.dataset.made and not inputs.trigger
    attack = attacks.find(config.attack.name).poisoning
    many = all_to_all or (made and attack.targets is not attacks.one_class)
    sets = fit(opened, input_shape, classes, all_to_all=many)
    ready = {name: one for name, one in sets.items() if "/" not in name}
    for split in ("valid", "test"):
        name, clean = f"poisoned_{split}", ready.get(f"clean_{split}")
        parts = {k.partition("/")[2]: v for k, v in sets.items() if k.startswith(f"{name}/")}
        if parts:
            ready[name] = derived.join(parts)
        if inputs.trigger and clean:
            target = None if all_to_all else config.target
            ready[name] = stamped.poison(clean, inputs.trigger, target, classes, config.trigger_at)
        elif made and clean and name in ready:
            wanted = ready[name].labels
            worn = {trigger: wanted == number for number, trigger in enumerate(attack.triggers)}
            ready[name] = replace(ready[name], truth=clean.labels, triggers=worn)
        elif all_to_all and name in ready:
            truth = attacks.next_class(ready[name].labels, classes, -1)
            ready[name] = replace(ready[name], truth=truth)
    return ready


def locate(config: Config) -> Inputs:
    """The files that a job reads; a made dataset is made first if it is not there.

    Raises:
        ConfigError: no file is named for B.
    """
    if config.dataset.made:
        from sweep.attacks import standin

        standin.ensure(_settings(config), Path(config.paths.data))
    return find(config)


def check(config: Config) -> None:
    """Refuse files and layers that a job could not use, without TensorFlow, MLflow or a store.

    A dataset that is still to be made passes, and so does what shows only when B runs.

    Raises:
        SweepError: the first file that is missing, damaged or of the wrong form, or a layer that B
            has not.
    """
    inputs = find(config)
    made = config.dataset.made
    shape: tuple[int | None, ...] = (None, None, None)
    classes = sys.maxsize
    if not made or inputs.badnet.is_file() or config.badnet.path:
        network = look(inputs.badnet)
        _check_layers(inputs.badnet, config.layers, network.layers)
        shape, classes = network.shape or shape, network.classes or classes
    if made and not all(path.is_file() for path in inputs.sets.values()):
        _ = _settings(config).classes  # looks whether it can be made
        return
    prepare(config, inputs, open_sets(inputs.sets), shape, classes)


class Looked(NamedTuple):
    """What a network's file says: names of layers, (h, w, c) and N where it says them."""

    layers: tuple[str, ...]
    shape: tuple[int | None, ...] | None
    classes: int | None


def look(badnet: Path) -> Looked:
    """Look into a network's file, once while it stays the same, without TensorFlow if need be.

    Raises:
        ModelError: see `read_badnet`.
    """
    return _look(badnet, tuple(files.stamp(badnet)) if badnet.is_file() else ())


@lru_cache
def _look(badnet: Path, _: object) -> Looked:
    network = read_badnet(badnet)
    names = tuple(call.layer.name for call in network.calls)
    shape, classes = network.image.layer.settings.get("shape"), network.output.layer.settings
    return Looked(names, shape and tuple(shape), classes.get("units"))


def _check_layers(badnet: Path, wanted: Sequence[str], known: Sequence[str]) -> None:
    for name in wanted:
        if name not in ("last", *known):
            near = get_close_matches(name.lower(), known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ModelError(
                f"layer must name a layer of B. Received: layer={name}.{hint} "
                f"python -m sweep.inspect {badnet} lists those that would do."
            )


def _settings(config: Config) -> Made:
    """What a made dataset is made from."""
    from sweep.attacks.own import Own
    from sweep.attacks.standin import Standin

    dataset: Any = config.dataset
    given: dict[str, Any] = {
        "seed": config.seed,
        "attack": config.attack.name,
        "attack_params": config.attack.params,
        "network": config.network.name,
    }
    kind: type[Made] = Standin
    if isinstance(dataset, FolderDataset):
        kind, place = Own, Path(dataset.images)
        known = files.digest(place, config.digest_folder) if place.is_dir() else ""
        given |= {"place": dataset.images, "digest": known}
    names = [field.name for field in fields(kind) if field.name not in given]
    return kind(**given, **{name: getattr(dataset, name) for name in names})
