import json

import numpy as np
import pytest

from records import record
from sweep.results.records import Count, Curve, Record, Sample, Stop

# Written by the version before format 2.
FORMAT_1 = """
{"format": 1, "settings": {"ordering": "increasing", "drop": 0.04, "seed": 0, "criterion": "l1",
"criterion.params": null}, "result": {"scores": [0.5, 0.0, 0.25], "curve": {"channels": [1, 2],
"clean_correct": [9, 9, 7], "clean_total": 10, "attack_hits": [8, 8, 3], "attack_total": 8},
"stop": {"pruned": 2, "reached": true}, "figures": {"repaired/test_accuracy": {"hits": 7, "total":
10}, "goodnet/test_asr": {"hits": 3, "total": 8}}, "facts": {"badnet": {"sha256": "b0"}},
"seconds": {"curve": 1.5}, "dead": [1], "samples": [{"kind": "clean", "index": 0, "label": 4,
"badnet": 4, "repaired": 4, "goodnet": 4}], "peak_bytes": {"curve": 1000}, "cpu_seconds": 2.5},
"versions": {"keras": "3.15.1"}, "git": {"sweep.git_dirty": "false"}}
"""
TAG = """
[{"ordering": "increasing", "drop": 0.04, "seed": 0, "criterion": "l1", "criterion.params": null},
{"repaired/test_accuracy": [7, 10], "goodnet/test_asr": [3, 8]}, [2, true], 3]
"""


def test_a_record_survives_json():
    before = record(drop=0.1)
    after = Record.from_json(before.to_json(), before.run_id)
    assert np.array_equal(after.full.scores, before.full.scores)
    assert after.brief == before.brief
    assert after.full.curve == before.full.curve
    assert after.full.samples == before.full.samples
    assert after.full.dead == before.full.dead
    assert after.to_json() == before.to_json()


def test_a_record_of_another_format_is_refused():
    plain = json.loads(record().to_json())
    for other in ({**plain, "format": 99}, [plain], {}):
        with pytest.raises(ValueError, match="format"):
            Record.from_json(json.dumps(other), "")


def test_a_summary_survives_json_and_has_no_details():
    brief = record().brief
    assert Record.from_json(brief.to_json(), brief.run_id) == brief
    with pytest.raises(ValueError, match="without details"):
        _ = brief.full


def test_the_texts_of_the_version_before_are_read():
    job = Record.from_json(FORMAT_1, "run")
    assert job.settings["criterion.params"] is None
    assert job.figures == {"repaired/test_accuracy": Count(7, 10), "goodnet/test_asr": Count(3, 8)}
    assert (job.stop, job.channels, job.run_id) == (Stop(2, reached=True), 3, "run")
    details = job.full
    assert details.scores.tolist() == [0.5, 0.0, 0.25]
    assert details.curve == Curve((1, 2), (9, 9, 7), 10, (8, 8, 3), 8)
    assert (details.facts, details.seconds) == ({"badnet": {"sha256": "b0"}}, {"curve": 1.5})
    assert (details.dead, details.samples) == ((1,), (Sample("clean", 0, 4, 4, 4, 4),))
    assert (details.peak_bytes, details.cpu_seconds) == ({"curve": 1000}, 2.5)
    assert (details.versions, details.git) == ({"keras": "3.15.1"}, {"sweep.git_dirty": "false"})
    assert Record.from_json(TAG, "run") == job.brief
    assert Record.from_json(job.to_json(), "run").to_json() == job.to_json()
