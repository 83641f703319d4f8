"""Every public function takes every type of mask and map alike, or refuses it.

The functions are found, not listed: a new one must be called here with the arguments it
needs, or the test fails.
"""

import functools
import inspect

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import coverax as cx
from coverax.checks import MAPS, MASKS

ENGINES = {
    "host": cx.host,
    "kernels": cx.kernels,
    "reliability": cx.reliability,
    "predict": cx.predict,
}
SHAPE = (2, 6, 5, 4)
INTEGERS = [np.dtype(f"{u}int{b}") for u in ("", "u") for b in (8, 16, 32, 64)]
FLOATS = [np.dtype(t) for t in (np.float16, np.float32, np.float64, np.longdouble)]
FLOATS.append(np.dtype(ml_dtypes.bfloat16))
NUMBERS = [*INTEGERS, *FLOATS, np.dtype(">i2"), np.dtype(">f4")]

RNG = np.random.default_rng(0)
# Multiples of 1/128 that every float type holds.
PROBS = (RNG.integers(0, 129, SHAPE) / 128).astype(np.float32)
LABELS, VALID = RNG.random((2, *SHAPE)) < 0.5
# What the parameters without a default may be; arrays are taken from the functions below.
ARGUMENTS = {
    "n_bins": 8,
    "n_cuts": 16,
    "cuts": np.array([0.25, 0.5], np.float32),
    "tolerances": [0.1],
    "cut": 0.4,
    "spacing_mm": (1.0, 1.5, 2.0),
    "fwhm_mm": 3.0,
    "operation": "external",
    "neighbours": "face",
    "slot": 0,
    "weights": (0.25, 0.5, 0.25),
    "affine": np.eye(4, 5) * 2,
    "border": "mirror",
    "temperature": 2.0,
    "temperatures": (1.0, 2.0, 0.5, 3.0),
    "factors": (1.0, 2.0, 0.5),
    "probability": 0.4,
    "share": 0.4,
    "ranks": np.array([[3], [2]], np.int32),
}
# Functions of one case, of its voxels, of flat cases; one of labels that are classes.
ONE_CASE = {"lesion_peaks", "component_boxes", "components"}
ONE_CASE |= {"count_components", "component_events", "surface_distances"}
VOXELS = {"fill_slot", "fit_platt", "fit_isotonic"}
VOXELS |= {"binary_logits_of", "apply_binary_temperature"}
OTHERS = {"fit_temperature"}
# `score_batch` is its door; the pipeline calls it with arrays that it made itself.
OTHERS |= {"run_plan"}
# Of whole cohorts, in tests/test_arrays_and_files.py and test_input_types.py.
OTHERS |= {"apply", "reliability_of_arrays"}
FLAT = {"grid_counts", "cut_counts", "overlap_counts", "sizes", "order_statistics"}


@functools.cache
def of_two_folds():
    """A calibration that takes two maps of a case."""
    rng = np.random.default_rng(1)
    probs = rng.random((24, *SHAPE[1:]), np.float32)
    table = cx.scores.score_arrays(
        probs, probs > 0.5, 0.1, folds=np.arange(24) % 2, n_bins=0
    )
    return cx.calibrate.calibrate_fold_fnr(table, 0.2)


def with_arrays(module):
    """Names of the functions of a module that take a map or a mask."""
    functions = {n: f for n, f in vars(module).items() if inspect.isroutine(f)}
    found = {n for n, f in functions.items() if taken(f, MAPS | MASKS)}
    return sorted(found - OTHERS)


def taken(function, kinds):
    return [n for n in inspect.signature(function).parameters if n in kinds]


def arguments(name, function):
    """Arguments of a call: float32 maps, boolean masks."""
    out = {}
    for parameter in inspect.signature(function).parameters.values():
        key = parameter.name
        if key in MAPS:
            out[key] = PROBS
        elif key in MASKS:
            out[key] = VALID if key == "valid" else LABELS
        elif key == "values":
            out[key] = PROBS
        elif key == "calibration":
            out[key] = of_two_folds()
        elif key == "batch":
            out[key] = cx.kernels.empty_batch((8, 8, 8))
        elif parameter.default is parameter.empty:
            out[key] = ARGUMENTS[key]
    arrays = [k for k, v in out.items() if getattr(v, "shape", None) == SHAPE]
    if name in ("overlap_counts", "mass_above"):
        out["cuts"] = np.tile(out["cuts"], (2, 1))
    for key in arrays:
        if name in ONE_CASE:
            out[key] = out[key][0]
        elif name in FLAT:
            out[key] = out[key].reshape(2, -1)
        elif name in VOXELS:
            out[key] = out[key][0].reshape(-1)
    return out


def call(function, given):
    """Every array of the result."""
    found = function(**given)
    found = given["batch"] if found is None else found
    return [np.asarray(leaf) for leaf in jax.tree.leaves(found)]


def assert_same(got, want):
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


CASES = [(e, n) for e, module in ENGINES.items() for n in with_arrays(module)]
each_function = pytest.mark.parametrize(("engine", "name"), CASES)


@each_function
def test_a_mask_of_any_number_type_is_the_boolean_one(engine, name):
    function = getattr(ENGINES[engine], name)
    want = call(function, arguments(name, function))
    for parameter in taken(function, MASKS):
        for dtype in NUMBERS:
            given = arguments(name, function)
            most = np.iinfo(dtype).max if dtype.kind in "iu" else 2
            true = given[parameter]
            values = np.where(np.arange(true.size) % 2, most, 1).reshape(true.shape)
            given[parameter] = np.where(true, values, 0).astype(dtype)
            assert_same(call(function, given), want)


@each_function
@pytest.mark.parametrize("as_type", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
def test_a_mask_with_numbers_that_are_no_answer_is_refused(engine, name, as_type):
    function = getattr(ENGINES[engine], name)
    for parameter in taken(function, MASKS):
        for bad, dtype in [
            (-1, np.int8),
            (-1, np.int32),
            (-1, np.float32),
            (0.3, np.float32),
            (np.nan, np.float32),
            (np.inf, np.float32),
        ]:
            given = arguments(name, function)
            wrong = given[parameter].astype(dtype)
            wrong.flat[0] = bad
            given[parameter] = as_type(wrong)
            with pytest.raises(
                ValueError, match=f"{parameter} must hold whole numbers"
            ):
                function(**given)
        given = arguments(name, function)
        given[parameter] = given[parameter].astype(str)
        with pytest.raises(TypeError, match=f"{parameter} must hold numbers, got text"):
            function(**given)


@each_function
def test_a_map_of_any_float_type_is_the_float32_one(engine, name):
    function = getattr(ENGINES[engine], name)
    want = call(function, arguments(name, function))
    for parameter in taken(function, MAPS):
        for dtype in (*FLOATS, np.dtype(">f4")):
            given = arguments(name, function)
            given[parameter] = given[parameter].astype(dtype)
            assert_same(call(function, given), want)
        given = arguments(name, function)
        given[parameter] = given[parameter].tolist()
        assert_same(call(function, given), want)
        given[parameter] = (np.asarray(given[parameter]) > 0.5).astype(np.uint8)
        with pytest.raises(TypeError, match=f"{parameter} must be floating point"):
            function(**given)


@each_function
def test_a_float64_map_is_rounded_once_before_anything_is_compared(engine, name):
    """Just below a float32 number is that number, as in scoring."""
    function = getattr(ENGINES[engine], name)
    want = call(function, arguments(name, function))
    for parameter in taken(function, MAPS):
        given = arguments(name, function)
        given[parameter] = given[parameter] * (1 - 2.0**-40)
        with jax.enable_x64(True):
            assert_same(call(function, given), want)


@pytest.mark.parametrize("name", with_arrays(cx.kernels))
def test_a_traced_mask_is_true_where_it_is_not_0(name):
    function = cx.kernels.__dict__[name]
    if name == "fill_slot":  # it copies into memory of the host
        return
    given = arguments(name, function)
    masks = {n: jnp.asarray(given.pop(n)) for n in taken(function, MASKS)}
    traced = jax.jit(lambda masks: function(**given, **masks))
    want = jax.tree.leaves(traced(masks))
    for dtype in (jnp.int8, jnp.float32):
        negative = {n: -mask.astype(dtype) for n, mask in masks.items()}
        assert_same(jax.tree.leaves(traced(negative)), want)


@each_function
@pytest.mark.parametrize("as_type", [np.asarray, jnp.asarray], ids=["numpy", "jax"])
def test_arrays_of_other_shapes_are_refused_with_what_was_wanted(engine, name, as_type):
    function = getattr(ENGINES[engine], name)
    parameters = taken(function, MAPS | MASKS)
    for parameter in parameters[1:]:
        given = arguments(name, function)
        wanted = given[parameter].shape
        given[parameter] = as_type(given[parameter][..., :-1])
        got = given[parameter].shape
        with pytest.raises(ValueError, match="has shape") as error:
            function(**given)
        said = f"{parameter} has shape {got}, wanted {wanted}, that of {parameters[0]}"
        assert said in str(error.value)


@each_function
@pytest.mark.parametrize("library", ["jax", "torch", "list"])
def test_arrays_of_other_libraries_are_those_of_numpy(engine, name, library):
    function = getattr(ENGINES[engine], name)
    want = call(function, arguments(name, function))
    converted = {"jax": jnp.asarray, "list": lambda array: array.tolist()}
    if library == "torch":
        torch = pytest.importorskip("torch")
        converted["torch"] = torch.as_tensor
    given = arguments(name, function)
    for parameter in taken(function, MAPS | MASKS):
        given[parameter] = converted[library](given[parameter])
    assert_same(call(function, given), want)


def test_functions_that_take_arrays_are_found():
    found = {name for _, name in CASES}
    assert {"signed_distance", "lesion_peaks", "score_batch", "fill_slot"} <= found
    assert {"morphology", "bin_index", "window_mean", "order_statistics"} <= found
