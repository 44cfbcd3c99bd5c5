"""`python -m sweep`: the command line, which Ctrl-C ends without a traceback at any moment."""

import sys

from sweep.base import interrupts


def main() -> None:
    """Run the command line, and end the process."""
    interrupts.end_with(_run)


def _run() -> None:
    interrupts.end_on_signals()
    try:
        from sweep.sweeps import command_line

        command_line.run()
    except KeyboardInterrupt as error:
        interrupts.ignore_signals()
        print(interrupts.MESSAGE, file=sys.stderr)
        sys.exit(interrupts.exit_code(error))


if __name__ == "__main__":
    main()
