"""Lesions and surfaces of masks: by oracles, and through the command line."""

import csv
import json

import numpy as np
import pytest
from tests.oracles.lesions import lesions_of
from tests.oracles.surfaces import surface_distances
from tests.synthetic import case, write_nifti

import coverax as cx
from coverax.cli.app import run

MM = 1e-4  # what distances in float32 are off by at most
SPACING = (0.7, 1.3, 2.9)


def random_masks(seed, shape):
    rng = np.random.default_rng(seed)
    blocks = rng.random([-(-n // 2) for n in shape]) < 0.4
    for axis in range(len(shape)):
        blocks = np.repeat(blocks, 2, axis)
    mask = blocks[tuple(map(slice, shape))]
    return mask, mask ^ (rng.random(shape) < 0.05), rng.random(shape) < 0.9


@pytest.mark.parametrize("shape", [(7, 6, 5), (9, 8), (8, 7, 1), (5, 1, 1), (1, 1, 1)])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("void", [False, True])
def test_surface_distances_are_those_of_all_pairs(seed, shape, void):
    mask, labels, valid = random_masks(seed, shape)
    valid = valid if void else None
    spacing = SPACING[: len(shape)]
    found = cx.host.surface_distances(mask, labels, spacing, valid=valid)
    want = surface_distances(mask, labels, spacing, valid)
    for one, other in zip(found, want, strict=True):
        np.testing.assert_allclose(np.sort(one), np.sort(other), atol=MM)
    both = np.concatenate(want)
    if all(d.size for d in want):
        percents = [np.percentile(d, 95) for d in want]
        assert found.hd95 == pytest.approx(max(percents), abs=MM)
        assert found.assd == pytest.approx(both.mean(), abs=MM)
        assert found.within(1.5) == np.mean(both <= 1.5)


def test_a_distance_that_equals_the_tolerance_is_within_it():
    """0.3 mm in float32 is more than 0.3."""
    mask, labels = np.zeros((2, 9, 9, 9), bool)
    mask[2:6, 2:6, 2:6] = labels[3:7, 2:6, 2:6] = True
    found = cx.host.surface_distances(mask, labels, (0.3, 0.3, 0.3))
    assert found.hd95 == pytest.approx(0.3)
    assert found.within(0.3) == 1
    assert found.within(0.29) < 1


@pytest.mark.parametrize("neighbours", ["face", "edge", "corner"])
@pytest.mark.parametrize("shape", [(9, 8, 7), (12, 11)])
def test_components_are_those_of_a_flood_fill(neighbours, shape):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        mask, labels = rng.random((2, *shape)) < 0.2
        valid = rng.random(shape) < 0.8
        found = cx.host.count_components(mask, labels, neighbours, valid=valid)
        parts = lesions_of(mask & valid, neighbours)
        false = [all(not (labels & valid)[v] for v in part) for part in parts]
        assert found == (len(parts), sum(false))


@pytest.mark.parametrize("neighbours", ["face", "edge", "corner"])
@pytest.mark.parametrize("shape", [(7, 6, 5), (9, 8)])
def test_events_are_a_labelling_at_every_cut(neighbours, shape):
    """Ties, voxels that do not count, and cuts between values, above all and at 0."""
    for seed in range(4):
        rng = np.random.default_rng(seed)
        probs = (rng.integers(0, 16, shape) / 15).astype(np.float32)
        labels, valid = rng.random(shape) < 0.15, rng.random(shape) < 0.9
        found = cx.host.component_events(probs, labels, neighbours, valid=valid)
        cuts = np.unique(np.append(np.linspace(0, 1.1, 45, dtype=np.float32), probs))
        for cut, *counts in zip(*found.at(cuts), strict=True):
            parts = lesions_of((probs >= cut) & valid, neighbours)
            false = [all(not (labels & valid)[v] for v in part) for part in parts]
            assert counts == [len(parts), sum(false)], (seed, cut)


def test_where_nothing_counts_there_are_no_events():
    probs, mask = np.ones((3, 4), np.float32), np.ones((3, 4), bool)
    found = cx.host.component_events(probs, mask, "face", valid=np.zeros((3, 4), bool))
    assert [own.size for own in found] == [0, 0, 0]
    assert found.at(np.array([0.5], np.float32)).n[0] == 0


def test_events_above_a_floor_are_those_of_the_whole_map():
    rng = np.random.default_rng(0)
    probs, labels = rng.random((8, 9, 7), np.float32), rng.random((8, 9, 7)) < 0.1
    whole = cx.host.component_events(probs, labels, "corner")
    above = cx.host.component_events(probs, labels, "corner", floor=0.6)
    cuts = np.linspace(0.6, 1, 50, dtype=np.float32)
    for one, other in zip(whole.at(cuts), above.at(cuts), strict=True):
        np.testing.assert_array_equal(one, other)


def test_false_lesions_of_a_table_are_those_of_the_masks(engine):
    rng = np.random.default_rng(5)
    each = [case((7, 6, 5), 30, rng) for _ in range(40)]
    probs, labels = (np.stack([one[k] for one in each]) for k in (0, 1))
    options = {"lesions": "face", "spacing_mm": (1.0, 1.0, 1.0), "engine": engine}
    with pytest.raises(ValueError, match="--mask-lesions"):
        cx.calibrate.calibrate_ltt(
            cx.scores.score_arrays(probs, labels, 0.1, **options),
            "0.5",
            "0.1",
            loss="false_lesions",
        )
    table = cx.scores.score_arrays(probs, labels, 0.1, **options, mask_lesions=True)
    found = cx.calibrate.calibrate_ltt(
        table, "0.6", "0.1", also={"false_lesions": "0.9"}
    )
    cut = found.threshold_of("foreground").probability
    events = table.component_events()
    for at in (0.0, 1 / 1024, 0.25, cut):
        for own, p, r in zip(events, probs, labels, strict=True):
            parts = lesions_of(p >= np.float32(at), "face")
            false = sum(not any(r[v] for v in part) for part in parts)
            counts = own.at(np.array([at], np.float32))
            assert (counts.n[0], counts.n_false[0]) == (len(parts), false)
    assert 0 < cut < 1


LOSSES = {
    "precision": lambda m, r: (m & ~r).sum() / max(m.sum(), 1),
    "iou": lambda m, r: 1 - (m & r).sum() / (m | r).sum(),
    "relative_volume": lambda m, r: min(1, abs(int(m.sum()) - int(r.sum())) / r.sum()),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_named_loss_is_that_of_the_masks_and_ltt_alone_takes_it(loss):
    rng = np.random.default_rng(1)
    each = [case((7, 6, 5), 30, rng) for _ in range(40)]
    probs, labels = (np.stack([one[k] for one in each]) for k in (0, 1))
    table = cx.scores.score_arrays(probs, labels, 0.1)
    with pytest.raises(ValueError, match="ltt can"):
        cx.calibrate.calibrate_crc(table, "0.5", loss=loss)
    found = cx.calibrate.calibrate_ltt(table, "0.95", "0.2", loss=loss)
    cut = found.threshold_of("foreground").probability
    curves = table.grid_curves()
    place = int(np.flatnonzero(curves.cuts == np.float32(cut))[0])
    counts = cx.calibrate.Counts(
        curves.cuts,
        table.column("n_voxels")[:, None],
        table.column("n_foreground")[:, None],
        curves.n_predicted,
        curves.n_true_positive,
    )
    values = cx.calibrate.LOSSES[loss].of(counts)
    assert values.min() >= 0
    assert values.max() <= 1
    own = [
        LOSSES[loss](p >= cut, r.astype(bool))
        for p, r in zip(probs, labels, strict=True)
    ]
    np.testing.assert_allclose(values[:, place], own)


def test_precision_is_not_monotone_in_the_cut():
    """What a larger cut takes away is false first, then true."""
    probs = np.array([[0.9, 0.6, 0.3, 0.0]], np.float32)
    labels = np.array([[False, True, False, False]])
    table = cx.scores.score_arrays(probs, labels, 0.0)
    curves = table.grid_curves()
    places = np.searchsorted(curves.cuts, np.float32([0.25, 0.5, 0.75, 0.95]))
    counts = cx.calibrate.Counts(
        curves.cuts,
        table.column("n_voxels")[:, None],
        table.column("n_foreground")[:, None],
        curves.n_predicted,
        curves.n_true_positive,
    )
    losses = cx.calibrate.LOSSES["precision"].of(counts)[0, places]
    np.testing.assert_allclose(losses, [2 / 3, 1 / 2, 1, 0])


@pytest.fixture
def cohort(tmp_path):
    """Files of cases with two lesions; the map of the last is 0 everywhere."""
    rng = np.random.default_rng(3)
    arrays = []
    for i in range(12):
        probs, mask = case((8, 9, 7), 40, rng)
        mask = mask.astype(bool)
        mask[0, 0, :2] = True
        if i == 11:
            probs = np.zeros_like(probs)
        arrays.append((probs, mask))
        for folder, values in (("probs", probs), ("labels", mask.astype(np.uint8))):
            write_nifti(tmp_path / folder / f"case_{i:02d}.nii.gz", values)
    return tmp_path, arrays


def done(*args):
    return run([str(a) for a in args])


def calibrated(root, *more):
    files = ("--probs", root / "probs", "--labels", root / "labels")
    table, out = root / "t.parquet", root / "c.json"
    assert done("score", *files, "--lesions", "face", "-o", table, *more) == 0
    assert done("calibrate", table, "--alpha", "0.4", "-o", out) == 0
    return out, files


def test_a_missed_structure_is_infinitely_far_and_counts(cohort):
    root, arrays = cohort
    out, files = calibrated(root)
    results = root / "e"
    assert done("evaluate", out, *files, "-o", results, "--nsd-tolerance", "1") == 0
    found = json.loads((results / "evaluation.json").read_text())["results"][0]["fixed"]
    with (results / "cases.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    each = [surface_distances(p >= 0.5, m, (1, 1, 1)) for p, m in arrays]
    hd95 = [
        max(np.percentile(d, 95) for d in ds) if ds[0].size else np.inf for ds in each
    ]
    assert np.isinf(hd95[-1])
    np.testing.assert_allclose([float(r["fixed_hd95_mm"]) for r in rows], hd95, atol=MM)
    assert found["hd95_mm"] == {
        "n": 12,
        "n_infinite": 1,
        "median": pytest.approx(np.median(hd95), abs=MM),
        "mean": None,
    }
    nsd = [np.mean(np.concatenate(ds) <= 1 + MM) for ds in each]
    assert found["nsd"] == pytest.approx(np.mean(nsd))
    parts = [lesions_of(p >= 0.5, "face") for p, _ in arrays]
    false = [
        sum(not any(m[v] for v in part) for part in own)
        for own, (_, m) in zip(parts, arrays, strict=True)
    ]
    assert found["n_false_lesions"] == pytest.approx(np.mean(false))
    assert max(false) > 0


def test_without_a_tolerance_no_surface_is_measured(cohort):
    root, _ = cohort
    out, files = calibrated(root)
    assert done("evaluate", out, *files, "-o", root / "e") == 0
    found = json.loads((root / "e" / "evaluation.json").read_text())
    assert "hd95_mm" not in found["results"][0]["fixed"]
    assert found["results"][0]["fixed"]["iou"] is not None


@pytest.mark.parametrize(
    ("method", "tolerance", "words"),
    [
        (("fnr",), "0", "positive distance"),
        (("fnr",), "inf", "positive distance"),
        (("volume",), "1", "masks by one cut"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_a_line(
    cohort, capsys, method, tolerance, words
):
    root, _ = cohort
    files = ("--probs", root / "probs", "--labels", root / "labels")
    table, out = root / "t.parquet", root / "c.json"
    assert done("score", *files, "-o", table) == 0
    args = ("--method", *method, "--alpha", "0.4", "-o", out)
    assert done("calibrate", table, *args) == 0
    more = ("--nsd-tolerance", tolerance)
    assert done("evaluate", out, *files, "-o", root / "e", *more) != 0
    assert words in capsys.readouterr().err
    assert not (root / "e").exists()


def test_of_several_references_the_worst_one_counts():
    from coverax.evaluate.metrics import worst_metrics
    from coverax.evaluate.summary import metrics_at

    column = {
        "n_voxels": np.array([50, 50]),
        "n_foreground": np.array([10, 8]),
        "n_predicted": np.array([[10], [10]]),
        "n_true_positive": np.array([[9], [7]]),
        "voxel_volume_ml": np.ones(2),
        "n_lesions": np.array([2, 1]),
        "n_lesions_hit": np.array([[2], [0]]),
        "n_components": np.array([[2], [2]]),
        "n_false_components": np.array([[0], [1]]),
        "hd95_mm": np.array([[1.0], [np.inf]]),
        "assd_mm": np.array([[0.5], [np.inf]]),
        "nsd": np.array([[0.9], [0.0]]),
    }
    metrics = metrics_at(column, np.zeros(2, int))
    worst = worst_metrics(metrics, lambda values: np.full(2, np.fmax.reduce(values)))
    first = {name: values[0] for name, values in worst._asdict().items()}
    assert first["hd95_mm"] == first["assd_mm"] == np.inf
    assert (first["nsd"], first["n_false_lesions"], first["lesion_f1"]) == (0, 1, 0)
    assert first["precision"] == pytest.approx(0.7)
    assert first["relative_volume_error"] == pytest.approx(0.25)
    assert first["iou"] == pytest.approx(7 / 11)
    assert first["lesion_precision"] == pytest.approx(0.5)
