"""What launchers share."""

from collections.abc import Sequence
from importlib.util import find_spec

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher

from sweep.base.errors import ConfigError, SweepError


def failed(overrides: Sequence[str], error: Exception) -> JobReturn:
    """What a job gives back that an error ended before it could give anything."""
    return JobReturn(overrides=overrides, status=JobStatus.FAILED, _return_value=error)


def lost(job: str, reason: str, advice: str) -> SweepError:
    """What the user reads of a job that ended and gave nothing back."""
    return SweepError(
        f"{job} ended without a result: {reason}. {advice}; the same command tries it again."
    )


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


def launch(
    launcher: Launcher, jobs: Sequence[Sequence[str]], first: int = 0
) -> Sequence[JobReturn]:
    """Run jobs, given by their overrides, and keep of each what it gave back.

    Hydra's own launcher keeps every job's configuration too, a megabyte each; so it is given one
    job at a time. Others are given all of them together, to run as they see fit.
    """
    if not isinstance(launcher, BasicLauncher):
        return launcher.launch(jobs, initial_job_idx=first)
    kept = []
    for number, overrides in enumerate(jobs, first):
        (done,) = launcher.launch([overrides], initial_job_idx=number)
        value = done._return_value  # noqa: SLF001 - `return_value` raises what a job did
        kept.append(JobReturn(overrides=overrides, status=done.status, _return_value=value))
    return kept
