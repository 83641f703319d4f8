"""Lesions: their peaks against a flood fill, and the loss they make."""

from fractions import Fraction

import numpy as np
import pytest
from scipy.ndimage import generate_binary_structure, label
from tests.oracles.lesions import lesions_of, missed_share
from tests.synthetic import write_nifti

import coverax as cx
from coverax.calibrate import Policy

NEIGHBOURS = ["face", "edge", "corner"]


def speckled(seed, shape=(7, 6, 5), share=0.15):
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < share
    probs = rng.integers(0, 12, shape).astype(np.float32) / 11
    return probs, mask


def bag(n, seed=0):
    probs, labels = zip(*(speckled(seed * 1000 + i) for i in range(n)), strict=True)
    return list(probs), list(labels)


def table_of(probs, labels, **more):
    return cx.scores.score_arrays(
        probs,
        labels,
        ["0.1"],
        lesions="corner",
        spacing_mm=(1.0, 1.0, 1.0),
        engine="host",
        **more,
    )


@pytest.mark.parametrize("neighbours", NEIGHBOURS)
@pytest.mark.parametrize("shape", [(7, 6, 5), (1, 6, 5), (9, 8)])
def test_peaks_are_the_largest_probability_of_each_flood_filled_lesion(
    neighbours, shape
):
    for seed in range(5):
        probs, mask = speckled(seed, shape, 0.3)
        peaks = cx.host.lesion_peaks(probs, mask, neighbours)
        expected = [max(probs[v] for v in own) for own in lesions_of(mask, neighbours)]
        assert peaks.tolist() == sorted(expected)
        for cut in np.unique(probs):
            missed = np.searchsorted(peaks, cut) / max(1, peaks.size)
            assert missed == missed_share(probs, mask, cut, neighbours)


@pytest.mark.parametrize(
    ("neighbours", "step"), [("face", 1), ("edge", 2), ("corner", 3)]
)
@pytest.mark.parametrize(
    "shape", [(1, 1, 11), (1, 3, 1), (10, 1, 1), (8, 9), (6, 11), (5, 4, 3), (6, 1, 7)]
)
def test_components_are_those_of_scipy_in_thin_and_flat_volumes(
    neighbours, step, shape
):
    """cc3d alone raises on a line of voxels, and splits components of some slices."""
    structure = generate_binary_structure(len(shape), min(step, len(shape)))
    for seed in range(300):
        rng = np.random.default_rng(seed)
        mask = rng.random(shape) < rng.uniform(0.05, 0.8)
        found = cx.host.components(mask, neighbours)
        expected, n = label(mask, structure)
        pairs = set(zip(found.ravel().tolist(), expected.ravel().tolist(), strict=True))
        assert found.max() == n
        assert len(pairs) == len(np.unique(expected))


def test_how_voxels_connect_decides():
    mask = np.zeros((4, 4, 4), bool)
    mask[0, 0, 0] = mask[1, 1, 0] = mask[2, 2, 1] = True
    probs = np.full(mask.shape, 0.5, np.float32)
    sizes = [cx.host.lesion_peaks(probs, mask, n).size for n in NEIGHBOURS]
    assert sizes == [3, 2, 1]
    assert cx.host.lesion_peaks(probs, mask & False, "face").size == 0


def test_voxels_that_do_not_count_neither_split_nor_find_a_lesion():
    mask = np.ones((1, 5), bool)
    probs = np.array([[0.1, 0.9, 0.2, 0.3, 0.4]], np.float32)
    valid = np.array([[True, False, True, True, True]])
    peaks = cx.host.lesion_peaks(probs, mask, "face", valid=valid)
    assert peaks.tolist() == [np.float32(0.4)]
    assert cx.host.lesion_peaks(probs, mask, "face", valid=~mask).size == 0


def test_the_table_keeps_peaks_and_how_they_connect(tmp_path, engine):
    probs, labels = bag(4)
    labels[1] = labels[1] & False
    for i, (p, y) in enumerate(zip(probs, labels, strict=True)):
        write_nifti(tmp_path / "p" / f"c{i}.nii.gz", p)
        write_nifti(tmp_path / "y" / f"c{i}.nii.gz", y)
    cohort = cx.volumes.match_folders(tmp_path / "p", tmp_path / "y")
    definition = cx.scores.ScoreDefinition(lesions="edge", n_bins=0, grid=False)
    table = cx.scores.score_cohort(cohort, definition, engine=engine)
    table.write(tmp_path / "t.parquet")
    table = cx.scores.read_table(tmp_path / "t.parquet")
    assert table.definition.lesions == "edge"
    for peaks, p, y in zip(table.lesion_peaks(), probs, labels, strict=True):
        assert peaks.tolist() == cx.host.lesion_peaks(p, y, "edge").tolist()
    without = cx.scores.score_cohort(cohort, cx.scores.ScoreDefinition(), engine="host")
    assert without.lesion_peaks() is None
    with pytest.raises(ValueError, match="score again with --lesions"):
        cx.calibrate.calibrate_crc(without, "0.5", loss="missed_lesions")
    with pytest.raises(ExceptionGroup, match="cases failed"):
        cx.scores.score_arrays(probs, labels, ["0.1"], lesions="face")


@pytest.mark.parametrize("seed", range(3))
def test_crc_on_missed_lesions_left_out_on_masks(seed):
    """The identity on masks: the mean share of missed lesions is at most alpha."""
    n, alpha = 10, "0.4"
    probs, labels = bag(n, seed)
    table, total = table_of(probs, labels), Fraction(0)
    for i in range(n):
        rest = table.select(np.arange(n) != i)
        found = cx.calibrate.calibrate_crc(rest, alpha, loss="missed_lesions")
        cut = found.thresholds[0].probability
        lesions = lesions_of(labels[i], "corner")
        missed = sum(all(probs[i][v] < cut for v in own) for own in lesions)
        total += Fraction(missed, max(1, len(lesions)))
    assert total / n <= Fraction(alpha)


def test_crc_takes_the_largest_cut_of_all_that_pass():
    """Exact over the loss's own jumps: every value of the maps is tried."""
    probs, labels = bag(30)
    alpha = Fraction("0.2")
    found = cx.calibrate.calibrate_crc(
        table_of(probs, labels), "0.2", loss="missed_lesions"
    )

    def corrected(cut):
        losses = [
            missed_share(p, y, cut, "corner")
            for p, y in zip(probs, labels, strict=True)
        ]
        return (sum(Fraction(x).limit_denominator(99) for x in losses) + 1) / 31

    values = np.unique(np.concatenate([p.ravel() for p in probs]))
    best = max(cut for cut in values if corrected(cut) <= alpha)
    assert found.thresholds[0].probability == best
    assert "lesions" in found.statement


def test_rcps_and_ltt_take_the_loss_too():
    probs, labels = bag(80)
    table = table_of(probs, labels)
    rcps = cx.calibrate.calibrate_rcps(table, "0.4", "0.1", loss="missed_lesions")
    ltt = cx.calibrate.calibrate_ltt(
        table, "0.9", "0.1", also={"missed_lesions": "0.4", "fpr": "0.9"}
    )
    for found in (rcps, ltt):
        cut = found.thresholds[0].probability
        assert found.status.name == "OK"
        shares = [
            missed_share(p, y, cut, "corner")
            for p, y in zip(probs, labels, strict=True)
        ]
        assert np.mean(shares) < 0.4
    assert ltt.options["also"] == {"missed_lesions": 0.4, "fpr": 0.9}


def test_worst_rater_of_lesions():
    probs, labels = bag(20)
    twice = [p for p in probs for _ in range(2)]
    other = [y if k % 2 else np.roll(y, 1, 0) for k, y in enumerate(labels)]
    both = [y for pair in zip(labels, other, strict=True) for y in pair]
    table = table_of(
        twice,
        both,
        case_ids=[f"c{i // 2}" for i in range(40)],
        raters=["a", "b"] * 20,
    )
    found = cx.calibrate.calibrate_crc(
        table, "0.3", Policy(raters="worst"), loss="missed_lesions"
    )
    cut = found.thresholds[0].probability
    worst = [
        max(missed_share(p, y, cut, "corner"), missed_share(p, z, cut, "corner"))
        for p, y, z in zip(probs, labels, other, strict=True)
    ]
    assert (sum(worst) + 1) / 21 <= 0.3 + 1e-12
