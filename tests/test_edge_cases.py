"""Every cell of docs/edge_cases.md, by the public functions of both engines."""

import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "edge_cases.md"
ROUNDED = 5.1e-5  # four decimals on the page, and float32 sums of at most four voxels


def tables():
    """Heading -> rows of its table, each a dictionary by column; the name comes first."""
    found = {}
    for part in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        heading = part.splitlines()[0]
        lines = re.findall(r"^\| .*\|$", part, re.MULTILINE)
        head, *rows = [[c.strip() for c in line[1:-1].split("|")] for line in lines]
        found[heading] = [dict(zip(head, row, strict=True)) for row in rows]
    return found


TABLES = tables()
MASKS, SCORES, ERRORS, LOSSES = TABLES.values()


def cells(table):
    """(name, situation, value) of every cell."""
    name, *situations = table[0]
    return [(row[name], s, row[s]) for row in table for s in situations]


def each_cell(table):
    ids = [f"{name}-{situation}" for name, situation, _ in cells(table)]
    return pytest.mark.parametrize(
        ("name", "situation", "written"), cells(table), ids=ids
    )


def assert_is(found, written):
    wanted = np.nan if written == "undefined" else float(written)
    np.testing.assert_allclose(np.asarray(found, np.float64), wanted, atol=ROUNDED)


def ops_of(engine):
    from coverax import host, kernels

    return (host, np.asarray) if engine == "host" else (kernels, jnp.asarray)


FIRST = [True, False, False, False]
NONE, ALL_FOUR, ONE = [False] * 4, [True] * 4, [True]
# Situation -> reference, mask, voxels that count.
OF_MASKS = {
    "empty reference": (NONE, FIRST, ALL_FOUR),
    "empty mask": (FIRST, NONE, ALL_FOUR),
    "both empty": (NONE, NONE, ALL_FOUR),
    "full reference": (ALL_FOUR, ALL_FOUR, ALL_FOUR),
    "one voxel": (ONE, ONE, ONE),
    "nothing counts": (FIRST, FIRST, NONE),
}


def counts_of(situation, engine):
    """Counts of the one mask {p >= 0.5}, and its lesions."""
    from coverax import host
    from coverax.calibrate import Counts
    from coverax.calibrate.losses import with_components, with_lesions

    ops, asarray = ops_of(engine)
    reference, mask, valid = (np.array([x]) for x in OF_MASKS[situation])
    probs = mask.astype(np.float32)
    arrays = asarray(probs), asarray(reference)
    sizes = ops.sizes(arrays[1], valid=asarray(valid))
    cuts = np.array([0.5], np.float32)
    overlap = ops.overlap_counts(*arrays, asarray(cuts[None]), valid=asarray(valid))
    whole = [np.asarray(n)[:, None] for n in (sizes.n_voxels, sizes.n_foreground)]
    of_mask = [np.asarray(n) for n in (overlap.n_predicted, overlap.n_true_positive)]
    line = [x.reshape(-1, 1, 1) for x in (probs, reference, valid)]
    peaks = host.lesion_peaks(*line[:2], "corner", valid=line[2])
    counts = with_lesions(Counts(cuts, *whole, *of_mask), [np.asarray(peaks)])
    events = host.component_events(*line[:2], "corner", valid=line[2])
    return with_components(counts, [events])


OF_EVALUATE = {
    "FNR": "fnr",
    "FPR": "fpr",
    "PC": "pc",
    "Dice": "dice",
    "volume, voxels": "volume_ml",
    "lesion detection": "lesion_detection",
    "precision": "precision",
    "IoU": "iou",
    "relative volume error": "relative_volume_error",
    "lesion precision": "lesion_precision",
    "lesion F1": "lesion_f1",
    "false lesions": "n_false_lesions",
    "HD95, mm": "hd95_mm",
    "ASSD, mm": "assd_mm",
    "NSD": "nsd",
}


def shapes_of(situation):
    """Components of the one mask, and how far its surface is from the reference's."""
    from coverax import host

    reference, mask, valid = (
        np.array(x).reshape(-1, 1, 1) for x in OF_MASKS[situation]
    )
    found = host.count_components(mask, reference, "corner", valid=valid)
    gaps = host.surface_distances(mask, reference, (1.0, 1.0, 1.0), valid=valid)
    surfaces = {"hd95_mm": gaps.hd95, "assd_mm": gaps.assd, "nsd": gaps.within(1.0)}
    parts = (np.array([n]) for n in found)
    return tuple(parts), {k: np.array([v]) for k, v in surfaces.items()}


@each_cell(MASKS)
def test_metrics_of_a_mask(name, situation, written, engine):
    from coverax.calibrate.losses import LOSSES as RISKS
    from coverax.evaluate import LesionCounts, case_metrics

    counts = counts_of(situation, engine)
    if name.startswith("loss"):
        assert_is(RISKS[name.split("`")[1]].of(counts)[0, 0], written)
        return
    flat = [np.asarray(n).ravel() for n in counts[1:]]
    *voxels, n_lesions, n_missed, _, _ = flat
    n_parts, surfaces = shapes_of(situation)
    lesions = LesionCounts(n_lesions, n_lesions - n_missed, *n_parts)
    metrics = case_metrics(*voxels, np.ones(1), lesions, surfaces)
    assert_is(getattr(metrics, OF_EVALUATE[name.split(" (")[0]])[0], written)


# Situation -> reference, voxels that count.
OF_MAPS = {
    "half": ([True, True, False, False], ALL_FOUR),
    "empty reference": (NONE, ALL_FOUR),
    "full reference": (ALL_FOUR, ALL_FOUR),
    "one voxel": (ONE, ONE),
    "nothing counts": (FIRST, NONE),
}


def map_of(situation, engine):
    """Functions, map, reference and voxels that count, for an engine."""
    ops, asarray = ops_of(engine)
    reference, valid = (np.array([x]) for x in OF_MAPS[situation])
    probs = np.full(reference.shape, 0.25, np.float32)
    return ops, asarray(probs), asarray(reference), asarray(valid)


@each_cell(SCORES)
def test_scores_of_a_map(name, situation, written, engine):
    ops, probs, reference, valid = map_of(situation, engine)
    if name.startswith("signed distance"):
        line = [x.reshape(1, -1, 1, 1) for x in (reference, valid)]
        found = ops.signed_distance(line[0], (1.0, 1.0, 1.0), valid=line[1])
        found = np.asarray(found).max()
    elif name == "critical probability":
        found = ops.critical_probability(probs, reference, [0.0], valid=valid)
    else:
        score = ops.inner_score if name.startswith("inner") else ops.outer_score
        found = score(probs, reference, valid=valid)
    assert_is(np.ravel(found)[0], written)


def errors_of(situation, engine):
    """Every error of the page, by its name there."""
    from coverax import reliability

    ops, probs, reference, valid = map_of(situation, engine)
    bins = ops.bin_statistics(probs, reference, 20, valid=valid)
    errors = reliability.calibration_errors(bins)
    proper = ops.proper_scores(probs, reference, valid=valid)
    present = np.asarray((reference & valid).any(axis=1))
    macro = {
        f"macro mean, `{absent}`": [reliability.macro_mean(errors.ece, present, absent)]
        for absent in ("skip", "include")
    }
    return macro | {
        "ECE": errors.ece,
        "ACE": errors.ace,
        "MCE": errors.mce,
        "squared ECE, debiased": reliability.debiased_squared_ece(bins),
        "overconfidence": reliability.overconfidence_error(bins),
        "pECE": reliability.pixelwise_ece(bins),
        "Brier, sum": np.asarray(proper.sum_squares).sum(1),
        "log loss, sum": np.asarray(proper.sum_log_loss).sum(1),
    }


@each_cell(ERRORS)
def test_calibration_errors(name, situation, written, engine):
    assert_is(errors_of(situation, engine)[name][0], written)


OF_CLASS = {
    "absent class": (0, 4, True),
    "only class": (1, 4, True),
    "one voxel": (1, 1, True),
    "nothing counts": (1, 4, False),
}


@each_cell(LOSSES)
def test_training_losses(name, situation, written):
    import jax

    from coverax import losses

    label, n_voxels, counts = OF_CLASS[situation]
    words = re.findall(r"`(\w+)`", name)
    of = getattr(losses, words[0])
    options = {"absent": words[1]} if len(words) > 1 else {}
    takes_probs = words[0] in ("hard_l1_ace", "soft_l1_ace", "soft_dice", "boundary")
    targets = jax.nn.one_hot(jnp.full((1, n_voxels, 1), label), 2)
    valid = jnp.full((1, n_voxels, 1), counts)

    def entry(logits):
        map_ = jax.nn.softmax(logits) if takes_probs else logits
        return of(map_, targets, valid=valid, **options)[0, 1]

    value, gradient = jax.jit(jax.value_and_grad(entry))(jnp.zeros_like(targets))
    assert_is(value, written)
    assert np.isfinite(gradient).all()
