"""Every fit ends at the least loss, whatever the size of the logits."""

from functools import partial

import numpy as np
import pytest

from coverax.reliability import least as least_module
from coverax.reliability.affine import fit_affine
from coverax.reliability.least import Voxels, least
from coverax.reliability.ordered import fit_ordered, ordered_sample

N, C = 5_000, 4
SCALES = (0.05, 0.3, 10.0)  # the fitted weights stay below their bound


def drawn():
    rng = np.random.default_rng(0)
    z = rng.normal(0, 2, (C, N)) + np.array([[1.0], [0.0], [-1.0], [0.5]])
    return z, (0.7 * z + rng.gumbel(size=z.shape)).argmax(0)


FITS = {
    "matrix": (Voxels, partial(fit_affine, diagonal=False)),
    "vector": (Voxels, partial(fit_affine, diagonal=True)),
    "ordered": (ordered_sample, fit_ordered),
}


def fit_of(form, z, y, weights=(1.0,)):
    """A fit of voxels dealt out to samples of these weights."""
    make, fit = FITS[form]
    n = len(weights)
    return fit([make(z[:, k::n], y[k::n], w) for k, w in enumerate(weights)])


@pytest.mark.parametrize("part", [500, N])  # voxels that show the way; all of them
@pytest.mark.parametrize("form", FITS)
def test_logits_of_another_size_have_the_same_least_loss(form, part, monkeypatch):
    monkeypatch.setattr(least_module, "_PART", part)
    z, y = drawn()
    whole = fit_of(form, z, y)
    assert whole.status == "OK"
    for scale in SCALES:
        fit = fit_of(form, scale * z, y)
        assert fit.status == "OK"
        assert fit.nll_after == pytest.approx(whole.nll_after, rel=1e-12, abs=0)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (3.0, 0.5)])
@pytest.mark.parametrize("form", FITS)
def test_a_part_of_the_voxels_shows_the_way_to_the_same_least_loss(
    form, weights, monkeypatch
):
    z, y = drawn()
    guided_searches, thinnings = [], []
    search = least_module._search_guided
    monkeypatch.setattr(
        least_module,
        "_search_guided",
        lambda *a: guided_searches.append(1) or search(*a),
    )
    thin = least_module.thinned
    monkeypatch.setattr(
        least_module, "thinned", lambda s, step: thinnings.append(step) or thin(s, step)
    )
    whole = fit_of(form, z, y, weights)
    assert (guided_searches, thinnings) == ([], [1])
    monkeypatch.setattr(least_module, "_PART", 500)
    guided = fit_of(form, z, y, weights)
    assert (guided_searches, thinnings) == ([1], [1, 10])
    assert guided.status == whole.status == "OK"
    assert guided.nll_before == pytest.approx(whole.nll_before, rel=1e-13, abs=0)
    assert guided.nll_after == pytest.approx(whole.nll_after, rel=1e-13, abs=0)


def bowl(x):
    """Least, 3, at 1 and -2; a thousand times steeper in one parameter than in the other."""
    gap = np.array([1e-3, 1.0]) * (x - np.array([1.0, -2.0]))
    return 3 + 1e-6 * gap @ gap, 2e-6 * np.array([1e-3, 1.0]) * gap


def test_a_loss_that_hardly_slopes_is_followed_to_its_end():
    found = least(bowl, np.array([500.0, 500.0]))
    assert found.loss == pytest.approx(3, rel=1e-15, abs=0)
    inside = least(bowl, np.array([500.0, 500.0]), [(0.0, 1000.0)] * 2)
    assert inside.at[1] == 0


def shifted(by):
    """The bowl, elsewhere."""
    return lambda x: bowl(x - np.asarray(by))


def test_a_part_that_lies_elsewhere_costs_nothing_but_steps():
    start, bounds = np.array([500.0, 500.0]), [(-1000.0, 1000.0)] * 2
    found = least(bowl, start, bounds, shifted([300, -200]))
    assert found.loss == pytest.approx(3, rel=1e-15, abs=0)
    flat = least(bowl, start, bounds, lambda x: (1.0, 0 * x))
    assert flat.loss == pytest.approx(3, rel=1e-15, abs=0)


def test_a_least_value_at_a_bound_is_found_from_a_part_as_well():
    start, bounds = np.array([500.0, 500.0]), [(-1000.0, 1000.0), (0.0, 1000.0)]
    for part in (bowl, shifted([0, 5])):  # its own least value is at the bound, or not
        found = least(bowl, start, bounds, part)
        assert found.at[1] == 0
        assert found.loss == pytest.approx(3 + 4e-6, rel=1e-12, abs=0)


def test_a_search_that_is_cut_short_is_not_called_least(monkeypatch):
    monkeypatch.setattr("coverax.reliability.least._STEPS", 1)
    with pytest.raises(ValueError, match="the loss still falls after 1 steps"):
        least(bowl, np.array([500.0, 500.0]))
