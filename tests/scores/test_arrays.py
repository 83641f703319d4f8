"""Arrays are checked as files are; what is not declared is refused, never guessed."""

from fractions import Fraction

import numpy as np
import pytest

import coverax as cx

SHAPE = (4, 5, 3)


def score_arrays(*arrays, **options):
    """With a volume, so that no entry of a row is NaN, which equals nothing."""
    return cx.scores.score_arrays(*arrays, **{"voxel_volume_ml": 0.5} | options)


def cohort(n=3, seed=0):
    rng = np.random.default_rng(seed)
    probs = rng.random((n, *SHAPE), np.float32)
    return probs, rng.random((n, *SHAPE)) < probs


def classes(n=2, n_classes=3, seed=1):
    """Softmax maps with the classes first, labels, and one-hot labels."""
    rng = np.random.default_rng(seed)
    z = np.exp(rng.normal(0, 2, (n, n_classes, *SHAPE)))
    probs = (z / z.sum(1, keepdims=True)).astype(np.float32)
    labels = rng.integers(0, n_classes, (n, *SHAPE))
    one_hot = np.moveaxis(np.eye(n_classes, dtype=np.uint8)[labels], -1, 1)
    return probs, labels, one_hot


def same_rows(a, b):
    assert a.rows_digest == b.rows_digest


def replaced(array, value):
    out = array.astype(np.float64)
    out[0, 0, 0] = value
    return out


WHOLE = "labels must hold whole numbers, none of them negative"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: replaced(y, np.nan), f"{WHOLE}, got nan"),
        (lambda y: replaced(y, -1), f"{WHOLE}, got -1"),
        (lambda y: -y.astype(np.int8), f"{WHOLE}, got -1"),
        (lambda y: y * 0.3, f"{WHOLE}, got 0.3"),
        (lambda y: y * np.uint8(255), "unexpected label 255; expected 0, 1"),
        (lambda y: y * 2, "unexpected label 2; expected 0, 1"),
        (lambda y: y.astype(str), "labels must hold numbers, got text"),
        (lambda y: y[0], r"labels has shape \(5, 3\), wanted \(4, 5, 3\)"),
        (lambda _: [[0, 1], [1]], "labels cannot be read as an array"),
        (lambda _: None, "labels must hold numbers, got NoneType objects"),
    ],
)
@pytest.mark.parametrize("engine", ["host", "device"])
def test_references_that_no_file_may_hold_are_refused(engine, change, message):
    probs, labels = cohort()
    each = [labels[0], change(labels[1].astype(np.uint8)), labels[2]]
    with pytest.raises(ExceptionGroup, match="1 of 3 cases failed") as error:
        score_arrays(probs, each, [0.1], engine=engine)
    with pytest.raises(ValueError, match=f"case case_1: .*{message}"):
        raise error.value.exceptions[0]


def test_map_and_reference_in_the_wrong_order_are_named():
    probs, labels = cohort(1)
    with pytest.raises(ExceptionGroup) as error:
        score_arrays(labels.astype(np.float32), probs, [0.1])
    assert "the map comes first, then the reference" in str(error.value.exceptions[0])


def test_a_declared_label_is_ignored_whatever_type_holds_it():
    probs, labels = cohort()
    void = np.random.default_rng(2).random(labels.shape) < 0.3
    want = score_arrays(probs, labels, [0.1], valid=~void, n_bins=8)
    for dtype, ignored in [(np.int8, -1), (np.int64, -7), (float, -1), (np.uint8, 255)]:
        marked = np.where(void, ignored, labels).astype(dtype)
        same_rows(
            score_arrays(probs, marked, [0.1], ignore_label=ignored, n_bins=8), want
        )


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.float32])
def test_ignored_voxels_join_no_lesions_and_move_no_surface(dtype):
    rng = np.random.default_rng(3)
    probs = rng.random((2, 12, 9, 7), np.float32)
    labels = rng.random(probs.shape) < 0.1
    void = rng.random(probs.shape) < 0.3
    options = {
        "spacing_mm": (1.0, 1.0, 2.0),
        "lesions": "corner",
        "band_edges_mm": (-1.0, 0.0),
    }
    want = score_arrays(probs, labels & ~void, [0.1], valid=~void, **options)
    marked = np.where(void, -1, labels).astype(dtype)
    same_rows(score_arrays(probs, marked, [0.1], ignore_label=-1, **options), want)


@pytest.mark.parametrize(
    ("column", "values", "error", "message"),
    [
        ("units", ["a", None, "b"], TypeError, "got None for case 1"),
        ("units", ["a", float("nan"), "b"], TypeError, "got nan for case 1"),
        ("units", ["a", " ", "b"], ValueError, "units is empty for case 1"),
        ("groups", ["a", "", "b"], ValueError, "groups is empty for case 1"),
        ("groups", [0.0, 1.0, 1.0], TypeError, "groups must be text or whole"),
        ("case_ids", ["a", 1, "1"], ValueError, "case_ids must differ"),
        ("case_ids", "abc", TypeError, "case_ids must be a sequence"),
        ("units", {"a": 1, "b": 2, "c": 3}, TypeError, "units must be a sequence"),
        ("weights", [1, float("nan"), 1], ValueError, "got nan for case 1"),
        ("weights", [1, -1, 1], ValueError, "finite and at least 0, got -1"),
        ("weights", [1, np.inf, 1], ValueError, "finite and at least 0, got inf"),
        ("weights", [1, 10**400, 1], TypeError, "weights must be numbers"),
        ("weights", [1, "2", 1], TypeError, "weights must be numbers, got '2'"),
        ("weights", [1, 2], ValueError, "weights has 2 entries for 3 cases"),
        ("voxel_volume_ml", [1, 0, 1], ValueError, "must be positive"),
    ],
)
def test_columns_that_no_cohort_may_have_are_refused(column, values, error, message):
    with pytest.raises(error, match=message):
        score_arrays(*cohort(), [0.1], **{column: values})


def test_the_rows_of_a_case_differ_in_the_rater_alone():
    probs, labels = cohort(2)
    rows = {"case_ids": ["a", "a"], "raters": ["x", "y"]}
    score_arrays(probs[[0, 0]], labels, [0.1], **rows)
    for column in ({"units": ["p", "q"]}, {"weights": [1, 2]}, {"groups": [1, 2]}):
        with pytest.raises(ValueError, match="rows of case a differ"):
            score_arrays(probs[[0, 0]], labels, [0.1], **rows, **column)


@pytest.mark.parametrize(
    ("one", "exact"),
    [(0.29, "0.29"), ("0.29", "0.29"), (np.float32(0.25), "1/4"), ("1/4", "1/4"),
     (Fraction(1, 8), "1/8"), (0, "0")],
)  # fmt: skip
def test_one_tolerance_is_one_tolerance_and_exact(one, exact):
    n = 300
    probs = (np.arange(1, n + 1, dtype=np.float32) / 512).reshape(1, n, 1, 1)
    table = score_arrays(probs, np.ones(probs.shape, bool), one)
    assert len(table.tolerances) == 1
    allowed = int(Fraction(exact) * n)
    cut = table.critical_probability(table.tolerances[0])[0]
    assert cut == np.float32((allowed + 1) / 512)
    calibration = cx.calibrate.calibrate_fnr(table, alpha=0.5, tolerance=one)
    assert calibration.thresholds[0].probability == cut


@pytest.mark.parametrize("one", [Fraction(1, 3), "1/3", 1 / 3, "a", 1, -0.1])
def test_a_single_tolerance_is_refused_once_and_not_a_case_at_a_time(one):
    with pytest.raises(ValueError, match=r"tolerance|finite number"):
        score_arrays(*cohort(), one)


def test_maps_are_checked_after_the_rounding_of_scoring():
    probs, labels = cohort()
    want = score_arrays(probs, labels, [0.1])
    nearly = probs.astype(np.float64) * (1 - 2.0**-40)
    same_rows(score_arrays(nearly, labels, [0.1]), want)
    with pytest.raises(ExceptionGroup) as error:
        score_arrays(labels.astype(np.uint8), labels, [0.1])
    assert "probs must be floating point, got uint8" in str(error.value.exceptions[0])


@pytest.mark.parametrize("axis", ["first", "last"])
@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize("engine", ["host", "device"])
def test_a_declared_class_axis_gives_each_region_its_own_row(axis, one_hot, engine):
    probs, labels, hot = classes()
    want = {
        k: score_arrays(probs[:, k], labels == k, [0.1], region=f"r{k}", engine=engine)
        for k in (1, 2)
    }
    given = hot if one_hot else labels
    if axis == "last":
        probs = np.moveaxis(probs, 1, -1)
        given = np.moveaxis(given, 1, -1) if one_hot else given
    table = score_arrays(
        probs,
        given,
        [0.1],
        channels=axis,
        regions=["r1=1:1", "r2=2:2"],
        engine=engine,
    )
    for k, alone in want.items():
        same_rows(table.select(table.column("region") == f"r{k}"), alone)


@pytest.mark.parametrize("softmax", [False, True])
def test_the_classes_of_regions_are_the_last_axis_unless_said_otherwise(softmax):
    probs, labels, _ = classes()
    options = {"regions": ["r1=1:1", "r2=2:2"], "softmax": softmax}
    want = score_arrays(probs, labels, 0.1, channels="first", **options)
    same_rows(score_arrays(np.moveaxis(probs, 1, -1), labels, 0.1, **options), want)
    same_rows(
        score_arrays(probs[:, 0], labels, 0.1, regions="any=0:1,2"),
        score_arrays(probs[:, 0], labels > 0, 0.1, region="any"),
    )


def test_joined_classes_and_a_softmax_are_those_of_files():
    probs, labels, _ = classes()
    table = score_arrays(
        probs,
        labels,
        [0.1],
        channels="first",
        regions=["r1=1:1", "r2=2:2"],
        softmax=True,
    )
    assert {"top_label_count", "background_bin_count"} <= set(table.columns)
    either = score_arrays(
        probs, labels, [0.1], channels="first", regions="any=1+2:1,2", n_bins=0
    )
    joined = np.minimum(probs[:, 1] + probs[:, 2], np.float32(1))
    same_rows(either, score_arrays(joined, labels > 0, [0.1], region="any", n_bins=0))
    with pytest.raises(ExceptionGroup) as error:
        score_arrays(
            probs * 0.9,
            labels,
            [0.1],
            channels="first",
            regions=["r1=1:1", "r2=2:2"],
            softmax=True,
        )
    assert "must sum to 1" in str(error.value.exceptions[0])


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("hot", {}, "an axis of classes comes with regions"),
        ("labels", {}, "an axis of classes comes with regions"),
        ("hot", {"regions": "a=1:1"}, "where the classes are by channels"),
        ("labels", {"regions": "a=1:1"}, "of shape (3, 4, 5, 3) with the classes last"),
        ("slices", {}, "sum to 1 along axis 0"),
        ("hot", {"channels": "first"}, "3 classes; name regions"),
        ("bad", {"channels": "first", "regions": "a=1:1"}, "no one-hot reference"),
        ("none", {"channels": "first", "regions": "a=1:1"}, "no one-hot reference"),
        ("hot", {"channels": "first", "regions": "a=3:1"}, "the regions need class 3"),
        ("labels", {"channels": "last", "regions": "a=1:1"}, "with the classes last"),
    ],
)
def test_a_class_axis_is_declared_and_never_pooled(kind, options, message):
    probs, labels, hot = classes(1)
    references = {
        "hot": hot,
        "labels": labels,
        "bad": hot + (labels == 1)[:, None].astype(np.uint8),
        "none": hot * np.uint8(0),
        "slices": hot[..., 0],
    }
    maps = probs[..., 0] if kind == "slices" else probs
    with pytest.raises(ExceptionGroup) as error:
        score_arrays(maps, references[kind], [0.1], **options)
    assert message in str(error.value.exceptions[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": "middle"}, 'channels must be "first", "last" or None'),
        ({"softmax": True, "channels": "last"}, "regions of a softmax are"),
        ({"regions": []}, "regions is empty"),
        ({"regions": "a=0:1", "region": "b"}, "leave region out"),
        ({"regions": ["a=0:1", "a=0:2"]}, "region names must differ"),
        ({"ignore_label": 1}, "label 1 is to be ignored, but belongs to region"),
    ],
)
def test_regions_and_channels_that_contradict_each_other_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        score_arrays(*cohort(1), [0.1], **options)


def test_lesions_need_the_axes_of_a_volume():
    probs, labels = np.full((1, 9), 0.5, np.float32), np.ones((1, 9), bool)
    with pytest.raises(ExceptionGroup) as error:
        score_arrays(probs, labels, [0.1], spacing_mm=(1.0,), lesions="face")
    assert "probs has shape (9,)" in str(error.value.exceptions[0])
