"""A browser on MLflow's UI and on the report, both from a small made-up sweep (`make test-ui`)."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image

from records import record, six
from sweep import ui
from sweep.reports import artifacts, plots, summary, tables
from sweep.reports import page as report
from sweep.reports.series import series
from sweep.results.records import Record

pytestmark = [pytest.mark.ui, pytest.mark.timeout(900)]
CHROMIUM = Path("/usr/bin/chromium")
SWITCHES = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
PATIENCE = 60_000  # milliseconds: a busy machine serves MLflow's pages slowly


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A store with six jobs under one sweep: its folder, the parent's id, the jobs' ids."""
    from sweep.tracking.opening import open_store

    folder = tmp_path_factory.mktemp("ui")
    store = open_store(folder / "mlruns", "badnet-sweep")
    jobs = []
    with store.run("sweep 1", {"sweep.kind": "parent", "sweep.id": "1"}) as parent:
        for made in six():
            name = summary.settings_name(made.settings)
            with store.run(name, {"sweep.kind": "job", "sweep.id": "1"}, parent) as run:
                store.log_settings(run, made.settings)
                store.log_inputs(run, made.full.facts)
                store.log_result(run, made)
                drafts = tmp_path_factory.mktemp("job")
                (drafts / "curve.csv").write_text(artifacts.curve_csv(made.full))
                plots.save(plots.draw_curve(series([made])[0], name), drafts / "curve")
                store.log_files(run, drafts)
            jobs.append(Record.from_json(made.to_json(), run))
        drafts = tmp_path_factory.mktemp("sweep")
        Image.new("RGB", (12, 16), "teal").save(drafts / "strip.png")
        about = report.About("sweep 1", "python -m sweep", "today", 6, {})
        strip = (drafts / "strip.png").read_bytes()
        report.write(drafts, jobs, {report.strip_key(jobs[0]): strip}, about, draw=True)
        store.log_files(parent, drafts)
    return folder, parent, [job.run_id for job in jobs], drafts / "report.html"


@pytest.fixture(scope="module")
def address(sweep):
    """MLflow's UI on loopback, ended with the tests."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["--mlruns", str(sweep[0] / "mlruns"), "--port", str(port)]
    with (sweep[0] / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "sweep.ui", *words],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait(f"http://127.0.0.1:{port}/health", server)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


def _wait(url, server):
    for _ in range(240):
        assert server.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - our own server
                return
        except OSError:
            time.sleep(0.5)
    pytest.fail("the server does not answer")


def _jobs_page(sweep, address):
    """What `python -m sweep.ui` tells its user to open."""
    return ui.page(sweep[0] / "mlruns", "127.0.0.1", int(address.rsplit(":", 1)[1]), "badnet-sweep")


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not there; `make test-ui` installs it on Debian")
    with sync_playwright() as play:
        started = play.chromium.launch(executable_path=str(CHROMIUM), args=list(SWITCHES))
        yield started
        started.close()


@pytest.fixture
def page(browser):
    """A page that must not ask anybody but this machine."""
    context = browser.new_context(viewport={"width": 1700, "height": 1000})
    context.set_default_timeout(PATIENCE)
    asked = []
    context.on("request", lambda request: asked.append(request.url))
    yield context.new_page()
    context.close()
    away = [url for url in asked if url.startswith("http") and "//127.0.0.1:" not in url]
    assert not [url for url in away if "mlflow" not in url], away


def test_the_runs_page_shows_settings_and_figures_and_compares(page, sweep, address):
    page.goto(_jobs_page(sweep, address))
    page.get_by_role("columnheader", name="G ASR").first.wait_for()
    page.get_by_text("6 matching runs").wait_for()
    page.locator(".ag-header-select-all input").first.check(force=True)
    page.get_by_test_id("runs-compare-button").click()
    page.get_by_text("Comparing 6 Runs").first.wait_for()
    page.get_by_text("goodnet/test_accuracy").first.wait_for()


def test_the_chart_view_has_the_curves(page, sweep, address):
    page.goto(_jobs_page(sweep, address))
    page.get_by_text("6 matching runs").wait_for()
    page.locator("label:has(input[value=CHART])").click()
    page.get_by_text("Pruning curves").first.wait_for()
    page.locator(".js-plotly-plot .scatterlayer .trace").first.wait_for(state="attached")
    assert page.locator(".js-plotly-plot .scatterlayer .trace").count() >= 12


def test_the_compare_page_names_all_six(page, sweep, address):
    runs, experiments = quote(json.dumps(sweep[2])), quote('["1"]')
    page.goto(f"{address}/#/compare-runs?runs={runs}&experiments={experiments}")
    page.get_by_text("Comparing 6 Runs").first.wait_for()
    for word in ("increasing X=2%", "decreasing X=10%"):
        page.get_by_text(word).first.wait_for(state="attached")


def test_an_artifact_can_be_downloaded(page, sweep, address):
    page.goto(f"{address}/#/experiments/1/runs/{sweep[2][0]}/artifacts/curve.csv")
    with page.expect_download() as download:
        page.locator("button[data-component-id*=artifactview]").first.click()
    text = Path(download.value.path()).read_text()
    assert text.startswith("step,channel,score,valid_accuracy,valid_asr")


def test_names_do_nothing_in_the_note_of_a_run(page, sweep, address):
    from sweep.tracking.opening import open_store

    evil = "[a](javascript:alert(1)) ![p](/evil.png) <img src=/evil.png onerror=alert(1)> `c`"
    table = summary.markdown([record(file=name) for name in (evil, "b")])
    note = f"{tables.code(f'python -m sweep file={evil}')}\n\n{table}"
    tags = {"sweep.kind": "parent", "sweep.id": evil, "mlflow.note.content": note}
    with open_store(sweep[0] / "mlruns", "badnet-sweep").run(evil, tags) as run:
        pass
    problems = []
    page.on("dialog", lambda dialog: problems.append(dialog.message))
    page.on("request", lambda request: problems.extend({"evil.png"} & {*request.url.split("/")}))
    page.goto(f"{address}/#/experiments/1/runs/{run}")
    page.get_by_role("heading", name=f"Increasing order, file {evil}").wait_for()
    page.locator("pre", has_text=f"python -m sweep file={evil}").wait_for()
    assert page.locator("img[src*=evil], a[href*=alert]").count() == 0
    assert not problems


def test_the_report_opens_in_the_artifact_view(page, sweep, address):
    page.goto(f"{address}/#/experiments/1/runs/{sweep[1]}/artifacts/report.html")
    inside = page.frame_locator("iframe").first
    inside.get_by_role("heading", name="Pruning a backdoored network").wait_for()
    inside.get_by_role("button", name="pruned").click()
    inside.locator("th[aria-sort=ascending]").wait_for()


def test_the_report_sorts_and_tells_values(page, sweep):
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(sweep[3].as_uri())
    heading = page.get_by_role("button", name="G accuracy")
    names = page.locator("table.sortable thead th").all_inner_texts()
    place = names.index("G accuracy") + 1
    cells = page.locator(f"table.sortable tbody tr td:nth-child({place})")
    for way in (1, -1):
        heading.click()
        shown = [float(text) for text in cells.all_inner_texts()]
        assert shown == sorted(shown)[::way]
    page.locator("svg[data-chart='0']").hover(position={"x": 40, "y": 100})
    assert "0 channels pruned\nclean accuracy 99.00%" in page.locator("#tip").inner_text()
    page.locator("svg[data-kind='overlay'] >> nth=1").hover()
    assert "order\n" in page.locator("#tip").inner_text()
    page.locator("svg[data-kind='ways']").hover()
    assert "attack success" in page.locator("#tip").inner_text()
    page.locator("select").select_option(index=5)
    assert page.locator("dd.rejected").count() == 2
    assert not problems


@pytest.mark.parametrize("width", [380, 1200])
def test_the_report_fits_its_page(browser, sweep, width):
    context = browser.new_context(viewport={"width": width, "height": 800})
    page = context.new_page()
    page.goto(sweep[3].as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    sought = page.locator("table.sortable th", has_text="G ASR").first.bounding_box()
    assert sought["x"] + sought["width"] <= width
    context.close()


def test_the_report_is_dark_where_the_reader_likes_it(browser, sweep):
    colors = set()
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme)
        page = context.new_page()
        page.goto(sweep[3].as_uri())
        colors.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        context.close()
    assert colors == {"rgb(255, 255, 255)", "rgb(22, 22, 20)"}
