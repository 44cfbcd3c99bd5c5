"""Made data and BadNets trained on it; each attack is one function and one YAML."""

from sweep.attacks.poisoning import labels, patches, pruning_aware, spread, warped
from sweep.attacks.registry import check, find, names, next_class, one_class

__all__ = [
    "check",
    "find",
    "labels",
    "names",
    "next_class",
    "one_class",
    "patches",
    "pruning_aware",
    "spread",
    "warped",
]
