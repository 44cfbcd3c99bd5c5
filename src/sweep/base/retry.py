"""Waiting for a store that is locked or gone for a while."""

from __future__ import annotations

import functools
import logging
import time
from typing import TYPE_CHECKING, Any

from sweep.base.redact import without_password

if TYPE_CHECKING:
    from collections.abc import Callable

_LOG = logging.getLogger("sweep")
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 10.0


class Patient:
    """Stands for an object whose calls are tried again while they fail in passing."""

    def __init__(
        self,
        inner: Any,
        passing: Callable[[Exception], bool],
        check: Callable[[], None] = lambda: None,
        seconds: float = 120.0,
    ) -> None:
        """Wrap an object.

        Args:
            inner: whose methods are called.
            passing: whether an error may pass by itself.
            check: called before each try; raises where trying would do harm.
            seconds: how long a call is tried before its error counts.
        """
        self._inner = inner
        self._passing = passing
        self._check = check
        self._seconds = seconds

    def __getattr__(self, name: str) -> Any:
        """An attribute of the inner object; a method waits."""
        found = getattr(self._inner, name)
        return self._waiting(found) if callable(found) else found

    def _waiting(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def patiently(*args: Any, **kwargs: Any) -> Any:
            deadline, wait = time.monotonic() + self._seconds, _FIRST_WAIT
            while True:
                try:
                    self._check()
                    return call(*args, **kwargs)
                except Exception as error:
                    if not self._passing(error) or time.monotonic() + wait > deadline:
                        raise
                    said = without_password(str(error).partition("\n")[0])
                    _LOG.warning("the store does not answer, waiting %.1f s: %s", wait, said)
                time.sleep(wait)
                wait = min(2 * wait, _LONGEST_WAIT)

        return patiently
