"""Gaps of sorted logits scaled by rank: the least loss there is, and no label changes."""

import itertools

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

import coverax as cx
from coverax.reliability.ordered import fit_ordered, ordered_sample
from coverax.reliability.temperature import fit_samples, sample_of

N, C = 20_000, 3
TRUE = np.array([0.6, 0.9])


def mapped(factors, z):
    """By its definition: sorted, gaps scaled, put back."""
    order = np.argsort(-z, axis=0, kind="stable")
    falling = np.take_along_axis(z, order, axis=0)
    out = np.zeros_like(z)
    for rank in range(1, len(z)):
        gap = falling[rank - 1] - falling[rank]
        out[rank] = out[rank - 1] - factors[rank - 1] * gap
    back = np.empty_like(z)
    np.put_along_axis(back, order, out, axis=0)
    return back


def drawn(factors, seed=0, n=N):
    """Normalised logits, and classes drawn after scaling their gaps."""
    rng = np.random.default_rng(seed)
    z = log_softmax(rng.normal(0, 2, (C, n)), axis=0)
    return z, (mapped(factors, z) + rng.gumbel(size=z.shape)).argmax(0)


def mean_nll(factors, z, y):
    return -log_softmax(mapped(factors, z), axis=0)[y, np.arange(y.size)].mean()


def test_the_fit_beats_the_truth_on_its_voxels_and_nothing_near_beats_it():
    z, y = drawn(TRUE)
    halves = [
        ordered_sample(z[:, ::2], y[::2]),
        ordered_sample(z[:, 1::2], y[1::2]),
    ]
    fit = fit_ordered(halves)
    found = np.array(fit.factors)
    assert fit.status == "OK"
    assert fit.nll_before == pytest.approx(mean_nll(np.ones(C - 1), z, y))
    assert fit.nll_after == pytest.approx(mean_nll(found, z, y))
    assert fit.nll_after <= mean_nll(TRUE, z, y)
    for step in np.random.default_rng(1).normal(0, 0.05, (20, C - 1)):
        assert mean_nll(found + step, z, y) >= fit.nll_after - 1e-7
    # Standard errors of a fit on 20,000 voxels are below .02: .1 is five of them.
    np.testing.assert_allclose(found, TRUE, atol=0.1)


def test_it_is_a_temperature_where_there_are_two_classes():
    z, y = drawn(TRUE)
    two, of_two = z[:2], (y == 1).astype(int)
    ordered = fit_ordered([ordered_sample(two, of_two)])
    one = fit_samples([sample_of(two, of_two)])
    assert 1 / ordered.factors[0] == pytest.approx(one.temperature, rel=1e-4)
    assert ordered.nll_after == pytest.approx(one.nll_after, abs=1e-8)


def test_it_is_never_worse_than_one_temperature_on_its_voxels():
    z, y = drawn(np.array([0.5, 1.5]))
    ordered = fit_ordered([ordered_sample(z, y)]).nll_after
    one = fit_samples([sample_of(z, y)]).nll_after
    assert ordered < one - 1e-3


def test_a_weight_of_a_case_counts_its_voxels_so_often():
    z, y = drawn(TRUE, n=3000)
    once = fit_ordered(
        [
            ordered_sample(z[:, :1000], y[:1000], 3.0),
            ordered_sample(z[:, 1000:], y[1000:]),
        ]
    )
    thrice = ordered_sample(np.tile(z[:, :1000], 3), np.tile(y[:1000], 3))
    often = fit_ordered([thrice, ordered_sample(z[:, 1000:], y[1000:])])
    np.testing.assert_allclose(once.factors, often.factors, atol=1e-3)
    assert once.nll_after == pytest.approx(often.nll_after, abs=1e-8)


def ranks_of(z, y):
    return (z > np.take_along_axis(z, y[None], axis=0)).sum(axis=0)


@pytest.mark.parametrize("worst", [0, 1], ids=["always right", "never the last"])
def test_where_no_true_class_lies_below_a_gap_there_are_no_best_factors(worst):
    z, y = drawn(TRUE, n=500)
    kept = ranks_of(z, y) <= worst
    fit = fit_ordered([ordered_sample(z[:, kept], y[kept])])
    assert fit.status == "AT_BOUND"


def test_a_map_no_better_than_chance_has_no_best_factors():
    z, _ = drawn(TRUE, n=500)
    fit = fit_ordered([ordered_sample(z, z.argmin(axis=0))])
    assert (fit.status, fit.factors[0]) == ("AT_BOUND", 0)


def test_lower_ranks_that_tell_nothing_become_equal():
    """The second and third class are drawn the other way round, so their gap goes."""
    z, y = drawn(np.array([0.6, -1.0]))
    fit = fit_ordered([ordered_sample(z, y)])
    assert (fit.status, fit.factors[1]) == ("OK", 0)
    probs = softmax(z, axis=0).astype(np.float32)
    scaled = np.sort(cx.reliability.apply_ordered(probs, fit.factors, axis=0), axis=0)
    np.testing.assert_allclose(scaled[0], scaled[1], rtol=1e-6)


def test_flat_maps_have_no_factors():
    z = np.log(np.full((C, 10), 1 / C))
    fit = fit_ordered([ordered_sample(z, np.arange(10) % C)])
    assert (fit.status, fit.factors) == ("UNDETERMINED", [1.0, 1.0])
    with pytest.raises(ValueError, match="no voxel"):
        fit_ordered([ordered_sample(z[:, :0], np.arange(0))])


@pytest.mark.parametrize("axis", [0, -1])
def test_each_class_maps_the_voxels_that_it_wins(axis):
    rng = np.random.default_rng(2)
    each = rng.uniform(0, 2, (C, C - 1))
    probs = softmax(rng.normal(0, 2, (50, C)), axis=1).astype(np.float32)
    given_map = np.ascontiguousarray(probs.T) if axis == 0 else probs
    found = cx.reliability.apply_ordered(given_map, each, axis=axis)
    one = cx.reliability.apply_ordered(given_map, each[0], axis=axis)
    for row, p in enumerate(probs):
        z = np.log(p.astype(float))[:, None]
        for result, factors in ((found, each[p.argmax()]), (one, each[0])):
            got = result[:, row] if axis == 0 else result[row]
            np.testing.assert_allclose(
                got, softmax(mapped(factors, z))[:, 0], atol=1e-6
            )


@pytest.mark.parametrize(
    ("factors", "words"),
    [
        ([1.0], "the map 3 classes"),
        ([1.0, -0.1], "negative"),
        ([np.nan, 1.0], "finite"),
    ],
)
def test_factors_that_do_not_fit_are_refused(factors, words):
    with pytest.raises(ValueError, match=words):
        cx.reliability.apply_ordered(np.full((2, C), 1 / C, "f4"), factors)


# Voxels around ties and the smallest logits, and the float32 beside each; none is lower
# than 1 / 5 everywhere, as those of a softmax of three classes never are.
_NEAR = [np.float32(x) for x in (0, 1e-38, 2**-24, 1e-3, 0.25, 1 / 3, 0.5, 1)]
_NEAR += [np.nextafter(x, np.float32(w)) for x in _NEAR[3:] for w in (0, 1)]
TRIPLES = np.array([p for p in itertools.product(_NEAR, repeat=C) if max(p) > 0.2])


@pytest.mark.parametrize("first", [0.0, 0.02, 0.3, 1.7, 50.0])
@pytest.mark.parametrize("second", [0.0, 0.3, 50.0])
def test_no_form_that_keeps_the_order_changes_a_label(first, second):
    """Of equal classes the first wins, before and after; lower classes may become equal."""
    order = np.argsort(-TRIPLES, axis=1, kind="stable")
    one = max(first, 0.02)
    for scaled in (
        cx.reliability.apply_ordered(TRIPLES, [first, second]),
        cx.reliability.apply_ordered(TRIPLES, np.full((C, C - 1), (second, first))),
        cx.reliability.apply_temperature(TRIPLES, one),
        cx.reliability.apply_by_class(TRIPLES, [one, 1.0, 2.0]),
    ):
        np.testing.assert_array_equal(scaled.argmax(axis=1), order[:, 0])
        falling = np.take_along_axis(scaled, order, axis=1)
        assert (np.diff(falling, axis=1) <= 0).all()


def test_neighbouring_float32_keep_their_winner_at_every_temperature():
    """The negative control: rounding alone makes some of these voxels equal."""
    p = np.float32(0.5) - np.arange(1, 200, dtype=np.float32) * np.float32(2**-25)
    probs = np.stack([p, 1 - p], axis=1)
    for temperature in (1.5, 5.0, 50.0):
        z = np.log(probs, dtype=np.float64) / temperature
        assert (softmax(z, axis=1).astype("f4").argmax(axis=1) == 0).any()
        for scaled in (
            cx.reliability.apply_temperature(probs, temperature),
            cx.reliability.apply_by_class(probs, [temperature] * 2),
            cx.reliability.apply_ordered(probs, [1 / temperature]),
        ):
            assert (scaled.argmax(axis=1) == 1).all()
