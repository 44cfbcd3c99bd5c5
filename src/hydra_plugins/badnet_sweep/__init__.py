"""Hydra plugins of badnet-sweep; every Hydra program scans them at its start, so they are light."""
