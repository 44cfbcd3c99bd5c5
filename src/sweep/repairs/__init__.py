"""Repairs: what is done to the pruned network before it is B'; each is one function and one YAML.

A repair sees what a defender has and nothing else: B, the pruned network, clean validation and a
seed. It returns a network that plain Keras opens. One part of the images is for tuning, another for
deciding (rates, when to stop), and the test sets are no part of either.

Every module of this folder is imported here, and the repairs in it are thereby known. Importing
costs neither TensorFlow nor Keras.
"""

import pkgutil
from importlib import import_module

from sweep.repairs.registry import Evidence, Images, check, find, names, repair_network

for _module in pkgutil.iter_modules(__path__):
    if _module.name not in ("tuning", "reversal"):  # which need TensorFlow
        import_module(f"{__name__}.{_module.name}")

__all__ = ["Evidence", "Images", "check", "find", "names", "repair_network"]
