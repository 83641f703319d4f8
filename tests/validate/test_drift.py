"""The permutation test of whole histograms: exact on bags, and what features miss."""

import itertools

import numpy as np
import pytest

from coverax.calibrate import map_features, map_histograms, unpack_histograms
from coverax.calibrate.features import pack_histograms
from coverax.validate.drift import histogram_p_value
from coverax.validate.exchangeability import drift_p_values


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("m", [1, 3])
def test_p_values_are_super_uniform_over_every_choice_of_new_cases(m, tied):
    """Each case is new in turn: at most floor(t * ways) p-values are at most t."""
    rng = np.random.default_rng(m)
    bag = rng.integers(0, 3, (7, 4)) / 2 if tied else rng.random((7, 4))
    p_values = []
    for chosen in itertools.combinations(range(7), m):
        new = np.isin(np.arange(7), chosen)
        p_values.append(
            histogram_p_value(bag[~new], bag[new], n_permutations=99, seed=0)
        )
    for t in np.unique(p_values):
        assert np.count_nonzero(np.array(p_values) <= t) <= t * len(p_values) + 1e-9


def test_drawn_permutations_agree_with_all_of_them():
    rng = np.random.default_rng(0)
    reference, new = rng.random((12, 5)), rng.random((4, 5)) + 0.2
    every = histogram_p_value(reference, new, n_permutations=2000, seed=0)
    drawn = histogram_p_value(reference, new, n_permutations=1800, seed=0)
    # C(16, 4) = 1,820 ways; six standard errors of a share over 1,800 draws.
    assert abs(every - drawn) < 6 * np.sqrt(every * (1 - every) / 1800) + 1 / 1800
    again = histogram_p_value(reference, new, n_permutations=1800, seed=0)
    assert drawn == again


def counts(n, seed, shift=0):
    """Maps of 10,000 voxels at 64 cuts; `shift` moves voxels within both tails."""
    rng = np.random.default_rng(seed)
    shares = np.sort(rng.dirichlet(np.ones(64) * 5, n).cumsum(1)[:, ::-1], axis=1)
    n_predicted = np.round(10_000 * shares[:, ::-1]).astype(int)
    n_predicted[:, 0] = 10_000
    # As much is added below a sixteenth as is taken above fifteen of them: the mean, the
    # share at the middle and the share between stay as they are.
    n_predicted[:, 1:3] += shift
    n_predicted[:, 62:64] -= shift
    return np.full(n, 10_000), n_predicted


def test_a_drift_of_the_tails_is_seen_by_histograms_alone():
    one, two = counts(60, 0), counts(60, 1, shift=150)
    features = drift_p_values(map_features(*one), map_features(*two))
    assert min(features.values()) > 0.01
    even = [(n, np.repeat(c, 16, axis=1)) for n, c in (one, two)]
    p = histogram_p_value(
        map_histograms(*even[0]), map_histograms(*even[1]), n_permutations=999, seed=0
    )
    assert p == 1 / 1000
    # The twin that must stay silent: the same law, no shift.
    same = map_histograms(counts(60, 2)[0], np.repeat(counts(60, 2)[1], 16, axis=1))
    quiet = histogram_p_value(
        map_histograms(*even[0]), same, n_permutations=999, seed=0
    )
    assert quiet > 0.01


def test_histograms_survive_their_text_to_the_bit():
    n_voxels, n_predicted = counts(9, 3)
    histograms = map_histograms(n_voxels, np.repeat(n_predicted, 16, axis=1))
    lines = pack_histograms(histograms)
    assert lines == sorted(lines)
    found = unpack_histograms(lines)
    assert sorted(map(tuple, found)) == sorted(map(tuple, histograms))
