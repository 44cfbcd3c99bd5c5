"""`python -m sweep.ui`: the MLflow UI on this project's store, on this machine alone."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.config import root

if TYPE_CHECKING:
    from collections.abc import Sequence


def command(mlruns: Path, host: str, port: int) -> list[str]:
    """The command that serves a store.

    Args:
        mlruns: folder of `mlflow.db` and `artifacts`.
        host: address to listen on.
        port: port to listen on.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(mlruns / 'mlflow.db').resolve()}"
    return [
        sys.executable,
        *("-m", "mlflow", "ui", "--backend-store-uri", uri),
        *("--default-artifact-root", (mlruns / "artifacts").resolve().as_uri()),
        *("--host", host, "--port", str(port)),
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m sweep.ui", description=__doc__)
    parser.add_argument("--mlruns", type=Path, default=root() / "mlruns", help="%(default)s")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=5000, help="port to listen on (%(default)s)")
    options = parser.parse_args(arguments)
    if "MLFLOW_TRACKING_URI" not in os.environ and not (options.mlruns / "mlflow.db").is_file():
        sys.exit(
            f"error: a store must be there to be shown. Received: {options.mlruns}, which holds no "
            "mlflow.db. Run a sweep first: python -m sweep"
        )
    print(f"MLflow on http://{options.host}:{options.port} (Ctrl-C ends it)", flush=True)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.execv(sys.executable, command(options.mlruns, options.host, options.port))  # noqa: S606


if __name__ == "__main__":
    main()
