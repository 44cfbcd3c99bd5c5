"""What may be asked of criteria, and blends; nothing here needs a network."""

from dataclasses import dataclass

import numpy as np
import pytest

from sweep import criteria
from sweep.base.errors import ConfigError
from sweep.pruning.order import mean_ranks

WEIGHTS = "criterion.params.weights"


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("l3", {}, "criterion must be one of anp, apoz, blend, .* Received: l3."),
        ("l1", {"bins": 3}, "which takes none. Received: criterion.params.bins=3. Leave it out."),
        ("entropy", {"bin": 3}, "which takes bins. Received: criterion.params.bin=3."),
        ("entropy", {"bins": 1}, "bins must be a whole number of at least 2. Received: .*bins=1."),
        ("entropy", {"bins": 2.5}, "bins must be a whole number of at least 2."),
        ("entropy", {"bins": "many"}, "Received: criterion.params.bins=many."),
        ("entropy", {"bins": True}, "Received: criterion.params.bins=True."),
        ("entropy", {"bins": None}, "Received: criterion.params.bins=None."),
        ("anp", {"epsilon": 0}, "epsilon must be a number above 0. Received: .*epsilon=0."),
        ("anp", {"epsilon": float("nan")}, "Received: criterion.params.epsilon=nan."),
        ("anp", {"epsilon": float("inf")}, "Received: criterion.params.epsilon=inf."),
        ("anp", {"alpha": 1.1}, "alpha must be a number of at least 0 and at most 1."),
        ("blend", {}, "criterion blend must have a weight other than 0. Received: .*={}."),
        ("blend", {"weights": None}, "must have a weight other than 0. Received: .*={}."),
        ("blend", {"weights": {}}, "criterion blend must have a weight other than 0."),
        ("blend", {"weights": {"l1": 0, "l2": 0.0}}, "must have a weight other than 0."),
        ("blend", {"weights": {"l1": "much"}}, f"{WEIGHTS} must map criteria to finite numbers"),
        ("blend", {"weights": {"l1": float("inf")}}, f"{WEIGHTS} must map criteria to"),
        ("blend", {"weights": ["l1"]}, f"{WEIGHTS} must map criteria to finite numbers"),
        ("blend", {"weights": {"l3": 1}}, "criterion must be one of .* Received: l3."),
        ("blend", {"weights": {"l3": 0, "l1": 1}}, "criterion must be one of .* Received: l3."),
        ("blend", {"weights": {"blend": 1}}, "criterion blend must not blend itself."),
    ],
)
def test_one_sentence_tells_what_is_wrong(name, params, message):
    with pytest.raises(ConfigError, match=message):
        criteria.check(name, params)


@pytest.mark.parametrize(
    ("name", "params", "sees"),
    [
        ("l1", {}, "weights"),
        ("random", {}, "weights"),
        ("anp", {"epsilon": 1, "alpha": 0, "iterations": 5}, "clean"),
        ("tac", {}, "oracle"),
        ("blend", {"weights": {"l1": 1, "clp": -2}}, "weights"),
        ("blend", {"weights": {"l1": 1, "apoz": 0.5}}, "clean"),
        ("blend", {"weights": {"tac": 1e-3, "apoz": 0.5}}, "oracle"),
        ("blend", {"weights": {"tac": 0, "apoz": 0.5}}, "clean"),
    ],
)
def test_what_a_choice_sees(name, params, sees):
    criteria.check(name, params)
    assert criteria.sees(name, params) == sees


@pytest.mark.parametrize(
    ("scores", "ranks"),
    [
        ([3, 1, 2], [2, 0, 1]),
        ([0, 0, 5, 7], [0.5, 0.5, 2, 3]),
        ([2, 2, 2], [1, 1, 1]),
        ([4], [0]),
    ],
)
def test_equal_scores_share_their_mean_rank(scores, ranks):
    np.testing.assert_allclose(mean_ranks(np.array(scores, float)), ranks)


@pytest.fixture
def shown():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 2, 5)).astype(np.float32)
    activations = np.random.default_rng(1).random((8, 2, 2, 5), np.float32)
    cut = criteria.Cut(None, ())
    return criteria.Clean((kernel,), 0, activations, np.arange(8) % 3, cut)


def test_a_blend_is_the_weighted_sum_of_ranks(shown):
    members = {"l1": 1.0, "mean_activation": -0.5, "tac": 0}
    expected = mean_ranks(criteria.score("l1", shown, {})) / 4
    expected -= 0.5 * mean_ranks(criteria.score("mean_activation", shown, {})) / 4
    np.testing.assert_allclose(criteria.score("blend", shown, {"weights": members}), expected)


def test_a_blend_of_one_keeps_its_order(shown):
    alone = criteria.score("l1", shown, {})
    blended = criteria.score("blend", shown, {"weights": {"l1": 3}})
    np.testing.assert_array_equal(np.argsort(blended), np.argsort(alone))


def test_a_blend_cannot_look_further_than_its_members(shown):
    bare = criteria.Weights(shown.kernels, 0)
    criteria.score("blend", bare, {"weights": {"l1": 1, "fpgm": 1}})
    with pytest.raises(AttributeError):
        criteria.score("blend", bare, {"weights": {"l1": 1, "apoz": 1}})
    with pytest.raises(AttributeError):
        criteria.score("blend", shown, {"weights": {"l1": 1, "tac": 1}})


def test_scores_must_be_finite_and_one_per_channel(shown, monkeypatch):
    from sweep.criteria import registry as _registry

    @dataclass
    class Wrong:
        answer: object

        def __call__(self, evidence):
            return self.answer

    for answer in (np.zeros(4), np.array([0, 1, 2, np.nan, 4]), np.zeros((5, 1))):
        made = _registry.Criterion("wrong", {}, Wrong(answer), "weights", False)
        monkeypatch.setitem(_registry._CRITERIA._entries, "wrong", made)
        with pytest.raises(ValueError, match="criterion wrong must give 5 finite scores"):
            criteria.score("wrong", shown, {})


def test_a_criterion_must_declare_what_it_sees_and_its_rules():
    from sweep.criteria import registry as _registry

    with pytest.raises(ValueError, match="sees one of weights, clean, oracle"):
        _registry.criterion(sees="everything")
    with pytest.raises(TypeError, match="a rule for each of its parameters"):
        _registry.criterion(sees="clean")(lambda evidence, bins=3: evidence)


def test_evidence_is_read_only(shown, monkeypatch):
    from sweep.criteria import registry as _registry

    def spoil(evidence):
        evidence.activations[0] = 0

    made = _registry.Criterion("spoil", {}, spoil, "clean", False)
    monkeypatch.setitem(_registry._CRITERIA._entries, "spoil", made)
    with pytest.raises(ValueError, match="read-only"):
        criteria.score("spoil", shown, {})
