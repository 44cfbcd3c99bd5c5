"""How MLflow's own page shows the jobs of an experiment."""

from __future__ import annotations

import json

# Metrics that MLflow's narrow columns show by their whole names: of which figure of the table.
SHORT = {"G accuracy": "goodnet/test_accuracy", "G ASR": "goodnet/test_asr"}
# The view of an experiment's runs that opens with the columns that matter.
VIEW = "jobs"


def view() -> str:
    """A view of the jobs that MLflow's page lists under "Views": what to look at, best first."""
    columns = [
        *(f"metrics.`{name}`" for name in SHORT),
        *(f"metrics.`repaired/test_{rate}`" for rate in ("accuracy", "asr")),
        "metrics.`pruned_channels`",
        *(f"params.`{name}`" for name in ("ordering", "drop", "criterion", "seed")),
    ]
    charts = [
        {"type": "LINE", "metricKey": f"curve/valid_{rate}", "xAxisKey": "step"}
        | {"selectedMetricKeys": [f"curve/valid_{rate}"], "scaleType": "linear"}
        | {"useGlobalLineSmoothing": False, "lineSmoothness": 0}
        for rate in ("accuracy", "asr")
    ]
    charts += [{"type": "BAR", "metricKey": f"goodnet/test_{rate}"} for rate in ("accuracy", "asr")]
    sections = (("curves", "Pruning curves", charts[:2]), ("good", "GoodNet", charts[2:]))
    state = {
        "searchFilter": "tags.`sweep.kind` = 'job'",
        "orderByKey": "metrics.`goodnet/test_asr`",
        "orderByAsc": True,
        "selectedColumns": columns,
        "isAccordionReordered": True,
        "compareRunSections": [
            {"uuid": uuid, "name": name, "display": True, "isReordered": True, "isGenerated": True}
            for uuid, name, _ in sections
        ],
        "compareRunCharts": [
            {"uuid": f"{uuid}{number}", "metricSectionId": uuid, "runsCountToCompare": 20, **chart}
            for uuid, _, mine in sections
            for number, chart in enumerate(mine)
        ],
    }
    return json.dumps(
        {"name": "Jobs, best GoodNet first", "createdAt": 0, "state": json.dumps(state)}
    )
