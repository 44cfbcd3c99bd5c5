"""What launchers share."""

from collections.abc import Sequence
from importlib.util import find_spec

from hydra.core.utils import JobReturn, JobStatus

from sweep.errors import ConfigError


def failed(overrides: Sequence[str], error: Exception) -> JobReturn:
    """What a job gives back that an error ended before it could give anything."""
    return JobReturn(overrides=overrides, status=JobStatus.FAILED, _return_value=error)


def require(extra: str, *modules: str) -> None:
    """Refuse a launcher whose packages are not installed.

    Args:
        extra: the launcher, and this project's extra of the same name.
        modules: what the extra installs.

    Raises:
        ConfigError: one of them is not there.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"hydra/launcher={extra} must find its packages. Received: no {', '.join(missing)}. "
            f"Install them by: python -m pip install 'badnet-sweep[{extra}]'."
        )
