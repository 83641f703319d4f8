"""Bins by distance to the surface of the reference, against the definition."""

import numpy as np
import pytest
from tests.oracles import bins as oracle
from tests.oracles.distance import signed_distance

EDGES = (-3.0, 0.0, 1.5)
SPACING = (2.0, 1.0, 1.5)


@pytest.fixture(scope="module")
def cases():
    rng = np.random.default_rng(4)
    labels = np.zeros((5, 7, 8, 9), bool)
    for mask in labels[:4]:
        corner = rng.integers(1, 4, 3)
        mask[tuple(slice(c, c + 4) for c in corner)] = True
    probs = np.clip(labels * 0.6 + rng.random(labels.shape) * 0.4, 0, 1)
    return probs.astype(np.float32), labels  # the last reference is empty


def scored(cases, **options):
    from coverax.scores import score_arrays

    return score_arrays(
        *cases, [0.1], spacing_mm=SPACING, band_edges_mm=EDGES, **options
    )


def test_bands_are_bins_of_the_voxels_at_that_distance(cases, engine):
    from coverax.scores import band_prefix, read_bins

    table = scored(cases, engine=engine)
    for i, (p, y) in enumerate(zip(*cases, strict=True)):
        distance = signed_distance(y, SPACING) if y.any() else np.full(y.shape, np.nan)
        for k, (low, high) in enumerate(zip((-99, *EDGES), (*EDGES, 99), strict=True)):
            here = (distance > low) & (distance <= high)
            got = read_bins(table.columns, band_prefix(k))
            want = oracle.hard(p[here], y[here], 20)
            np.testing.assert_array_equal(got.count[i], want[0])
            np.testing.assert_allclose(got.sum_p[i], want[1], rtol=4e-7)
            np.testing.assert_array_equal(got.sum_y[i], want[2])


def test_bands_add_up_to_all_voxels_of_cases_with_a_surface(cases):
    from coverax.reliability import summarise
    from coverax.scores import band_prefix, read_bins

    table = scored(cases)
    parts = [read_bins(table.columns, band_prefix(k)) for k in range(len(EDGES) + 1)]
    whole = read_bins(table.columns)
    total = np.sum([part.count for part in parts], axis=0)
    np.testing.assert_array_equal(total[:4], whole.count[:4])
    assert total[4].sum() == 0
    (result,) = summarise(table, n_draws=50).summary.regions
    bands = result.bands
    assert [b.from_mm for b in bands] == [None, *EDGES]
    assert [b.to_mm for b in bands] == [*EDGES, None]
    # Outside the reference nothing is foreground, inside everything is.
    assert [b.pooled["frequency"] for b in bands] == [0, 0, 1, 1]
    for band in bands:
        low, high = band.pooled_interval["ece"]
        assert low <= band.pooled["ece"] <= high


def test_bad_edges_and_missing_spacings_are_refused(cases):
    from coverax.scores import score_arrays

    with pytest.raises(ValueError, match="finite and ascending"):
        score_arrays(*cases, [0.1], spacing_mm=SPACING, band_edges_mm=(1.0, 0.0))
    with pytest.raises(ValueError, match="need bins"):
        score_arrays(*cases, [0.1], spacing_mm=SPACING, band_edges_mm=(1.0,), n_bins=0)
    with pytest.raises(ExceptionGroup) as caught:
        score_arrays(*cases, [0.1], band_edges_mm=(0.0,))
    assert "spacing of the voxels" in str(caught.value.exceptions[0])


def test_voxels_that_do_not_count_are_in_no_band():
    from coverax.scores import band_prefix, read_bins, score_arrays

    rng = np.random.default_rng(0)
    probs = rng.random((3, 5, 6, 4), dtype=np.float32)
    labels, valid = probs > 0.6, rng.random(probs.shape) < 0.5
    table = score_arrays(
        probs, labels, [0.1], valid=valid, spacing_mm=(1.0, 1.0, 2.0),
        band_edges_mm=(-1.0, 1.0), engine="host",
    )  # fmt: skip
    counts = [read_bins(table.columns, band_prefix(k)).count.sum(1) for k in range(3)]
    np.testing.assert_array_equal(sum(counts), valid.sum((1, 2, 3)))
