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
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

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
# What a job asks of this Slurm, which has fewer cores than a cluster.
SLURM_JOB = (
    *("hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=null"),
    "hydra.launcher.timeout_min=10",
)
PASSWORD = "Zauberwort47"  # noqa: S105 - of a database that lives for a test


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(holds, seconds=60.0):
    """Wait for something to hold; what it gave."""
    deadline = time.monotonic() + seconds
    while True:
        found = holds()
        if found:
            return found
        assert time.monotonic() < deadline, f"{holds} did not come to hold in {seconds:.0f} s"
        time.sleep(0.2)


@contextmanager
def service(command, log, stop=signal.SIGTERM, **options):
    """A program in the foreground that ends with the block, or with this process if that dies."""
    with log.open("ab") as sink:
        process = subprocess.Popen(
            ["setpriv", f"--pdeathsig={stop.name[3:]}", *command],
            stdout=sink,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            **options,
        )
    try:
        yield process
    finally:
        process.send_signal(stop)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


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
def postgres(tmp_path_factory):
    """A PostgreSQL server with the databases `tracking` and `study`; its address, with password."""
    folder = tmp_path_factory.mktemp("postgres")
    if os.geteuid() == 0:  # which the server refuses to run as
        user = {"user": "postgres", "group": "postgres", "extra_groups": []}
        shutil.chown(folder, "postgres", "postgres")
        for parent in (folder.parent, folder.parent.parent):  # pytest's own are closed to others
            parent.chmod(0o711)
    else:
        user = {}
    programs = max(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name)
    )
    data, port, secret = folder / "data", free_port(), folder / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    subprocess.run(
        [
            *(programs / "initdb", "--pgdata", data, "--username=me", f"--pwfile={secret}"),
            *("--auth=scram-sha-256", "--no-sync"),
        ],
        check=True,
        capture_output=True,
        **user,
    )
    secret.unlink()
    server = [
        *(programs / "postgres", "-D", data, "-p", str(port), "-k", folder),
        *("-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"),
    ]
    ready = [programs / "pg_isready", "--host=127.0.0.1", f"--port={port}"]
    # SIGINT ends it without waiting for clients to leave.
    with service(server, folder.parent / "postgres.log", signal.SIGINT, **user):
        until(lambda: answers(*ready))
        url = f"postgresql://me:{PASSWORD}@127.0.0.1:{port}"
        for name in ("tracking", "study"):
            subprocess.run(
                [programs / "createdb", f"--maintenance-db={url}/postgres", name], check=True
            )
        yield url
