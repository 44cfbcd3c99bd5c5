"""How a process ends: in good order on a signal, and without the interpreter being taken apart."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn


_ASKED_TO_END = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MESSAGE = "interrupted; the same command goes on"


class Interruption(KeyboardInterrupt):
    """SIGINT (Ctrl-C), SIGTERM or SIGHUP."""

    def __init__(self, number: int) -> None:
        """Keep which signal it was."""
        super().__init__()
        self.number = number


def end_on_signals() -> None:
    """Let a signal end this process at once, while nothing is begun; ignored ones stay ignored.

    An exception would not do: libraries that are being imported turn it into others, or swallow it.
    """
    for number in _ASKED_TO_END:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def raise_on_signals() -> None:
    """From now on there is something to end in good order: raise `Interruption` instead."""
    for number in _ASKED_TO_END:
        if signal.getsignal(number) is _end:
            signal.signal(number, _raise)
            sys.unraisablehook = _raise_again


def ignore_signals() -> None:
    """Let nothing interrupt the last that a process does."""
    for number in _ASKED_TO_END:
        signal.signal(number, signal.SIG_IGN)


def exit_code(error: KeyboardInterrupt) -> int:
    """What a shell expects of a process that a signal ended."""
    return 128 + (error.number if isinstance(error, Interruption) else signal.SIGINT)


def end_with(work: Callable[[], None]) -> NoReturn:
    """Run `work`, then end this process with its exit code as `multiprocessing` ends a worker.

    What Python would do next, taking its modules apart while threads of TensorFlow, OpenMP and HDF5
    may still hold memory of them, once in some sixty processes ended in "double free or corruption"
    and a wrong exit code, when all the work was done.
    """
    code: object = 0
    try:
        work()
    except SystemExit as error:
        code = error.code
        if code is not None and not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:  # noqa: BLE001  a program's mistake: printed as Python prints it
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001  joins what is no daemon
    atexit._run_exitfuncs()  # noqa: SLF001
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0)


def _raise(number: int, _frame: object) -> None:
    raise Interruption(number)


def _end(number: int, _frame: object) -> None:
    os.write(sys.stderr.fileno(), f"{MESSAGE}\n".encode())
    os._exit(128 + number)


def _raise_again(lost: sys.UnraisableHookArgs) -> None:
    """An interruption in a callback, which lets no exception out, takes place later."""
    if isinstance(lost.exc_value, Interruption):
        threading.Timer(0.1, os.kill, (os.getpid(), lost.exc_value.number)).start()
    else:
        sys.__unraisablehook__(lost)
