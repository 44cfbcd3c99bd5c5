"""What tests look for in a store: jobs' figures, and how runs ended."""

SIX_JOBS = ("ordering=increasing,decreasing", "drop=0.02,0.04,0.10")
ARTIFACTS = {
    *("classes.csv", "config.yaml", "curve.csv", "curve.png", "goodnet.keras"),
    *("repaired.h5", "repaired.keras", "result.json", "sweep.log"),
}


def opened(uri, experiment="badnet-sweep"):
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    return client, found.experiment_id if found else None


def runs_of(uri, kind="job", state=None, experiment="badnet-sweep"):
    client, experiment = opened(uri, experiment)
    if experiment is None:
        return []
    wanted = f"tags.`sweep.kind` = '{kind}'"
    if state:
        wanted += f" and attributes.status = '{state}'"
    return list(client.search_runs([experiment], wanted))


def finished(uri, experiment="badnet-sweep"):
    """Metrics of the finished jobs by what they are, without times; and the states of all runs."""
    client, experiment = opened(uri, experiment)
    runs = client.search_runs([experiment])
    jobs = [run for run in runs if run.data.tags["sweep.kind"] == "job"]
    done = [run for run in jobs if run.info.status == "FINISHED"]
    for run in done:
        files = {item.path for item in client.list_artifacts(run.info.run_id)}
        assert files >= ARTIFACTS
    timed = ("seconds", "system")
    figures = {
        (run.data.params["ordering"], run.data.params["drop"]): {
            name: value for name, value in run.data.metrics.items() if not name.startswith(timed)
        }
        for run in done
    }
    assert len(figures) == len(done), "a cell was finished twice"
    return figures, [run.info.status for run in runs]
