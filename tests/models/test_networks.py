"""Networks that are trained here: one contract for all."""

import numpy as np
import pytest

from sweep.models import networks
from sweep.models.load import load_badnet


@pytest.mark.parametrize("name", networks.names())
def test_contract(name, tmp_path):
    """It opens as any network from a file does, and answers as it was saved."""
    built = networks.find(name).function(7, (55, 47, 3))
    built.save(tmp_path / "b.keras")
    opened = load_badnet(tmp_path / "b.keras")
    images = np.random.default_rng(0).random((3, 55, 47, 3), np.float32)
    answers = built.predict_on_batch(images)
    np.testing.assert_allclose(opened.predict_on_batch(images), answers, atol=1e-6)
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-5)
    assert answers.shape == (3, 7)
    assert built.get_layer("conv_3").output.shape[-1] == 60
    assert built.get_layer("pool_3").output.shape[-1] == 60
