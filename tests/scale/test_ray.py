"""Sweeps whose jobs are Ray's, on this machine and on nodes that share no disk."""

import ctypes
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from services import free_port, service, until
from stores import SIX_JOBS, finished, opened, runs_of

pytestmark = pytest.mark.scale

ON_RAY = ("hydra/launcher=ray",)
PASSWORD = "Zauberwort48"  # noqa: S105 - asked for by nobody
CLONE_NEWNET = 0x40000000


@pytest.fixture
def checkout(checkout, tmp_path):
    """A fresh place for each test."""
    return type(checkout)(tmp_path, checkout.data)


@contextmanager
def under_way(checkout, *overrides, jobs):
    """A sweep of which so many jobs are at work, and their runs."""
    with checkout.started(*overrides) as sweep:
        sweep.stdout.readline()  # said once the store is made

        def working():
            runs = runs_of(checkout.uri, state="RUNNING")
            return runs if len(runs) == jobs else None

        yield sweep, until(working, 120)


def states(checkout):
    return sorted(run.info.status for run in runs_of(checkout.uri))


def process_of(run):
    return int(run.data.tags["sweep.process"].partition("@")[0])


def test_six_jobs_on_this_machine_give_the_same(six, checkout):
    done = checkout.sweep(*SIX_JOBS, *ON_RAY)
    assert done.returncode == 0, done.stderr
    figures, ends = finished(checkout.uri)
    assert figures == six
    assert set(ends) == {"FINISHED"}
    printed = done.stderr.splitlines()
    assert [x for x in printed if not x.startswith("jobs: ")] == ["6 jobs: 6 not run before"]
    assert "ray" not in done.stdout.lower().replace(str(checkout.folder), "")


def test_a_worker_that_is_killed_costs_its_own_job_alone(checkout):
    with under_way(checkout, *ON_RAY, "drop=0.02,0.10", jobs=2) as (sweep, runs):
        address = set()
        for process in psutil.Process(sweep.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # some are short
                address |= {
                    listening.laddr.ip
                    for listening in process.net_connections("tcp")
                    if listening.status == psutil.CONN_LISTEN
                }
        os.kill(process_of(runs[0]), signal.SIGKILL)
        said, _ = sweep.communicate()
    assert {ip.removeprefix("::ffff:") for ip in address} == {"127.0.0.1"}
    assert sweep.returncode == 1
    assert "1 x A Ray job ended without a result: WorkerCrashed" in said
    assert "Traceback" not in said
    assert states(checkout) == ["FINISHED", "KILLED"]


def test_an_interrupted_sweep_ends_its_jobs_and_its_ray(checkout):
    with under_way(checkout, *ON_RAY, "drop=0.02,0.04,0.10", jobs=2) as (sweep, _):
        started = psutil.Process(sweep.pid).children(recursive=True)
        sweep.send_signal(signal.SIGINT)
        said, _ = sweep.communicate()
    assert sweep.returncode == 130
    assert "interrupted: 3 of 3 jobs are left" in said
    assert states(checkout) == ["KILLED", "KILLED"]
    until(lambda: not any(process.is_running() for process in started))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("hydra.launcher.ray.remote.num_cpus=4096",), "Received: 4096, on a machine with"),
        (("hydra.launcher.ray.init.address=127.0.0.1:9",), "Received: 127.0.0.1:9"),
    ],
)
def test_what_ray_cannot_give_is_one_sentence(checkout, overrides, said):
    done = checkout.sweep(*ON_RAY, *overrides)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def alone():
    """A network with nothing in it but 127.0.0.1, since nodes of a cluster listen to all others."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open() as before:
        if libc.unshare(CLONE_NEWNET):
            pytest.skip("a network of its own is made as root, on Linux")
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            yield
        finally:
            assert libc.setns(before.fileno(), CLONE_NEWNET) == 0


@pytest.fixture
def tracking(alone, tmp_path):
    """The address of an MLflow server that keeps its artifacts itself."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host=127.0.0.1", f"--port={port}"),
        *(f"--backend-store-uri=sqlite:///{tmp_path}/server.db", "--workers=1"),
        f"--artifacts-destination={tmp_path}/artifacts",
    ]
    with service(
        command,
        tmp_path / "server.log",
        env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    ):
        until(lambda: "startup complete" in (tmp_path / "server.log").read_text(), 120)
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def cluster(alone, checkout):
    """The address of two nodes of one core, of which `other` has disks of its own."""
    port, logs = free_port(), checkout.folder / "nodes.log"
    checkout.data = checkout.folder / "data"
    start = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1"),
        "--object-store-memory=80000000",
    ]
    head = ["--head", f"--port={port}", "--include-dashboard=false"]
    own = [checkout.data, checkout.mlruns, checkout.folder / "multirun"]
    for folder in own:
        folder.mkdir()
    mounts = " && ".join(f"mount -t tmpfs tmpfs {folder}" for folder in own)
    apart = [
        "unshare",
        "--mount",
        "--uts",
        "sh",
        "-c",
        f'hostname other && {mounts} && exec "$@"',
        "-",
    ]
    environment = checkout.environment | {
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    checkout.environment["RAY_AUTH_MODE"] = "disabled"

    def up(nodes):
        until(lambda: logs.read_text().count("Ray runtime started") == nodes, 120)

    # Not in pytest's own folder, where names of sockets would be too long.
    with (
        TemporaryDirectory(prefix="ray-") as place,
        service([*start, *head, f"--temp-dir={place}"], logs, env=environment),
    ):
        up(1)
        join = [*apart, *start, f"--address=127.0.0.1:{port}"]
        with service(join, logs, env=environment) as node:
            up(2)
            yield f"hydra.launcher.ray.init.address=127.0.0.1:{port}", node, Path(place)


def test_nodes_without_a_shared_disk_give_the_same_and_one_that_is_lost_is_told(
    six, tracking, cluster, checkout
):
    address, other, said_by_ray = cluster
    refused = checkout.sweep(*ON_RAY, address)
    assert refused.returncode == 1
    assert "must track to a server" in refused.stderr
    checkout.uri = tracking
    checkout.environment |= {
        "MLFLOW_TRACKING_URI": tracking,
        "MLFLOW_TRACKING_USERNAME": "me",
        "MLFLOW_TRACKING_PASSWORD": PASSWORD,
    }
    done = checkout.sweep(*SIX_JOBS, *ON_RAY, address)
    assert done.returncode == 0, done.stderr
    figures, ends = finished(tracking)
    assert figures == six
    assert set(ends) == {"FINISHED"}
    logs = {}
    for run in runs_of(tracking):
        log = opened(tracking)[0].download_artifacts(run.info.run_id, "sweep.log")
        logs.setdefault(run.data.tags["sweep.host"], []).append(Path(log).read_text())
    assert len(logs) == 2
    for told in map("".join, logs.values()):  # on each node one job made what the others took
        assert told.count(" sweep: training:") == 1
        assert told.count(" sweep: activations clean_valid:") == 1
    with under_way(checkout, *ON_RAY, address, "drop=0.5,0.6", jobs=2) as (sweep, runs):
        lost = [run for run in runs if run.data.tags["sweep.host"] == "other"]
        assert len(lost) == 1
        for process in psutil.Process(other.pid).children(recursive=True):
            process.kill()
        said, _ = sweep.communicate()
    assert sweep.returncode == 1
    assert said.count("A Ray job ended without a result") == 1
    assert opened(tracking)[0].get_run(lost[0].info.run_id).info.status == "KILLED"
    written = [*checkout.folder.rglob("*"), *said_by_ray.rglob("*")]
    assert not [f for f in written if f.is_file() and PASSWORD.encode() in f.read_bytes()]
