"""Criteria: evidence in, one score per channel out; each is one function and one YAML.

A criterion declares what it may look at, and that is what it gets: `weights` (no data), `clean`
(clean validation; both are what a defender has), or `oracle` (poisoned validation too: an upper
bound that no defender reaches). The channel with the lowest score is for removal first: that is the
direction each criterion's source recommends, and `ordering=increasing` follows it.

Importing this costs neither TensorFlow nor Keras.
"""

from sweep.criteria import (
    activation,
    anp,
    blend,
    control,
    fmp,
    gradient,
    oracle,
    removal,
    unlearning,
    weights,
)
from sweep.criteria.evidence import Clean, Cut, Oracle, Weights, show
from sweep.criteria.registry import Criterion, check, find, names, score, sees

__all__ = [
    "Clean",
    "Criterion",
    "Cut",
    "Oracle",
    "Weights",
    "activation",
    "anp",
    "blend",
    "check",
    "control",
    "find",
    "fmp",
    "gradient",
    "names",
    "oracle",
    "removal",
    "score",
    "sees",
    "show",
    "unlearning",
    "weights",
]
