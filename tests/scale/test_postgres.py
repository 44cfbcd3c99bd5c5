"""Tracking by a server on PostgreSQL, and studies that several invocations share there."""

import base64
import http.client
import os
import re
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg
import pytest

from services import free_port, service, until
from stores import SIX_JOBS, finished, runs_of

pytestmark = pytest.mark.scale

# Of whoever tracks; the database's is in its fixture.
PASSWORD = "Sesam/oeffne%dich"  # noqa: S105
TRIALS = 40
SEARCH = (
    *(
        "hydra/sweeper=optuna",
        "objective=clean_only",
        "curve=until_drop",
        "drop=interval(0.01,0.2)",
    ),
    *("criterion=choice(l1,l2,mean_activation,random)", f"hydra.sweeper.n_trials={TRIALS}"),
)


class Server:
    """An MLflow server on PostgreSQL that keeps its artifacts itself."""

    def __init__(self, database, folder):
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.artifacts = folder / "artifacts"
        self.log = folder / "server.log"
        self.command = [
            *(sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database),
            *("--artifacts-destination", str(self.artifacts), "--serve-artifacts"),
            *("--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"),
        ]
        self.environment = {
            **os.environ,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }

    @contextmanager
    def running(self):
        with service(self.command, self.log, env=self.environment):
            until(self.answers, 120)
            yield

    def answers(self):
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)) as connection:
            try:
                connection.request("GET", "/health")
            except OSError:
                return False
            return connection.getresponse().status == 200


class Door(BaseHTTPRequestHandler):
    """What stands before a server: asks for the password, and once loses an answer on the way."""

    protocol_version = "HTTP/1.1"
    server_port = 0
    loses = "/runs/create"
    lost = 0
    login = "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = dict(self.headers)
        if headers.pop("Transfer-Encoding", None):  # so requests sends an empty file
            while self.rfile.readline().strip():
                pass
        if self.headers.get("Authorization") != self.login:
            status, kind, content = 401, "text/plain", b"You are not authenticated."
        else:
            with closing(http.client.HTTPConnection("127.0.0.1", Door.server_port)) as inner:
                inner.request(self.command, self.path, body, headers)
                answer = inner.getresponse()
                status, kind, content = answer.status, answer.headers["Content-Type"], answer.read()
        if self.path.endswith(self.loses) and not Door.lost:
            Door.lost += 1
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the library's names

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server(postgres, tmp_path_factory):
    return Server(f"{postgres}/tracking", tmp_path_factory.mktemp("server"))


@pytest.fixture
def door(server):
    Door.server_port, Door.lost = server.port, 0
    with server.running(), ThreadingHTTPServer(("127.0.0.1", 0), Door) as door:
        thread = threading.Thread(target=door.serve_forever)
        thread.start()
        yield f"127.0.0.1:{door.server_port}"
        door.shutdown()
        thread.join()


@pytest.fixture
def checkout(checkout, tmp_path):
    """A fresh place for each test."""
    return type(checkout)(tmp_path, checkout.data)


def leaks(words, folders, texts, database):
    """Where any of the words is found: in files, in what was printed, in tables."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    texts = {f"text {number}": text.encode() for number, text in enumerate(texts)}
    texts |= {str(path): path.read_bytes() for path in files}
    with psycopg.connect(database) as connection:
        tables = connection.execute(
            "select table_name from information_schema.tables where table_schema = 'public'"
        ).fetchall()
        for (table,) in tables:
            rows = connection.execute(f'select * from "{table}"').fetchall()  # noqa: S608
            texts[table] = str(rows).encode()
    return [name for name, text in texts.items() if any(word.encode() in text for word in words)]


def test_six_jobs_tracked_on_postgresql_give_the_same(
    postgres, server, door, six, checkout, monkeypatch
):
    from urllib.parse import quote

    address = f"http://me:{quote(PASSWORD, safe='')}@{door}"
    checkout.environment["MLFLOW_TRACKING_URI"] = address
    done = checkout.sweep(*SIX_JOBS)
    assert done.returncode == 0, done.stderr
    assert Door.lost == 1
    figures, ends = finished(server.uri)
    assert figures == six
    assert ends == ["FINISHED"] * 7  # none is there twice
    shown = re.search(r"look at them with: (\S+)", done.stdout)[1]
    assert shown.startswith(f"http://{door}/#/experiments/")
    again = checkout.sweep(*SIX_JOBS)
    assert "6 jobs: 6 done" in again.stderr
    run = runs_of(server.uri)[0].info.run_id
    target = checkout.folder / "exported"
    tools = [
        checkout.run([sys.executable, "-m", "sweep.export", run, str(target)]),
        checkout.run([sys.executable, "-m", "sweep.reproduce", run]),
        checkout.run([sys.executable, "-m", "sweep.ui"]),
    ]
    assert [tool.returncode for tool in tools] == [0, 0, 0], tools
    assert (target / "report.html").exists() or (target / "repaired.keras").exists()
    assert "all figures agree" in tools[1].stdout
    assert f"http://...@{door}" in tools[2].stdout
    failed = checkout.sweep("layer=none", "drop=0.5")
    assert failed.returncode == 1
    checkout.environment["MLFLOW_TRACKING_URI"] = address.replace("me:", "you:")
    refused = checkout.sweep(*SIX_JOBS)
    assert refused.returncode == 1
    assert "not authenticated" in refused.stderr
    assert "Traceback" not in refused.stderr
    said = [
        text for one in (done, again, failed, refused, *tools) for text in (one.stdout, one.stderr)
    ]
    words = (PASSWORD, quote(PASSWORD, safe=""), Door.login.partition(" ")[2])
    assert leaks(words, [checkout.folder, server.artifacts], said, f"{postgres}/tracking") == []


def test_a_server_that_is_away_for_a_minute_costs_the_wait(server, six, checkout, monkeypatch):
    from sweep.tracking.opening import open_store

    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    mine = "tracking.experiment=away"
    checkout.environment["MLFLOW_TRACKING_URI"] = server.uri
    with ExitStack() as stack:
        with server.running():
            process = stack.enter_context(checkout.started(*SIX_JOBS, mine))
            runs = until(lambda: runs_of(server.uri, state="FINISHED", experiment="away"), 120)
            store = open_store(checkout.mlruns, "away")
            store.past_jobs()  # from now on it knows where their files are
        reading = stack.enter_context(ThreadPoolExecutor()).submit(
            store.read, runs[0].info.run_id, "config.yaml"
        )
        time.sleep(60)
        with server.running():
            said, _ = process.communicate(timeout=240)
            assert process.returncode == 0, said
            figures, ends = finished(server.uri, "away")
        assert b"criterion:" in reading.result(60)
    assert figures == six
    assert ends == ["FINISHED"] * 7


def test_a_server_that_is_not_there_is_one_sentence(checkout):
    checkout.environment["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{free_port()}"
    done = checkout.sweep(*SIX_JOBS)
    assert done.returncode == 1
    assert "The MLflow store http" in done.stderr
    assert "could not be opened or written" in done.stderr
    assert "Traceback" not in done.stderr


_CROWD = """
import sys
from concurrent.futures import ThreadPoolExecutor
import optuna
from sweep.results import goals
from sweep.sweeps import space as spaces, study
space = spaces.parse_space(["drop=interval(0.01,0.1)"], None, None)
goal = goals.find("clean_only", None, None)
def begin(number):
    sampler = optuna.samplers.RandomSampler(seed=number)
    return study.open_study("crowd", sys.argv[1], goal, space.described(), sampler).study_name
with ThreadPoolExecutor(8) as pool:
    print(*pool.map(begin, range(8)))
"""


def test_a_study_is_begun_by_a_crowd(postgres, checkout):
    done = checkout.run([sys.executable, "-c", _CROWD, f"{postgres}/crowd"])
    assert done.stdout.split() == ["crowd"] * 8, done.stderr


def test_two_invocations_share_a_study_though_one_is_killed(postgres, server, checkout):
    checkout.environment["MLFLOW_TRACKING_URI"] = server.uri
    study = f"{postgres}/study"
    search = (*SEARCH, f"hydra.sweeper.storage={study}", "tracking.experiment=study")

    def complete():
        with psycopg.connect(study) as connection, suppress(psycopg.errors.UndefinedTable):
            query = "select count(*) from trials where state = 'COMPLETE'"
            return connection.execute(query).fetchone()[0]
        return 0

    with server.running():
        with checkout.started(*search) as gone, checkout.started(*search) as other:
            until(lambda: complete() >= 5, 240)
            gone.kill()
            said, _ = other.communicate(timeout=600)
            assert other.returncode == 0, said
        assert complete() == TRIALS
        done = runs_of(server.uri, "job", "FINISHED", "study")
        tried = [run.data.params["trial"] for run in done if run.data.params["trial"]]
        assert len(tried) == len(set(tried)) == TRIALS
        (parent,) = runs_of(server.uri, "parent", experiment="study")
        assert parent.info.status == "FINISHED"
    word = re.search(r"//me:(.*?)@", postgres)[1]
    assert leaks([word], [checkout.folder, server.artifacts], [said], f"{postgres}/tracking") == []
