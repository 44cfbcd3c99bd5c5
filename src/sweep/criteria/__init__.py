"""Criteria: evidence in, one score per channel out; each is one function and one YAML.

A criterion declares what it may look at, and that is what it gets: `weights` (no data), `clean`
(clean validation; both are what a defender has), or `oracle` (poisoned validation too: an upper
bound that no defender reaches). The channel with the lowest score is for removal first: that is the
direction each criterion's source recommends, and `ordering=increasing` follows it.

Every module of this folder is imported here, and the criteria in it are thereby known. Importing
costs neither TensorFlow nor Keras.
"""

import pkgutil
from importlib import import_module

from sweep.criteria.evidence import Clean, Cut, Oracle, Weights, show
from sweep.criteria.registry import Criterion, check, find, names, score, sees

for _module in pkgutil.iter_modules(__path__):
    if _module.name != "training":  # which needs TensorFlow
        import_module(f"{__name__}.{_module.name}")

__all__ = [
    "Clean",
    "Criterion",
    "Cut",
    "Oracle",
    "Weights",
    "check",
    "find",
    "names",
    "score",
    "sees",
    "show",
]
