"""Made data and BadNets trained on it; each attack is one function and one YAML."""

from sweep.attacks import patches, spread
from sweep.attacks.registry import check, find, names

__all__ = ["check", "find", "names", "patches", "spread"]
