"""Tracked sweeps over channel-pruning defences for backdoored neural networks."""

__version__ = "0.1.0"
