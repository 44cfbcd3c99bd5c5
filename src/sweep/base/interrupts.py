"""Signals that ask a process to end, as exceptions that end what it does in good order."""

from __future__ import annotations

import signal


class Interruption(KeyboardInterrupt):
    """SIGTERM or SIGHUP: ends what is done as Ctrl-C does."""

    def __init__(self, number: int) -> None:
        """Keep which signal it was."""
        super().__init__()
        self.number = number


def raise_on_signals() -> None:
    """Let SIGTERM and SIGHUP raise `Interruption`; one that is ignored (`nohup`) stays ignored."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _raise)


def ignore_signals() -> None:
    """Let nothing interrupt the last that a process does."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def exit_code(error: KeyboardInterrupt) -> int:
    """What a shell expects of a process that a signal ended."""
    return 128 + (error.number if isinstance(error, Interruption) else signal.SIGINT)


def _raise(number: int, _frame: object) -> None:
    raise Interruption(number)
