"""Hydra plugins of badnet-sweep; scanned at every start of any Hydra program, so light to import."""
