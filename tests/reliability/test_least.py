"""Every fit ends at the least loss, whatever the size of the logits."""

import numpy as np
import pytest

from coverax.reliability.affine import AffineSample, fit_affine
from coverax.reliability.least import least
from coverax.reliability.ordered import fit_ordered, ordered_sample

N, C = 5_000, 4
SCALES = (0.05, 0.3, 10.0)  # the fitted weights stay below their bound


def drawn():
    rng = np.random.default_rng(0)
    z = rng.normal(0, 2, (C, N)) + np.array([[1.0], [0.0], [-1.0], [0.5]])
    return z, (0.7 * z + rng.gumbel(size=z.shape)).argmax(0)


FITS = {
    "matrix": lambda z, y: fit_affine([AffineSample(z, y, 1.0)], diagonal=False),
    "vector": lambda z, y: fit_affine([AffineSample(z, y, 1.0)], diagonal=True),
    "ordered": lambda z, y: fit_ordered([ordered_sample(z, y)]),
}


@pytest.mark.parametrize("form", FITS)
def test_logits_of_another_size_have_the_same_least_loss(form):
    z, y = drawn()
    whole = FITS[form](z, y)
    assert whole.status == "OK"
    for scale in SCALES:
        fit = FITS[form](scale * z, y)
        assert fit.status == "OK"
        assert fit.nll_after == pytest.approx(whole.nll_after, rel=1e-12, abs=0)


def bowl(x):
    """Least, 3, at 1 and -2; a thousand times steeper in one parameter than in the other."""
    gap = np.array([1e-3, 1.0]) * (x - np.array([1.0, -2.0]))
    return 3 + 1e-6 * gap @ gap, 2e-6 * np.array([1e-3, 1.0]) * gap


def test_a_loss_that_hardly_slopes_is_followed_to_its_end():
    found = least(bowl, np.array([500.0, 500.0]))
    assert found.loss == pytest.approx(3, rel=1e-15, abs=0)
    inside = least(bowl, np.array([500.0, 500.0]), [(0.0, 1000.0)] * 2)
    assert inside.at[1] == 0


def test_a_search_that_is_cut_short_is_not_called_least(monkeypatch):
    monkeypatch.setattr("coverax.reliability.least._STEPS", 1)
    with pytest.raises(ValueError, match="the loss still falls after 1 steps"):
        least(bowl, np.array([500.0, 500.0]))
