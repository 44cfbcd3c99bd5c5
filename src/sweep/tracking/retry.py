"""Retrying calls to a store that is locked or gone for a while."""

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


class Retrying:
    """An object whose calls are retried while their errors may pass by themselves."""

    def __init__(
        self,
        inner: Any,
        passes: Callable[[Exception], bool],
        check: Callable[[], None] = lambda: None,
        seconds: float = 120.0,
    ) -> None:
        """Wrap an object.

        Args:
            inner: the object.
            passes: whether an error may pass by itself.
            check: called before each try; raises where trying would do harm.
            seconds: how long a call is tried before its error counts.
        """
        self._inner = inner
        self._passes = passes
        self._check = check
        self._seconds = seconds

    def __getattr__(self, name: str) -> Any:
        """An attribute of the inner object; calls of a method are retried."""
        found = getattr(self._inner, name)
        return functools.partial(self._call, found) if callable(found) else found

    def waiting(self, seconds: float) -> Retrying:
        """The same with another time to wait."""
        return Retrying(self._inner, self._passes, self._check, seconds)

    def around(self, inner: Any) -> Retrying:
        """The same for another object."""
        return Retrying(inner, self._passes, self._check, self._seconds)

    def _call(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        deadline, wait = time.monotonic() + self._seconds, _FIRST_WAIT
        while True:
            try:
                self._check()
                return call(*args, **kwargs)
            except Exception as error:
                if not self._passes(error) or time.monotonic() + wait > deadline:
                    raise
                reason = without_password(str(error).partition("\n")[0])
                _LOG.warning("the store does not answer, waiting %.1f s: %s", wait, reason)
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)
