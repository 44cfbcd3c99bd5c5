"""`python -m sweep.ui`: the MLflow UI on this project's store, on this machine alone."""

from __future__ import annotations

import argparse
import os
import socket
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.base.errors import StoreError, SweepError
from sweep.base.redact import without_password
from sweep.jobs.config import Tracking, root
from sweep.tracking.backends import database
from sweep.tracking.view import VIEW

if TYPE_CHECKING:
    from collections.abc import Sequence


def command(mlruns: Path, host: str, port: int) -> list[str]:
    """The command that serves the store named by `MLFLOW_BACKEND_STORE_URI`.

    Args:
        mlruns: folder of `mlflow.db` and `artifacts`.
        host: address to listen on.
        port: port to listen on.
    """
    return [
        sys.executable,
        *("-m", "mlflow", "ui"),
        *("--default-artifact-root", database.artifacts(mlruns)),
        *("--host", host, "--port", str(port)),
        # One reader needs one process; MLflow's own four take four times as long to start.
        *("--workers", "1"),
    ]


def check_free(host: str, port: int) -> None:
    """Refuse an address that cannot be listened on.

    Raises:
        StoreError: another program has the port, or the host is not this machine's.
    """
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        raise StoreError(
            f"--host and --port must name a free address of this machine. Received: {host}:{port}, "
            f"of which the system says: {error.strerror}. Name another, as --port {port + 1}."
        ) from error


def page(mlruns: Path, host: str, port: int, experiment: str) -> str:
    """The address of an experiment's jobs; of MLflow's first page if the store is not at hand."""
    address = f"http://{host}:{port}"
    elsewhere = os.environ.get("MLFLOW_TRACKING_URI")
    try:
        found = None if elsewhere else database.experiment(database.path(mlruns), experiment)
    except sqlite3.Error:
        found = None
    query = f"viewStateShareKey={VIEW}&workflowType=machine_learning"
    return f"{address}/#/experiments/{found[0]}/runs?{query}" if found else address


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m sweep.ui", description=__doc__)
    parser.add_argument("--mlruns", type=Path, default=root() / "mlruns", help="%(default)s")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=5000, help="port to listen on (%(default)s)")
    parser.add_argument(
        "--experiment", default=Tracking.experiment, help="which to show (%(default)s)"
    )
    options = parser.parse_args(arguments)
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if uri.startswith("http"):
        print(f"The tracking server shows its runs itself: {without_password(uri)}")
        return
    try:
        if not uri:
            database.check(options.mlruns)
            database.follow_move(options.mlruns)
        check_free(options.host, options.port)
    except SweepError as error:
        sys.exit(f"error: {error}")
    address = page(options.mlruns, options.host, options.port, options.experiment)
    print(f"MLflow on {address} (Ctrl-C ends it)", flush=True)
    # Workers for language-model jobs would only keep the machine busy.
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    # Other users of the machine read command lines, and an address may hold a password.
    os.environ["MLFLOW_BACKEND_STORE_URI"] = uri or f"sqlite:///{database.path(options.mlruns)}"
    serve = command(options.mlruns, options.host, options.port)
    os.execv(serve[0], serve)  # noqa: S606


if __name__ == "__main__":
    main()
