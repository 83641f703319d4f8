"""The estimator keeps the rules of scikit-learn, installed or not."""

import pickle

import numpy as np
import pytest
from tests.sets_cohort import blobs

import coverax as cx
from coverax.predict import ConformalSegmenter

PROBS, LABELS = blobs(40, 3)


def fitted(**params):
    return ConformalSegmenter(alpha=0.2, **params).fit(PROBS[:25], LABELS[:25])


def test_it_is_the_three_calls_of_the_readme():
    table = cx.scores.score_arrays(PROBS[:25], LABELS[:25], 0.1)
    want = cx.calibrate.calibrate_fnr(table, alpha=0.2)
    model = fitted()
    assert model.calibration_.thresholds == want.thresholds
    cut = want.thresholds[0].probability
    masks = model.predict(PROBS[25:])
    assert masks.dtype == bool
    np.testing.assert_array_equal(masks, PROBS[25:] >= np.float32(cut))
    missed = (LABELS[25:] & ~masks).sum((1, 2, 3)) / LABELS[25:].sum((1, 2, 3))
    assert model.score(PROBS[25:], LABELS[25:]) == np.mean(missed <= 0.1)


def test_maps_of_several_shapes_and_regions_come_back_as_they_are():
    cropped = [PROBS[30], PROBS[31, :5]]
    found = fitted().predict(cropped)
    assert [mask.shape for mask in found] == [p.shape for p in cropped]
    both = np.stack([1 - PROBS, PROBS], -1)
    options = {"regions": ["a=1:1", "b=0:2"], "channels": "last"}
    labels = np.where(LABELS, 1, 2)
    model = ConformalSegmenter(0.2, **options).fit(both[:25], labels[:25])
    assert list(model.predict(both[25:])) == ["a", "b"]
    np.testing.assert_array_equal(
        model.predict(both[25:])["a"], fitted().predict(PROBS[25:])
    )


@pytest.mark.parametrize("params", [{}, {"tolerance": "0.05", "delta": 0.1}])
def test_parameters_are_kept_as_they_are_given(params):
    """What `sklearn.base.clone` asks: the constructor stores, and checks nothing."""
    model = ConformalSegmenter(**params)
    again = type(model)(**model.get_params())
    for name, value in model.get_params().items():
        assert getattr(again, name) is value
    assert vars(again) == vars(model)
    assert model.set_params(alpha=0.3) is model
    assert model.alpha == 0.3
    with pytest.raises(ValueError, match="no parameter level; it has alpha, tolerance"):
        model.set_params(level=1)
    assert ConformalSegmenter(alpha=7).alpha == 7


def test_it_is_pickled_fitted_or_not():
    shown = "ConformalSegmenter(alpha=0.2, tolerance=0.1)"
    for model in (ConformalSegmenter(0.2), fitted()):
        again = pickle.loads(pickle.dumps(model))
        assert again.get_params() == model.get_params()
        assert repr(again) == repr(model) == shown
    np.testing.assert_array_equal(again.predict(PROBS), model.predict(PROBS))


def test_what_it_cannot_promise_is_refused_at_once():
    with pytest.raises(ValueError, match="not fitted yet: call fit"):
        ConformalSegmenter().predict(PROBS)
    with pytest.raises(ValueError, match=r"TOO_FEW_CASES|too few"):
        ConformalSegmenter(alpha=0.01).fit(PROBS[:5], LABELS[:5])
    with pytest.raises(ValueError, match="alpha must"):
        ConformalSegmenter(alpha=7).fit(PROBS, LABELS)
    with pytest.raises(ValueError, match="every reference is empty"):
        fitted().score(PROBS[:2], np.zeros_like(LABELS[:2]))


def test_scikit_learn_clones_and_searches_it():
    base = pytest.importorskip("sklearn.base")
    selection = pytest.importorskip("sklearn.model_selection")
    model = fitted()
    fresh = base.clone(model)
    assert fresh.get_params() == model.get_params()
    assert not hasattr(fresh, "calibration_")
    scores = selection.cross_val_score(fresh, PROBS, LABELS, cv=2)
    assert ((scores >= 0) & (scores <= 1)).all()
    search = selection.GridSearchCV(fresh, {"alpha": [0.2, 0.4]}, cv=2)
    assert search.fit(PROBS, LABELS).best_params_["alpha"] in (0.2, 0.4)
