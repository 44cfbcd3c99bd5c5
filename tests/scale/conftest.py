"""Slurm and PostgreSQL of our own: on 127.0.0.1 alone, in temporary folders, ended with the tests.

They are Debian's packages, which `make test-scale` installs. They are started here as one who runs
such a service starts it, not through the system's own services, which are left alone.
"""

import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from conftest import Checkout
from services import answers, free_port, service, until
from stores import SIX_JOBS, finished

SLURM = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2,sched_min_interval=100000,bf_interval=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
KillWait=10
ReturnToService=2
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=1000 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
PASSWORD = "Zauberwort47"  # noqa: S105 - of a database that lives for a test


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """A Slurm of one node; `sbatch` and the like find it through SLURM_CONF."""
    folder = tmp_path_factory.mktemp("slurm")
    folder.chmod(0o755)
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o600)
    host = socket.gethostname().partition(".")[0]
    conf = folder / "slurm.conf"
    conf.write_text(
        SLURM.format(
            host=host,
            folder=folder,
            controller=free_port(),
            node=free_port(),
            cpus=os.cpu_count(),
        )
    )
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    munged = [
        *("/usr/sbin/munged", "--foreground", "--force", "--num-threads=2"),
        *(f"--key-file={key}", f"--socket={folder / 'munge.socket'}"),
        *(f"--{name}={folder / f'munge.{name}'}" for name in ("log-file", "pid-file", "seed-file")),
    ]
    log = folder / "services.log"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(conf))
        with (
            service(munged, log),
            service(["/usr/sbin/slurmctld", "-D", "-c", "-f", conf], log),
            service(["/usr/sbin/slurmd", "-D", "-c", "-f", conf], log),
        ):
            try:
                until(lambda: "idle" in answers("sinfo", "--noheader", "--format=%T"))
            except AssertionError:
                print(log.read_text())
                raise
            yield folder
            answers("scancel", "--user", getpass.getuser())
            until(lambda: not answers("squeue", "--noheader").strip())


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server with some empty databases; its address, with password."""
    # Not among pytest's folders, which are closed to the user that the server must run as.
    user = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if user:
            shutil.chown(folder, **user)
        programs = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name)
        data, port, secret = folder / "data", free_port(), folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        initdb = [programs / "initdb", "--pgdata", data, "--username=me", f"--pwfile={secret}"]
        subprocess.run(
            [*initdb, "--auth=scram-sha-256", "--no-sync"], check=True, capture_output=True, **user
        )
        server = [
            *(programs / "postgres", "-D", data, "-p", str(port), "-k", folder),
            *("-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"),
        ]
        ready = [programs / "pg_isready", "--host=127.0.0.1", f"--port={port}"]
        # SIGINT ends it without waiting for clients to leave.
        with service(server, folder / "log", signal.SIGINT, **user):
            until(lambda: answers(*ready))
            url = f"postgresql://me:{PASSWORD}@127.0.0.1:{port}"
            for database in ("tracking", "study", "crowd"):
                create = [programs / "createdb", f"--maintenance-db={url}/postgres", database]
                subprocess.run(create, check=True)
            yield url


@pytest.fixture(scope="session")
def six(tmp_path_factory, shared_data):
    """The figures of the six-job sweep with Hydra's basic launcher and SQLite."""
    checkout = Checkout(tmp_path_factory.mktemp("six"), shared_data)
    done = checkout.sweep(*SIX_JOBS)
    assert done.returncode == 0, done.stderr
    figures, _ = finished(checkout.uri)
    assert len(figures) == 6
    return figures
