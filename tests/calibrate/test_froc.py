"""FROC: every cut at once, against flood fill of every mask."""

from itertools import pairwise

import numpy as np
import pytest
from tests.oracles.lesions import lesions_of

import coverax as cx
from coverax.calibrate import froc_at, froc_of_table, froc_rows
from coverax.calibrate.froc import LOWEST_CUT, RATES

SHAPE = (4, 5, 3)


def scans(seed, n=6, levels=None):
    """Maps and references of several lesions; the first scan has none."""
    rng = np.random.default_rng(seed)
    labels = rng.random((n, *SHAPE)) < 0.12
    labels[0] = False
    probs = rng.random((n, *SHAPE)) * np.where(labels, 1.0, 0.8)
    if levels:
        probs = np.round(probs * levels) / levels
    return probs.astype(np.float32), labels


def counted(probs, labels, cut, neighbours):
    """Lesions found and false components of the masks of all scans at a cut."""
    n_hit = n_false = 0
    for map_, reference in zip(probs, labels, strict=True):
        mask = map_ >= cut
        n_hit += sum(
            any(mask[v] for v in own) for own in lesions_of(reference, neighbours)
        )
        n_false += sum(
            not any(reference[v] for v in own) for own in lesions_of(mask, neighbours)
        )
    return n_hit, n_false


@pytest.mark.parametrize("neighbours", ["face", "corner"])
@pytest.mark.parametrize("levels", [None, 12])
def test_every_distinct_cut_counts_as_a_flood_fill_does(neighbours, levels):
    probs, labels = scans(7, levels=levels)
    table = cx.scores.score_arrays(
        probs,
        labels,
        [0.1],
        engine="host",
        spacing_mm=(1.0, 1.0, 1.0),
        lesions=neighbours,
        mask_lesions=True,
    )
    curves, lacking = froc_of_table(table)
    curve = curves["foreground"]
    assert lacking == {}
    assert curve.n_scans == len(probs)
    assert curve.n_lesions == sum(len(lesions_of(m, neighbours)) for m in labels)
    values = np.unique(probs)
    values = values[values >= LOWEST_CUT]
    expected = [counted(probs, labels, cut, neighbours) for cut in values]
    place = np.searchsorted(curve.cuts, values)
    assert [
        (int(np.append(curve.n_hit, 0)[p]), int(np.append(curve.n_false, 0)[p]))
        for p in place
    ] == expected
    # No row says the same as the one above it, and none is of another cut.
    assert set(curve.cuts) <= set(values)
    both = list(zip([*curve.n_hit, 0], [*curve.n_false, 0], strict=True))
    assert all(a != b for a, b in pairwise(both))
    froc = froc_at("foreground", curve)
    for point, rate in zip(froc.at, RATES, strict=True):
        keeps = [hit for hit, false in expected if false <= rate * len(probs)]
        assert point.sensitivity == max(keeps, default=0) / curve.n_lesions
        assert point.false_per_scan <= float(rate)


def test_false_lesions_are_not_monotone_in_the_cut():
    """Two components merge as the cut falls: the curve turns back, and says so."""
    probs = np.array([[[[0.9, 0.3, 0.8, 0.1, 0.6]]]], np.float32)
    labels = np.zeros(probs.shape, bool)
    labels[..., 4] = True
    table = cx.scores.score_arrays(
        probs,
        labels,
        [0.1],
        engine="host",
        spacing_mm=(1.0, 1.0, 1.0),
        lesions="face",
        mask_lesions=True,
    )
    curve = froc_of_table(table)[0]["foreground"]
    assert curve.n_false.tolist() == [0, 1, 2, 2, 1]
    assert (
        froc_at("foreground", curve).at[-4].false_per_scan == 0
    )  # at 1 a scan: all joined
    assert froc_at("foreground", curve).at[-4].sensitivity == 1


def test_scans_without_a_lesion_have_false_ones_and_no_sensitivity():
    probs, labels = scans(3)
    table = cx.scores.score_arrays(
        probs,
        np.zeros_like(labels),
        [0.1],
        engine="host",
        spacing_mm=(1.0, 1.0, 1.0),
        lesions="corner",
        mask_lesions=True,
    )
    curve = froc_of_table(table)[0]["foreground"]
    assert curve.n_false.max() > 0
    found = froc_at("foreground", curve)
    assert found.mean_sensitivity is None
    assert {row["sensitivity"] for row in froc_rows("foreground", curve)} == {None}


def test_a_scan_of_two_references_or_models_has_no_one_curve():
    probs, labels = scans(4)
    table = cx.scores.score_arrays(
        np.concatenate([probs, probs]),
        np.concatenate([labels, labels]),
        [0.1],
        case_ids=[f"c{i}" for i in range(6)] * 2,
        raters=["a"] * 6 + ["b"] * 6,
        engine="host",
        spacing_mm=(1.0, 1.0, 1.0),
        lesions="corner",
        mask_lesions=True,
    )
    curves, lacking = froc_of_table(table)
    assert curves == {}
    assert "several references" in lacking["foreground"]
