import json

import numpy as np
import pytest

from records import record
from sweep.results.records import Record, Row


def test_a_record_survives_json():
    before = record(drop=0.1)
    after = Record.from_json(before.to_json(), before.run_id)
    assert np.array_equal(after.result.scores, before.result.scores)
    assert after.row == before.row
    assert after.result.curve == before.result.curve
    assert after.result.samples == before.result.samples
    assert after.result.dead == before.result.dead
    assert after.to_json() == before.to_json()


def test_a_record_of_another_format_is_refused():
    plain = json.loads(record().to_json())
    for other in ({**plain, "format": 99}, [plain], {}):
        with pytest.raises(ValueError, match="format"):
            Record.from_json(json.dumps(other), "")


def test_a_row_survives_json():
    row = record().row
    assert Row.from_json(row.to_json(), row.run_id) == row
