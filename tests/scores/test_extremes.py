"""Set scores: masks against scores event by event, engines, edges, published slips."""

import importlib

import numpy as np
import pytest
from scipy.ndimage import binary_dilation
from tests.sets_cohort import TRANSFORMS, blobs, both_sides

SPACING = (1.0, 1.5, 2.5)
SPECS = (*TRANSFORMS, "distance:tolerance=0.1", "identity:tolerance=0.1")
# Those that compile for seconds are among the long runs.
DEAR_LATER = [
    pytest.param(s, marks=pytest.mark.slow)
    if s.startswith(("smooth", "max_smooth", "relative", "boxes"))
    else s
    for s in SPECS
]


@pytest.fixture(scope="module")
def cohort():
    """Blobs, and the edges: empty and full references, empty and full predictions."""
    probs, labels = blobs(6, 0)
    labels[1], labels[2] = False, True
    probs[3], probs[4] = 0.01, 0.99
    probs[5].flat[:40] = 0.5
    return probs, labels


@pytest.fixture(scope="module")
def tables(cohort):
    from coverax.scores import score_arrays

    return {
        engine: score_arrays(
            *cohort,
            [0.1],
            transforms=both_sides(SPECS),
            spacing_mm=SPACING,
            engine=engine,
        )
        for engine in ("host", "device")
    }


def set_of(
    probs, transform, threshold, engine="host", spacing=SPACING, definition=None
):
    """The set of one map at a threshold, through the code of prediction."""
    from coverax.scores import (
        ScoreDefinition,
        View,
        lone_batch,
        resolve_engine,
        score_maps,
        side_cut,
        unpadded,
    )
    from coverax.volumes import FOREGROUND, Grid

    grid = Grid(probs.shape, np.diag([*spacing, 1.0]))
    flat = probs.ravel(order="F")
    view = View(FOREGROUND, flat, np.zeros(probs.size, bool), None, grid)
    chosen = resolve_engine(engine)
    definition = definition or ScoreDefinition(transforms=(transform,))
    batch = lone_batch(chosen, view, spatial=definition.is_spatial)
    maps = score_maps(chosen, batch, definition, [transform])
    values = unpadded(batch, maps[transform.side, transform.map_spec], 0)
    held = values >= side_cut(transform, threshold)
    return held.reshape(probs.shape, order="F")


def misses(transform, held, truth):
    """Voxels on the wrong side of the promise, beyond what is tolerated."""
    wrong = held & ~truth if transform.side == "inner" else truth & ~held
    return wrong.sum() - int(transform.tolerance * truth.sum() + 1e-9)


@pytest.mark.parametrize("spec", DEAR_LATER)
@pytest.mark.parametrize("side", ["inner", "outer"])
def test_a_set_keeps_its_promise_exactly_when_the_score_says_so(
    side, spec, cohort, tables, engine
):
    """At the score, the promise holds; at the next smaller threshold, it fails."""
    table = tables[engine]
    definition = table.definition
    transform = table.side_transform(side, spec)
    scores = table.side_scores(transform)
    for probs, truth, score in zip(*cohort, scores, strict=True):
        others = {*scores.tolist(), 0.3, np.inf} if engine == "host" else set()
        for threshold in {score, *others}:
            held = set_of(probs, transform, threshold, engine, definition=definition)
            assert (misses(transform, held, truth) <= 0) == (score <= threshold)
        if np.isfinite(score):
            below = float(np.nextafter(score, -np.inf))
            held = set_of(probs, transform, below, engine, definition=definition)
            assert misses(transform, held, truth) > 0


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("side", ["inner", "outer"])
def test_engines_agree(side, spec, tables):
    scores = [
        tables[e].side_scores(tables[e].side_transform(side, spec))
        for e in ("host", "device")
    ]
    # Smoothing adds up in another order; distances carry a few roundings.
    np.testing.assert_allclose(*scores, atol=1e-4 if "mm" in spec else 1e-5)


def test_scores_are_those_of_the_definition(cohort, tables):
    from tests.oracles.distance import signed_distance

    table = tables["host"]
    for i, (probs, truth) in enumerate(zip(*cohort, strict=True)):
        if i in (1, 2, 3, 4):
            continue
        distance = signed_distance(probs >= 0.5, SPACING)
        for values, spec in ((distance, "distance"), (probs, "identity")):
            inner = table.side_scores(table.side_transform("inner", spec))[i]
            outer = table.side_scores(table.side_transform("outer", spec))[i]
            np.testing.assert_allclose(inner, values[~truth].max(), atol=1e-4)
            np.testing.assert_allclose(outer, -values[truth].min(), atol=1e-4)


def test_empty_and_full_references(cohort, tables):
    """The largest of nothing is -inf: the promise holds whatever the set."""
    table = tables["host"]
    for spec in TRANSFORMS:
        inner = table.side_scores(table.side_transform("inner", spec))
        outer = table.side_scores(table.side_transform("outer", spec))
        assert outer[1] == -np.inf
        assert inner[2] == -np.inf


@pytest.mark.parametrize("spec", ["distance", "surface", "relative_distance", "boxes"])
def test_empty_and_full_predictions_say_nothing(spec, cohort, tables, engine):
    """No inner set, everything outer, and never a score of +inf."""
    table = tables[engine]
    for side in ("inner", "outer"):
        transform = table.side_transform(side, spec)
        scores = table.side_scores(transform)
        assert (scores < np.inf).all()
        for i in (3, 4):
            assert scores[i] == -np.inf
            held = set_of(
                cohort[0][i], transform, 1.0, engine, definition=table.definition
            )
            assert held.all() if side == "outer" else not held.any()


def test_outer_distance_set_is_the_prediction_grown_by_the_margin(cohort, tables):
    from coverax.scores import parse_transforms

    (transform,) = parse_transforms(["outer=distance"])
    probs, margin = cohort[0][0], 2.6
    reach = [int(margin // s) for s in SPACING]
    offsets = np.meshgrid(*[np.arange(-r, r + 1) for r in reach], indexing="ij")
    ball = sum((o * s) ** 2 for o, s in zip(offsets, SPACING, strict=True)) <= margin**2
    grown = binary_dilation(probs >= 0.5, ball)
    assert np.array_equal(set_of(probs, transform, margin), grown)


def test_boxes_grow_on_all_sides(cohort):
    from coverax.scores import parse_transforms

    (transform,) = parse_transforms(["outer=boxes"])
    probs = np.zeros((9, 11, 8), np.float32)
    probs[3:5, 4, 2:4] = probs[4, 5, 3] = 0.9
    held = set_of(probs, transform, 2.0)
    wanted = np.zeros_like(held)
    wanted[1:7, 3:7, 2:4] = True  # 2 mm: two, one and no voxel
    assert np.array_equal(held, wanted)


def test_a_component_box_within_another_is_left_out():
    from coverax.host import component_boxes

    mask = np.zeros((9, 9), bool)
    mask[0, :] = mask[:, 0] = True
    mask[5, 5] = True
    assert component_boxes(mask).tolist() == [[[0, 8], [0, 8]]]
    assert component_boxes(np.zeros((3, 3, 3), bool)).shape == (0, 3, 2)


def test_padding_and_neighbours_in_a_batch_change_no_score(cohort, tables):
    """Each case alone, in its own bucket, scores what it scores in the cohort."""
    from coverax.scores import score_arrays

    probs, labels = cohort
    transforms = both_sides(["distance", "surface"])
    for i in (0, 5):
        alone = score_arrays(
            probs[i : i + 1],
            labels[i : i + 1],
            [0.1],
            transforms=transforms,
            spacing_mm=SPACING,
            engine="device",
        )
        for side in ("inner", "outer"):
            for spec in ("distance", "surface"):
                t = alone.side_transform(side, spec)
                both = alone.side_scores(t)[0], tables["device"].side_scores(t)[i]
                assert both[0] == both[1]


def test_void_voxels_of_the_reference_do_not_move_the_map(cohort, engine):
    """A new case has no reference, so its score map cannot know what is void."""
    from coverax.scores import score_arrays

    probs, labels = cohort[0][:1], cohort[1][:1]
    valid = np.ones(probs.shape, bool)
    valid[:, :3] = False
    options = {"transforms": both_sides(["distance"]), "spacing_mm": SPACING}
    table = score_arrays(probs, labels, [0.1], valid=valid, engine=engine, **options)
    for side in ("inner", "outer"):
        transform = table.side_transform(side, "distance")
        score = table.side_scores(transform)[0]
        for threshold, kept in ((score, True), (np.nextafter(score, -np.inf), False)):
            held = set_of(
                probs[0],
                transform,
                float(threshold),
                engine,
                definition=table.definition,
            )
            truth = labels[0]
            wrong = held & ~truth if side == "inner" else truth & ~held
            assert (not (wrong & valid[0]).any()) == kept


@pytest.mark.parametrize("axes", [(2, 0, 1), (1, 0, 2)])
def test_turned_volumes_score_the_same(axes, cohort):
    from coverax.scores import score_arrays

    probs, labels = cohort[0][[0, 5]], cohort[1][[0, 5]]
    order = (0, *(a + 1 for a in axes))
    transforms = both_sides(["distance", "surface", "boxes", "smooth:fwhm=3"])
    plain = score_arrays(
        probs, labels, [0.1], transforms=transforms, spacing_mm=SPACING
    )
    turned = score_arrays(
        probs.transpose(order),
        labels.transpose(order),
        [0.1],
        transforms=transforms,
        spacing_mm=[SPACING[a] for a in axes],
    )
    flipped = score_arrays(
        probs[:, ::-1],
        labels[:, ::-1],
        [0.1],
        transforms=transforms,
        spacing_mm=SPACING,
    )
    for other in (turned, flipped):
        for transform in plain.definition.transforms:
            got, wanted = other.side_scores(transform), plain.side_scores(transform)
            np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_published_slip_regions_are_not_swapped(cohort, tables):
    """A background maximum certifies an inner set, a foreground minimum an outer one."""
    probs, labels = cohort
    inner = tables["host"].side_scores(
        tables["host"].side_transform("inner", "identity")
    )
    assert inner[0] == probs[0][~labels[0]].max() != probs[0][labels[0]].max()


def test_published_slip_masking_by_multiplication_is_not_done():
    """Values times a mask put zeros off it: a maximum could not be negative."""
    from coverax.kernels import extreme_scores

    values = np.array([[-3.0, -2.0, -1.0]], np.float32)
    labels = np.array([[False, False, True]])
    inner, outer = extreme_scores(values, values, labels)
    assert (float(inner[0]), float(outer[0])) == (-2.0, 1.0)


def test_published_slip_spacing_counts(cohort):
    from coverax.scores import score_arrays

    transforms = both_sides(["distance"])
    scores = [
        tuple(
            score_arrays(*cohort, [0.1], transforms=transforms, spacing_mm=s).column(
                "outer_score@distance:cut=0.5"
            )
        )
        for s in ((1.0, 1.0, 1.0), (1.0, 1.0, 3.0), (3.0, 1.0, 1.0))
    ]
    assert len(set(scores)) == 3  # neither ignored nor transposed


def test_published_slip_a_threshold_is_a_score_never_between_two():
    from coverax.calibrate import calibrate_sets
    from coverax.scores import score_arrays

    probs, labels = blobs(25, 5)
    transforms = both_sides(["surface"])
    table = score_arrays(
        probs, labels, [0.1], transforms=transforms, spacing_mm=SPACING
    )
    result = calibrate_sets(table, "0.13", joint="each")
    for t in result.thresholds:
        assert t.value in table.side_scores(table.side_transform(t.side))


@pytest.mark.parametrize("shape", [(9, 11), (9, 11, 8)])
def test_relative_distance_is_over_the_root_of_the_size(shape, engine):
    """Square root of the area of the predicted mask, cube root of its volume."""
    from coverax.scores import score_arrays

    probs, labels = blobs(4, 3, shape)
    spacing = SPACING[: len(shape)]
    names = both_sides(["distance", "relative_distance"])
    table = score_arrays(
        probs, labels, [0.1], transforms=names, spacing_mm=spacing, engine=engine
    )
    size = (probs >= 0.5).sum(axis=tuple(range(1, probs.ndim))) * np.prod(spacing)
    for side in ("inner", "outer"):
        plain, relative = (
            table.side_scores(table.side_transform(side, f"{name}:cut=0.5"))
            for name in ("distance", "relative_distance")
        )
        expected = plain / size ** (1 / len(shape))
        np.testing.assert_allclose(relative, expected, rtol=1e-5)


def test_a_spatial_transform_without_spacing_is_refused(cohort):
    from coverax.scores import score_arrays

    with pytest.raises(ExceptionGroup) as caught:
        score_arrays(*cohort, [0.1], transforms=["inner=distance"])
    assert "spacing" in str(caught.value.exceptions[0])


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan])
def test_a_spacing_that_is_no_length_is_refused(bad, cohort):
    from coverax.scores import score_arrays

    with pytest.raises(ExceptionGroup) as caught:
        score_arrays(
            *cohort, [0.1], transforms=["inner=distance"], spacing_mm=(1.0, bad, 1.0)
        )
    assert "positive and finite" in str(caught.value.exceptions[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("identity", "expected inner="),
        ("middle=identity", "expected inner="),
        ("inner=euclid", "unknown"),
        ("inner=identity:cut=0.5", "takes tolerance"),
        ("inner=distance:cut=1.5", "cut must lie"),
        ("inner=distance:cut=x", "finite number"),
        ("inner=smooth:fwhm=0", "length in mm"),
        ("outer=distance:tolerance=1", "tolerance must lie"),
    ],
)
def test_transforms_that_mean_nothing_are_refused(text, message):
    from coverax.scores import parse_transforms

    with pytest.raises(ValueError, match=message):
        parse_transforms([text])


def test_a_transform_is_its_text():
    from coverax.scores import parse_transforms

    for text in both_sides(SPECS):
        (transform,) = parse_transforms([text])
        assert parse_transforms([str(transform)]) == (transform,)


@pytest.mark.parametrize("tolerance", [0.0, 0.3])
def test_extremes_of_both_engines_have_the_same_bits(tolerance):
    rng = np.random.default_rng(0)
    values = rng.choice(np.float32([-np.inf, -1, -0.0, 0, 2, np.inf]), (5, 60))
    labels = rng.random((5, 60)) < 0.3
    labels[0], labels[1] = False, True
    valid = rng.random((5, 60)) < 0.8
    for side in ("inner", "outer"):
        got = [
            np.asarray(
                getattr(importlib.import_module(m), f"{side}_score")(
                    values, labels, tolerance=tolerance, valid=valid
                )
            )
            for m in ("coverax.host", "coverax.kernels")
        ]
        assert got[0].tobytes() == got[1].tobytes()
