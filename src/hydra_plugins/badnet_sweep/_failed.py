"""What a launcher gives back for a job that gave it nothing."""

from collections.abc import Sequence

from hydra.core.utils import JobReturn, JobStatus


def failed(overrides: Sequence[str], error: Exception) -> JobReturn:
    """A job that an error ended, as if it had been raised in it."""
    return JobReturn(overrides=overrides, status=JobStatus.FAILED, _return_value=error)
