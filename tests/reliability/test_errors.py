"""Calibration errors: golden values, identities, exact laws of calibrated draws."""

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import binom
from tests.conftest import FALSE_FAIL_RATE
from tests.golden import golden, softmax_volume


def class_statistics(ops, n_bins):
    """Statistics `[images]` of each class of the golden volume."""
    probs, labels = softmax_volume()
    return [
        ops.bin_statistics(np.ascontiguousarray(probs[:, c]), labels == c, n_bins)
        for c in range(3)
    ]


@pytest.fixture
def ops(engine):
    from coverax.scores import resolve_engine

    return resolve_engine(engine).ops


@pytest.mark.parametrize("name", ["expected", "average", "maximum"])
def test_golden_errors_of_images_and_classes(ops, name):
    from coverax.reliability import calibration_errors

    want = np.array(golden()["volume"]["metrics"][f"{name}_20"])
    for c, statistics in enumerate(class_statistics(ops, 20)):
        errors = calibration_errors(statistics)
        got = {"expected": errors.ece, "average": errors.ace, "maximum": errors.mce}
        np.testing.assert_allclose(got[name], want[:, c], rtol=1e-5)


def test_pooled_errors_are_the_true_ones_not_the_published_quirk(ops):
    from coverax.reliability import calibration_errors, pooled

    volume = golden()["volume"]
    true, quirk = volume["micro_true_pooled_bins5"], volume["micro_repo_bins5"]
    for c, statistics in enumerate(class_statistics(ops, 5)):
        errors = calibration_errors(pooled(statistics))
        for name in ("ece", "ace", "mce"):
            got = getattr(errors, name)[0]
            assert got == pytest.approx(true[name][c], rel=1e-5)
    assert abs(true["ece"][0] - quirk["ece"][0]) > 1e-4  # the two can be told apart


def test_golden_pixelwise_ece(ops):
    from coverax.reliability import calibration_errors, pixelwise_ece

    for entry in golden()["pece"]:
        p = np.array([entry["p_fg"]], np.float32)
        statistics = ops.bin_statistics(p, np.array([entry["y"]]) != 0, entry["bins"])
        got = pixelwise_ece(statistics, false_positive_weight=entry["fp_weight"])
        assert got[0] == pytest.approx(entry["pece"], rel=1e-5, abs=1e-6)
        ece = calibration_errors(statistics).ece[0]
        assert ece == pytest.approx(entry["ece"], rel=1e-5, abs=1e-6)
        foreground = pixelwise_ece(statistics, false_positive_weight=0.0)[0]
        assert foreground == pytest.approx(entry["ece"], rel=1e-5, abs=1e-6)


def test_pixelwise_ece_counts_zeros_in_the_mean_but_in_no_bin(ops):
    from coverax.reliability import pixelwise_ece

    p = np.array([[0.0, 0.0, 0.05, 0.9]], np.float32)
    y = np.array([[1, 0, 0, 1]]) != 0
    got = pixelwise_ece(ops.bin_statistics(p, y, 10))[0]
    assert got == pytest.approx((abs(0.05 + 2 * 0.05) + 0.1) / 4, rel=1e-5)


def test_errors_with_a_sense_of_direction_by_hand(ops):
    """Bins of a fifth; each line is a bin: mean probability, frequency, voxels."""
    from coverax.reliability import overconfidence_error, pixelwise_ece

    p = np.array([[0, 0, 0, 0.05, 0.15, 0.7, 0.7, 0.3, 0.9, 0.9]], np.float32)
    y = np.array([[1, 0, 0, 0, 1, 1, 0, 1, 0, 1]]) != 0
    statistics = ops.bin_statistics(p, y, 5)
    # Zeros count in a hard bin: 0.2 / 5 against 2 / 5, which is no overconfidence.
    bins = [(0.04, 0.4, 5), (0.3, 1.0, 1), (0.7, 0.5, 2), (0.9, 0.5, 2)]
    over = sum(n * q * max(q - f, 0) for q, f, n in bins) / 10
    assert overconfidence_error(statistics)[0] == pytest.approx(over, rel=1e-6)
    # But not in those of pECE: the first bin holds 0.05 (outside) and 0.15 (inside).
    first = abs(0.1 - 0.5 + 2 * 0.05) * 2
    others = abs(0.3 - 1) + 2 * abs(0.2 + 2 * 0.7) + 2 * abs(0.4 + 2 * 0.9)
    expected = (first + others) / 10
    assert pixelwise_ece(statistics)[0] == pytest.approx(expected, rel=1e-6)


def test_golden_plane_pixelwise_ece(ops):
    """The 7x7 plane: two logits, softmax, the reference implementation's metrics."""
    from coverax.reliability import calibration_errors, pixelwise_ece

    i, j = np.meshgrid(np.arange(7), np.arange(7), indexing="ij")
    logits = np.stack(
        [1.2 * np.sin(0.6 * i + 0.3 * j), 1.5 * np.cos(0.5 * i - 0.4 * j)]
    )
    e = np.exp(logits.astype(np.float32))
    p = (e[1] / e.sum(0))[None].astype(np.float32)
    y = np.zeros((1, 7, 7), bool)
    y[:, 2:5, 2:5] = True
    want = golden()["plane7"]["metrics"]
    statistics = ops.bin_statistics(p, y, 10)
    assert pixelwise_ece(statistics)[0] == pytest.approx(want["pece"], rel=1e-5)
    assert calibration_errors(statistics).ece[0] == pytest.approx(want["ece"], rel=1e-5)


def test_an_empty_case_gives_nan_not_zero():
    from coverax import host
    from coverax.reliability import calibration_errors, debiased_squared_ece

    p = np.full((1, 3), 0.5, np.float32)
    nothing = host.bin_statistics(p, p > 1, 4, valid=np.zeros(p.shape, bool))
    errors = calibration_errors(nothing)
    assert np.isnan([errors.ece[0], errors.ace[0], errors.mce[0]]).all()
    assert np.isnan(debiased_squared_ece(nothing)[0])


def test_one_class_and_one_bin_are_ordinary_cases():
    from coverax import host
    from coverax.reliability import calibration_errors

    p = np.full((2, 8), 0.25, np.float32)
    y = np.zeros(p.shape, bool)
    y[1, :2] = True
    errors = calibration_errors(host.bin_statistics(p, y, 1))
    np.testing.assert_allclose(np.stack(errors), [[0.25, 0.0]] * 3)


def test_merging_in_any_order_gives_the_same_bits():
    from coverax import host
    from coverax.reliability import add, pooled, select

    rng = np.random.default_rng(0)
    p = rng.random((40, 500), dtype=np.float32) ** 5
    y = rng.random(p.shape) < p
    whole = host.bin_statistics(p, y, 20)
    want = pooled(whole)
    naive = {whole.sum_p.sum(0).tobytes()}
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(40)
        parts = [select(whole, part) for part in np.array_split(order, 7)]
        got = pooled(add(parts))
        for a, b in zip(got, want, strict=True):
            assert a.tobytes() == b.tobytes()
        naive.add(np.cumsum(whole.sum_p[order], axis=0)[-1].tobytes())
    assert len(naive) > 1  # plain sums do change with the order


def test_records_of_different_bins_do_not_add():
    from coverax import host
    from coverax.reliability import add

    p = np.zeros((1, 2), np.float32)
    parts = [host.bin_statistics(p, p > 1, b) for b in (4, 5)]
    with pytest.raises(ValueError, match="different numbers of bins"):
        add(parts)
    with pytest.raises(ValueError, match="no statistics"):
        add([])


def test_adaptive_error_ignores_the_order_of_tied_voxels():
    from coverax.reliability import adaptive_calibration_error

    rng = np.random.default_rng(2)
    p = rng.choice(np.float32([0.1, 0.4, 0.8]), (1, 90))
    y = rng.random(p.shape) < p
    order = rng.permutation(90)
    got = adaptive_calibration_error(p, y, 7)
    np.testing.assert_allclose(
        adaptive_calibration_error(p[:, order], y[:, order], 7), got, rtol=1e-12
    )
    perfect = adaptive_calibration_error(np.array([[0.0, 1.0]]), np.array([[0, 1]]), 2)
    assert perfect[0] == 0


def test_debiased_error_has_mean_zero_over_all_outcomes():
    """Exact: over every outcome of a calibrated bin, weighted by its probability."""
    from coverax import host
    from coverax.reliability import calibration_errors, debiased_squared_ece

    n, level = 9, np.float32(0.25)
    mean = biased = 0.0
    for k in range(n + 1):
        p = np.full((1, n), level)
        y = (np.arange(n) < k)[None]
        statistics = host.bin_statistics(p, y, 4)
        weight = binom.pmf(k, n, float(level))
        mean += weight * debiased_squared_ece(statistics)[0]
        biased += weight * calibration_errors(statistics).ece[0] ** 2
    assert mean == pytest.approx(0, abs=1e-12)
    assert biased == pytest.approx(0.25 * 0.75 / n, rel=1e-9)


_LEVELS = (np.arange(20) + 0.5) / 20
_PER_BIN = 6000
_CELLS = 20


def _band(level):
    tail = FALSE_FAIL_RATE / (2 * _CELLS)
    return binom.ppf(tail, _PER_BIN, level), binom.isf(tail, _PER_BIN, level)


def test_calibrated_draws_stay_within_the_exact_binomial_law(ops):
    rng = np.random.default_rng(20_260)
    p = np.repeat(_LEVELS.astype(np.float32), _PER_BIN)[None]
    y = rng.random(p.shape) < p
    sum_y = np.asarray(ops.bin_statistics(p, y, 20).sum_y)[0]
    for level, hits in zip(_LEVELS, sum_y, strict=True):
        low, high = _band(level)
        assert low <= hits <= high


def test_calibrated_draws_has_power():
    """A gap of 0.05 in a bin is noticed with probability above 0.9 wherever it is."""
    for level in _LEVELS:
        low, high = _band(level)
        for other in (level - 0.05, level + 0.05):
            if 0 < other < 1:
                missed = binom.cdf(high, _PER_BIN, other) - binom.cdf(
                    low - 1, _PER_BIN, other
                )
                assert 1 - missed > 0.9


def test_macro_mean_states_what_it_does_with_absent_classes():
    from coverax.reliability import macro_mean

    values, present = np.array([0.1, 0.3, np.nan]), np.array([True, False, True])
    assert macro_mean(values, present, "skip") == pytest.approx(0.1)
    assert macro_mean(values, present, "include") == pytest.approx(0.2)
    with pytest.raises(ValueError, match="skip or include"):
        macro_mean(values, present, "zero")


def test_proper_scores_equal_the_definition(ops):
    rng = np.random.default_rng(4)
    p = rng.random((2, 3, 50), dtype=np.float32)
    p[0, 0, :3] = 0, 1, 1
    y = rng.random(p.shape) < p
    y[0, 0, :3] = True, False, True
    valid = rng.random(p.shape) < 0.8
    valid[0, 0, :3] = True
    got = ops.proper_scores(p, y, valid=valid)
    for i in range(2):
        q, t = p[i][valid[i]].astype(float), y[i][valid[i]]
        of_truth = np.where(t, q, 1 - q)
        loss = -np.log(np.maximum(of_truth, 2.0**-24))
        for k in (0, 1):
            mine = t == k
            assert float(got.sum_squares[i][k]) == pytest.approx(
                ((q - t) ** 2)[mine].sum(), rel=1e-6
            )
            assert float(got.sum_log_loss[i][k]) == pytest.approx(
                loss[mine].sum(), rel=2e-6
            )
            assert got.n_clipped[i][k] == (of_truth[mine] < 2.0**-24).sum()
    assert np.asarray(got.n_clipped)[0].tolist() == [1, 1]


def test_squared_errors_agree_to_the_bit_and_logs_to_1e_6():
    from coverax import host, kernels

    rng = np.random.default_rng(5)
    p = rng.random((2, 70_000), dtype=np.float32) ** 6
    y = rng.random(p.shape) < p
    a, b = host.proper_scores(p, y), kernels.proper_scores(p, y)
    np.testing.assert_array_equal(a.sum_squares, np.asarray(b.sum_squares))
    np.testing.assert_array_equal(a.n_clipped, np.asarray(b.n_clipped))
    np.testing.assert_allclose(a.sum_log_loss, b.sum_log_loss, rtol=1e-6)
    order = rng.permutation(p.shape[1])
    again = host.proper_scores(p[:, order], y[:, order])
    for x, z in zip(a, again, strict=True):
        np.testing.assert_array_equal(x, z)


def test_proper_scores_leave_out_what_is_no_probability(ops):
    p = np.array([[np.nan, 2, -1, 1.0005, -0.0005, 0.25]], np.float32)
    got = ops.proper_scores(p, np.ones(p.shape, bool))
    assert np.asarray(got.sum_squares)[0].tolist() == [0, 0 + 1 + 0.75**2]
    assert np.asarray(got.n_clipped)[0].tolist() == [0, 1]
    none = ops.proper_scores(p[:, :3], np.ones((1, 3), bool))
    assert not np.any(none.sum_squares)
    assert not np.any(none.sum_log_loss)


def test_squares_are_exact_whole_numbers_in_pieces_of_any_length():
    """Each square cut to 2**-38 and added by Python; large ones beside fine digits."""
    from coverax.host.losses import LOSS_BITS
    from coverax.host.parts import case_parts
    from coverax.host.tally import tally_outcomes

    p = np.random.default_rng(6).random((1, 300_000), dtype=np.float32) / 20
    p[:, ::2] = 0.999
    p[:, ::3] += np.float32(1e-5)
    parts = next(case_parts(p.astype(np.float64), np.ones(p.shape, bool), None))
    miss = 1 - p[0]
    units = [math.floor(Fraction(v) * 2**LOSS_BITS) for v in (miss * miss).tolist()]
    _, foreground = tally_outcomes(parts, 0, 0, proper=True)
    assert foreground.losses[1, 0] == sum(units)


@pytest.mark.parametrize("outcome", [0, 1])
def test_losses_of_a_sorted_block_are_those_of_its_voxels(outcome):
    """Each loss cut to 2**-38 and added by Python, at and beside every border of float32."""
    from coverax.engine.bins import LARGEST_LOSS, LEAST_PROBABILITY
    from coverax.host.losses import LOSS_BITS, Room, block_losses

    powers = 2.0 ** -np.arange(1, 70)
    borders = np.concatenate((powers, 1 - powers[:24])).astype(np.float32)
    beside = [np.nextafter(borders, np.float32(end)) for end in (0, 1)]
    p = np.sort(np.concatenate((borders, *beside, [0, 1, 1]), dtype=np.float32))
    of_truth, miss = (p, 1 - p) if outcome else (1 - p, p)
    losses = np.log(np.maximum(of_truth, LEAST_PROBABILITY)) / -LARGEST_LOSS
    sums = [
        sum(math.floor(Fraction(v) * 2**LOSS_BITS) for v in values.tolist())
        for values in (miss * miss, losses)
    ]
    n_clipped = int(np.count_nonzero(of_truth < LEAST_PROBABILITY))
    assert n_clipped > 0
    found = block_losses(p, outcome, Room(p.size))
    assert found.tolist() == [*sums, n_clipped]
    assert not block_losses(p[:0], outcome, Room(0)).any()
