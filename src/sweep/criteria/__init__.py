"""Criteria: evidence in, one score per channel out; each is one function and one YAML.

A criterion declares what it may look at. `weights` and `clean` (clean validation) are what a
defender has; `oracle` (poisoned validation too) marks an upper bound that no defender reaches.
"""

from sweep.criteria._registry import Criterion, Evidence, find, score
from sweep.criteria.activation import mean_activation

__all__ = ["Criterion", "Evidence", "find", "mean_activation", "score"]
