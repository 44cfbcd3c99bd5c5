"""Tracked sweeps over channel-pruning defences for backdoored neural networks.

`sweep.run(["drop=0.04"])` does one job; nothing heavy is loaded before.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweep.sweeps.api import Result, run

__version__ = "0.1.0"
__all__ = ["Result", "__version__", "run"]


def __getattr__(name: str) -> Any:
    if name in ("Result", "run"):
        from sweep.sweeps import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
