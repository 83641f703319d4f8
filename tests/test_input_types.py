"""The flow of README with arrays of every kind: the same masks to the bit."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

import coverax as cx

N, SHAPE = 12, (7, 6, 5)
# float64 maps whose values no float32 has, and those that every float type has.
FINE = np.random.default_rng(0).random((N, *SHAPE))
COARSE = np.random.default_rng(1).integers(0, 129, (N, *SHAPE)) / 128
UNITS = [f"p{i}" for i in range(N)]
GROUPS = ["a", "b"] * (N // 2)
WEIGHTS = [1.0 + i % 3 for i in range(N)]


def references(maps):
    return np.random.default_rng(2).random(maps.shape) < maps


def flow(maps, labels, new, **columns):
    """Table, thresholds and masks of the flow, by every way that README names."""
    table = cx.scores.score_arrays(
        maps,
        labels,
        [0.1],
        spacing_mm=(1.0, 1.0, 2.0),
        transforms=["inner=identity", "outer=surface"],
        lesions="corner",
        voxel_volume_ml=0.002,
        engine="host",
        **columns,
    )
    calibration = cx.calibrate.calibrate_fnr(table, alpha=0.2)
    cut = calibration.thresholds[0].probability
    masks = [cx.predict.threshold_mask(p, cut) for p in new]
    about = {"spacing_mm": (1.0, 1.0, 2.0), "engine": "host"}
    found = cx.evaluate.evaluate_arrays(calibration, maps, labels, **about)
    for own, mask in zip(cx.predict.apply(calibration, new), masks, strict=True):
        np.testing.assert_array_equal(own.mask, mask)
    said = json.dumps(found.summary.to_json()["results"])
    return table.rows_digest, cut, masks, said


def assert_same_flow(got, want):
    assert got[0] == want[0]
    assert got[1] == want[1]
    assert got[3] == want[3]
    for a, b in zip(got[2], want[2], strict=True):
        assert a.dtype == bool
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("map_type", "label_type"),
    [
        ("float16", "bool"),
        ("float32", "uint8"),
        ("float32", "int8"),
        ("float64", "int64"),
        ("longdouble", "uint64"),
        ("float64", "float32"),
        (">f4", ">i2"),
    ],
)
def test_any_numpy_type_gives_the_same_masks(map_type, label_type):
    labels = references(COARSE)
    want = flow(COARSE.astype(np.float32), labels, COARSE.astype(np.float32))
    maps = COARSE.astype(map_type)
    assert_same_flow(flow(maps, labels.astype(label_type), maps), want)
    lists = [np.asfortranarray(p) for p in maps]
    assert_same_flow(flow(lists, list(labels.astype(label_type)), lists), want)


def test_float64_maps_are_those_of_their_float32_rounding():
    labels = references(FINE)
    rounded = FINE.astype(np.float32)
    assert_same_flow(flow(FINE, labels, FINE), flow(rounded, labels, rounded))
    assert_same_flow(flow(rounded, labels, FINE), flow(FINE, labels, rounded))
    lists = [p.tolist() for p in FINE]
    assert_same_flow(flow(lists, labels, lists), flow(rounded, labels, rounded))


def test_a_threshold_takes_the_very_voxel_that_set_it():
    third = np.full((9, 1, 3), 1 / 3)
    labels = np.ones(third.shape, np.uint8)
    third = third[..., None]
    _, cut, masks, _ = flow(third, labels[..., None], third[:1])
    assert cut == np.float32(1 / 3)
    assert masks[0].all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_jax_arrays_give_the_same_masks(dtype):
    labels = references(COARSE)
    want = flow(COARSE.astype(np.float32), labels, COARSE.astype(np.float32))
    maps = jnp.asarray(COARSE, dtype)
    assert_same_flow(flow(maps, jnp.asarray(labels, jnp.int8), maps), want)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_torch_tensors_give_the_same_masks(dtype):
    torch = pytest.importorskip("torch")
    labels = references(COARSE)
    want = flow(COARSE.astype(np.float32), labels, COARSE.astype(np.float32))
    maps = torch.as_tensor(COARSE).to(getattr(torch, dtype)).requires_grad_()
    for label_type in (torch.bool, torch.uint8, torch.int64, torch.float32):
        given = torch.as_tensor(labels).to(label_type)
        assert_same_flow(flow(maps, given, maps), want)
    fine = torch.as_tensor(FINE)
    rounded = FINE.astype(np.float32)
    labels = references(FINE)
    assert_same_flow(flow(fine, labels, fine), flow(rounded, labels, rounded))


def test_subclasses_of_tensors_are_tensors():
    """As a MetaTensor of MONAI is: it carries more, and answers with its own type."""
    torch = pytest.importorskip("torch")

    class Meta(torch.Tensor):
        pass

    labels = references(COARSE)
    want = flow(COARSE.astype(np.float32), labels, COARSE.astype(np.float32))
    maps = torch.as_tensor(COARSE.astype(np.float32)).as_subclass(Meta)
    given = torch.as_tensor(labels).as_subclass(Meta)
    assert_same_flow(flow(list(maps), list(given), maps), want)


class Exchanged:
    """What speaks DLPack alone, as arrays of other libraries may."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class Asked:
    """What speaks `__array__` alone."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return np.array(self.array, dtype)


@pytest.mark.parametrize("kind", [Exchanged, Asked])
def test_what_exchanges_arrays_is_an_array(kind):
    labels = references(COARSE).astype(np.uint8)
    plain = COARSE.astype(np.float32)
    want = flow(plain, labels, plain)
    maps = [kind(p) for p in plain]
    assert_same_flow(flow(maps, [kind(y) for y in labels], maps), want)
    got = cx.host.bin_statistics(kind(plain), kind(labels), 8)
    for a, b in zip(got, cx.host.bin_statistics(plain, labels, 8), strict=True):
        np.testing.assert_array_equal(a, b)


def test_columns_of_pandas_are_read_by_position():
    pandas = pytest.importorskip("pandas")
    labels = references(COARSE)
    order = np.random.default_rng(3).permutation(N)
    ids = [f"c{i}" for i in range(N)]
    frame = pandas.DataFrame(
        {"id": ids, "unit": UNITS, "group": GROUPS, "weight": WEIGHTS, "tag": range(N)}
    ).iloc[order]
    maps = pandas.Series(list(COARSE)).iloc[order]
    given = pandas.Series(list(labels)).iloc[order]
    got = flow(
        maps,
        given,
        maps,
        case_ids=frame.id,
        units=frame.unit,
        groups=frame.group,
        weights=frame.weight,
    )
    want = flow(
        COARSE[order],
        labels[order],
        COARSE[order],
        case_ids=[ids[i] for i in order],
        units=[UNITS[i] for i in order],
        groups=[GROUPS[i] for i in order],
        weights=[WEIGHTS[i] for i in order],
    )
    assert_same_flow(got, want)
    with pytest.raises(TypeError, match="units must be a sequence"):
        flow(maps, given, maps, units=frame)
    hole = frame.unit.mask(frame.tag == 4)
    with pytest.raises(TypeError, match=f"for case {order.tolist().index(4)}"):
        flow(maps, given, maps, units=hole)


@pytest.mark.parametrize(
    ("probs", "error", "message"),
    [
        (np.array([0.5, np.nan]), ValueError, "must not be NaN"),
        (np.array([-3.0, 4.0]), ValueError, r"must lie in \[0, 1\]"),
        (np.array([0, 1, 255], np.uint8), TypeError, "must be floating point"),
        (np.array(["0.5"]), TypeError, "must hold numbers, got text"),
        (np.ma.masked_array([0.5, 0.6], [False, True]), ValueError, "masked array"),
    ],
)
def test_what_is_no_map_gets_no_mask(probs, error, message):
    with pytest.raises(error, match=message):
        cx.predict.threshold_mask(probs, 0.5)
    with pytest.raises(ValueError, match="the threshold is NaN"):
        cx.predict.threshold_mask(np.array([0.5]), np.nan)
