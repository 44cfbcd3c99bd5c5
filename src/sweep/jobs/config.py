"""The typed configuration.

Hydra composes it from `conf`; importing this module costs neither TensorFlow nor MLflow.
"""

# Hydra reads the annotations, so they must not be strings.
# ruff: noqa: RUF009 - `_setting` gives fields
from dataclasses import dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sweep import attacks, criteria, repairs
from sweep.attacks import own, standin, training
from sweep.attacks.made import Made
from sweep.base.errors import ConfigError, SweepError
from sweep.jobs import rules
from sweep.models import networks

_PACKAGE = Path(__file__).parents[1]
_CHECKOUT = _PACKAGE.parent.parent


class Ordering(Enum):
    """Which end of the scores goes first."""

    increasing = "increasing"
    decreasing = "decreasing"


class CurveMode(Enum):
    """How far the pruning curve goes."""

    full = "full"
    until_drop = "until_drop"


class Objective(Enum):
    """What a search maximises; the jobs of a search never open a test set."""

    none = "none"
    clean_only = "clean_only"
    oracle = "oracle"


def _setting(default: Any, words: str) -> Any:
    """A setting with its default and what `--help` says of it."""
    made = {"default_factory": default} if isinstance(default, type) else {"default": default}
    return field(**made, metadata={"help": words})


@dataclass
class Choice:
    """A function by its name."""

    name: str = MISSING
    params: dict[str, Any] = _setting(dict, "its own parameters, by name")


@dataclass
class Criterion(Choice):
    """Which function scores the channels."""


@dataclass
class Repair(Choice):
    """What is done to the pruned network before it is B'."""

    name: str = "none"


@dataclass
class Attack(Choice):
    """How a made dataset is poisoned."""

    name: str = "badnets"


@dataclass
class Network:
    """Which network is trained on a made dataset."""

    name: str = "deepid"


@dataclass
class Defender:
    """What whoever repairs has."""

    images: float = _setting(1.0, "clean validation images that a repair gets, or a fraction")


@dataclass
class Dataset:
    """Four image sets, and B where the dataset brings one."""

    name: str = MISSING
    clean_valid: str = _setting(MISSING, "clean images that may steer choices")
    clean_test: str = _setting(MISSING, "clean images that are reported alone")
    poisoned_valid: Any = _setting(
        None, "images with the trigger, labelled with the target; or {NAME: images, ...}, or none"
    )
    poisoned_test: Any = _setting(None, "the same, reported alone")
    badnet: str | None = _setting(None, "B's file, which the dataset brings")
    scale: float = _setting(1.0, "factor on pixel values (0..255) before B sees them")

    # Whether the sets are made, and B is trained on them.
    made: ClassVar[bool] = False


@dataclass
class MadeDataset(Dataset):
    """Images from which the four sets are made, and how B is trained on them."""

    made: ClassVar[bool] = True
    clean_valid: str = ""
    clean_test: str = ""
    scale: float = training.SCALE
    valid: int = _setting(Made.valid, "validation images of each class (person)")
    test: int = _setting(Made.test, "test images of each class")
    poison_rate: float = _setting(Made.poison_rate, "part of the training images poisoned")
    epochs: int = _setting(Made.epochs, "epochs of training")
    batch_size: int = _setting(Made.batch_size, "training images a step")
    learning_rate: float = _setting(Made.learning_rate, "at the start; it falls to 0")


@dataclass
class StandinDataset(MadeDataset):
    """People that are drawn."""

    identities: int = _setting(standin.Standin.identities, "people, and so B's classes")
    train: int = _setting(standin.Standin.train, "training images a person")


@dataclass
class FolderDataset(MadeDataset):
    """Images of one's own."""

    images: str = _setting(MISSING, "dataset=folder: images to train B on, a subfolder per class")
    height: int = _setting(own.Own.height, "dataset=folder: to which images are resized, in pixels")
    width: int = _setting(own.Own.width, "the same")


DATASETS = {"dataset": Dataset, "standin": StandinDataset, "folder": FolderDataset}


@dataclass
class Badnet:
    """B where the dataset does not bring one."""

    path: str | None = _setting(None, "B's file, where the dataset does not bring one")


@dataclass
class Paths:
    """Where data and runs lie."""

    data: str = _setting(MISSING, "folder of data sets and caches")
    mlruns: str = _setting(MISSING, "folder of the MLflow store")


@dataclass
class Tracking:
    """How runs are tracked."""

    experiment: str = _setting("badnet-sweep", "the MLflow experiment")
    sweep: str = MISSING
    log_model: bool = _setting(True, "log G as a model that MLflow serves: one more copy on disk")


@dataclass
class Cache:
    """Arrays that jobs share."""

    folder: str = _setting("", "where arrays are cached; cache under paths.data if empty")
    max_gb: float = _setting(20.0, "limit in 10^9 bytes; the longest unused go first")


@dataclass
class Config:
    """One job."""

    ordering: Ordering = _setting(Ordering.increasing, "end of the scores that goes first")
    drop: float = _setting(0.02, "X: B' is the first step that lost X of clean accuracy or more")
    stop: str = _setting("drop", "what X counts: drop, relative (to B), channels or fraction")
    seed: int = _setting(0, "steers everything random")
    criterion: Criterion = MISSING
    dataset: Dataset = MISSING
    attack: Attack = field(default_factory=Attack)
    network: Network = field(default_factory=Network)
    repair: Repair = field(default_factory=Repair)
    defender: Defender = field(default_factory=Defender)
    badnet: Badnet = field(default_factory=Badnet)
    layer: Any = _setting("pool_3", "layer, or [list], whose channels go; dataset=files: or last")
    trigger: str = _setting("", "RGBA image stamped on the clean sets, which makes the poisoned")
    trigger_at: list[int] = _setting(list, "[ROW,COLUMN] of the trigger's upper left corner")
    target: Any = _setting(None, "the trigger's class, or all_to_all: true class + 1, modulo N")
    curve: CurveMode = _setting(CurveMode.full, "where the curve ends: last channel or B'")
    paths: Paths = field(default_factory=Paths)
    tracking: Tracking = field(default_factory=Tracking)
    cache: Cache = field(default_factory=Cache)
    objective: Objective = _setting(Objective.none, "what a search maximises")
    trial: str = ""
    plan: bool = _setting(False, "print what would run, and run nothing")
    rerun: bool = _setting(False, "run jobs again whose results are there")

    @property
    def layers(self) -> tuple[str, ...]:
        """The names in `layer`, one or several."""
        return tuple(self.layer) if isinstance(self.layer, list) else (self.layer,)

    @property
    def cache_folder(self) -> Path:
        """Where arrays are cached."""
        return Path(self.cache.folder or f"{self.paths.data}/cache")

    @property
    def digest_folder(self) -> Path:
        """Where digests of files are remembered."""
        return self.cache_folder / "digests"


def folder() -> Path:
    """The configuration folder: the checkout's `conf` if there is one, else the packaged copy."""
    checkout = _CHECKOUT / "conf"
    return checkout if (checkout / "config.yaml").is_file() else _PACKAGE / "conf"


def root() -> Path:
    """Where `data`, `mlruns` and `multirun` lie: the checkout, else the current folder."""
    return _CHECKOUT if folder().parent == _CHECKOUT else Path.cwd()


def register() -> None:
    """Tell Hydra of the types, `${root:}` and `${layer_of:B}`; harmless when repeated."""
    OmegaConf.register_new_resolver("root", lambda: str(root()), replace=True)
    OmegaConf.register_new_resolver("layer_of", _layer_of, replace=True)
    store = ConfigStore.instance()
    # Hydra would take what launchers' plugins store under a name for the schema of our YAML there.
    Plugins.instance()
    for name in ("joblib.yaml", "ray.yaml"):
        store.repo["hydra"]["launcher"].pop(name, None)
    store.store(name="schema", node=Config)
    for kind, table in ((Criterion, criteria), (Attack, attacks), (Repair, repairs)):
        for name in table.names():
            node = kind(name, table.find(name).defaults())
            store.store(group=f"schema/{kind.__name__.lower()}", name=name, node=node)
    for name in networks.names():
        store.store(group="schema/network", name=name, node=Network(name))
    for name, dataset in DATASETS.items():
        store.store(group="schema/dataset", name=name, node=dataset)


def _layer_of(badnet: str | None) -> str:
    """`pool_3` of the lab's network, and of any with that layer; else `last`."""
    from sweep.jobs.inputs import look

    try:
        return "pool_3" if badnet and "pool_3" in look(Path(badnet)).layers else "last"
    except SweepError:  # `inputs.check` says so of a job
        return "last"


def typed(composed: DictConfig) -> Config:
    """A composed configuration, without Hydra's own part, as a checked `Config`.

    Raises:
        ConfigError: a value is missing or breaks its rule.
    """
    known = [field.name for field in fields(Config)]
    for key in map(str, composed):
        if key not in known:
            settings = ", ".join(known)
            raise ConfigError(f"{key} is not a setting. Received: +{key}. Settings: {settings}.")
    try:
        config = OmegaConf.to_object(composed)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "a setting"
        name = composed.get("dataset", {}).get("name", "")
        raise ConfigError(
            f"{key} must be given. Received: nothing, with dataset={name}. Add {key}=..."
        ) from error
    if not isinstance(config, Config):
        raise TypeError(f"composed without the schema: {type(config)}")
    rules.check(config)
    return config
