"""The distance transforms against all pairs of voxels, SciPy and each other."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt
from tests.oracles import distance as oracle

SPACINGS = {2: (0.7, 2.5), 3: (0.7, 1.3, 2.5)}
SHAPES = [(6, 7), (1, 9), (5, 1, 6), (4, 6, 5)]
# Squared distances carry a few float32 roundings; at 100 mm that is 2e-5 mm.
ABSOLUTE_MM = 1e-4


@pytest.fixture
def signed_distance(engine):
    module = "coverax.host" if engine == "host" else "coverax.kernels"
    function = importlib.import_module(module).signed_distance
    return lambda *args, **kwargs: np.asarray(function(*args, **kwargs))


def masks(shape, seed):
    """Sparse, dense, one voxel, all but one voxel."""
    rng = np.random.default_rng(seed)
    one = np.zeros(shape, bool)
    one[tuple(n // 2 for n in shape)] = True
    return np.stack([rng.random(shape) < 0.05, rng.random(shape) < 0.6, one, ~one])


@pytest.mark.parametrize("shape", SHAPES)
def test_every_voxel_has_the_distance_to_the_nearest_of_the_other_side(
    shape, signed_distance
):
    mask, spacing = masks(shape, 0), SPACINGS[len(shape)]
    got = signed_distance(mask, spacing)
    assert got.dtype == np.float32
    for one, values in zip(mask, got, strict=True):
        wanted = oracle.signed_distance(one, spacing)
        np.testing.assert_allclose(values, wanted, atol=ABSOLUTE_MM)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_not_valid_is_never_a_site_and_gets_zero(shape, signed_distance):
    mask, spacing = masks(shape, 1), SPACINGS[len(shape)]
    valid = np.random.default_rng(2).random(mask.shape) < 0.7
    got = signed_distance(mask, spacing, valid=valid)
    for i in range(len(mask)):
        wanted = oracle.signed_distance(mask[i], spacing, valid[i])
        np.testing.assert_allclose(got[i], wanted, atol=ABSOLUTE_MM)


def test_padding_changes_nothing(signed_distance):
    mask = masks((4, 6, 5), 3)
    pads = ((0, 0), (0, 3), (0, 2), (0, 11))
    padded = np.pad(mask, pads, constant_values=True)
    valid = np.pad(np.ones(mask.shape, bool), pads)
    alone = signed_distance(mask, SPACINGS[3])
    within = signed_distance(padded, SPACINGS[3], valid=valid)[:, :4, :6, :5]
    np.testing.assert_allclose(within, alone, atol=1e-6)


def test_empty_is_minus_infinity_and_full_is_infinity(signed_distance):
    mask = np.stack([np.zeros((3, 4), bool), np.ones((3, 4), bool)])
    got = signed_distance(mask, (1.0, 1.0))
    assert (got[0] == -np.inf).all()
    assert (got[1] == np.inf).all()


def test_larger_volume_equals_scipy(signed_distance):
    rng = np.random.default_rng(4)
    mask = rng.random((40, 37, 50)) < 0.002
    mask[10:20, 12:30, 5:40] = True
    spacing = SPACINGS[3]
    wanted = np.where(
        mask,
        distance_transform_edt(mask, sampling=spacing),
        -distance_transform_edt(~mask, sampling=spacing),
    )
    got = signed_distance(mask[None], spacing)[0]
    np.testing.assert_allclose(got, wanted, atol=ABSOLUTE_MM)


def test_unit_spacing_is_exact_in_squared_voxels(signed_distance):
    mask = np.zeros((1, 512, 40), bool)
    mask[0, 0, 0] = True
    got = signed_distance(mask, (1.0, 1.0))[0].astype(np.float64)
    squared = np.add.outer(np.arange(512) ** 2, np.arange(40) ** 2)
    squared[0, 0] = 1  # the one voxel of the mask looks at its neighbour
    assert np.array_equal(np.rint(got**2), squared)


def test_spacing_belongs_to_the_case(signed_distance):
    mask = np.repeat(masks((4, 6, 5), 5)[:1], 2, axis=0)
    spacing = np.array([[1, 1, 1], [0.5, 2, 3]], np.float32)
    got = signed_distance(mask, spacing)
    for i in range(2):
        np.testing.assert_array_equal(
            got[i], signed_distance(mask[i:][:1], spacing[i])[0]
        )
    assert not np.allclose(got[0], got[1])


def test_transposition_and_flips_go_along(signed_distance):
    mask = masks((4, 6, 5), 6)
    spacing = np.array(SPACINGS[3], np.float32)
    plain = signed_distance(mask, spacing)
    turned = signed_distance(mask.transpose(0, 3, 1, 2), spacing[[2, 0, 1]])
    np.testing.assert_allclose(turned, plain.transpose(0, 3, 1, 2), atol=1e-6)
    flipped = signed_distance(np.ascontiguousarray(mask[:, :, ::-1]), spacing)
    np.testing.assert_allclose(flipped, plain[:, :, ::-1], atol=1e-6)


def test_any_memory_order_gives_the_same(signed_distance):
    mask = masks((4, 6, 5), 7)
    fortran = np.stack([np.asfortranarray(m) for m in mask])
    np.testing.assert_array_equal(
        signed_distance(np.asfortranarray(fortran), SPACINGS[3]),
        signed_distance(mask, SPACINGS[3]),
    )


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_spacing_that_is_no_length_is_refused(bad, signed_distance):
    with pytest.raises(ValueError, match="positive and finite"):
        signed_distance(np.ones((1, 2, 2), bool), (1.0, bad))


def test_spacing_of_other_axes_is_refused(signed_distance):
    with pytest.raises(ValueError, match="expected"):
        signed_distance(np.ones((1, 2, 2), bool), (1.0, 1.0, 1.0))
    with pytest.raises((ValueError, TypeError), match="valid"):
        signed_distance(
            np.ones((1, 2, 2), bool), (1.0, 1.0), valid=np.ones((1, 2, 3), bool)
        )


def test_kernel_under_jit_and_vmap_is_the_kernel():
    from coverax.kernels import signed_distance as kernel

    mask = jnp.asarray(masks((4, 6, 5), 8))
    spacing = jnp.tile(jnp.array(SPACINGS[3]), (4, 1))
    wanted = kernel(mask, SPACINGS[3])
    np.testing.assert_array_equal(jax.jit(kernel)(mask, spacing), wanted)
    mapped = jax.vmap(lambda m, s: kernel(m[None], s[None])[0])(mask, spacing)
    np.testing.assert_allclose(mapped, wanted, atol=1e-6)


def test_kernel_needs_no_new_trace_and_little_memory():
    from coverax.kernels import signed_distance as kernel
    from coverax.kernels.distance import _signed_distance

    first, second = masks((32, 24, 40), 9)[:2, None]
    kernel(first, SPACINGS[3])
    with jax.no_tracing(True):
        kernel(second, SPACINGS[3])
    spacing = np.ones((1, 3), np.float32)
    for valid in (None, first):
        compiled = _signed_distance.lower(first, spacing, valid).compile()
        assert compiled.memory_analysis().temp_size_in_bytes <= 16 * first.size


@pytest.mark.parametrize(
    ("name", "most"), [("signed_distance", 8), ("surface_distance", 16)]
)
def test_little_memory_is_needed_beside_a_volume(name, most):
    """Bytes a voxel, of which 4 are one map; in one piece it were 13 and 28."""
    from coverax import kernels

    shape, spacing = (1, 64, 64, 48), SPACINGS[3]
    calls = {
        "signed_distance": (lambda y: kernels.signed_distance(y, spacing), bool),
        "surface_distance": (
            lambda p: kernels.surface_distance(p, 0.5, spacing),
            np.float32,
        ),
    }
    call, dtype = calls[name]
    compiled = jax.jit(call).lower(jax.ShapeDtypeStruct(shape, dtype)).compile()
    assert compiled.memory_analysis().temp_size_in_bytes <= most * np.prod(shape)
