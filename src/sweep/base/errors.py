"""Errors that are a user's to mend: one sentence with the rule, what was received, what to do.

Whoever catches a `SweepError` shows its text alone; any other exception is a mistake of the
program and keeps its traceback.
"""


class SweepError(Exception):
    """Something that the user can mend."""


class ConfigError(SweepError):
    """A setting that is unknown or out of range."""


class DataError(SweepError):
    """An image set that is missing, damaged or does not fit."""


class ModelError(SweepError):
    """A model that is missing, damaged, unsafe or does not fit."""


class StoreError(SweepError):
    """A place for results that cannot be written or read."""
