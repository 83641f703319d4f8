"""Nets: every preset builds, has the right shapes and can be trained."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from coverax.train import nets
from coverax.train.config import NetConfig
from coverax.train.nets.conv import Conv, Upconv
from coverax.train.nets.kit import BLOCK, Kit, normal

# Sizes that build in little time, and a patch for each preset.
LARGE = {"unetr", "swin-unetr"}  # most seconds to compile
TINY = {
    "unet3d-small": ({"channels": [4, 6, 8]}, (8, 4, 8)),
    "unet3d": (
        {
            "channels": [4, 6, 8],
            "blocks": [1, 2, 1],
            "decoder_blocks": [1, 1],
            "strides": [2, [2, 2, 1]],
            "supervised": 2,
        },
        (8, 12, 8),
    ),
    "unet3d-plain": (
        {
            "channels": [4, 6, 8],
            "blocks": [2, 1, 2],
            "decoder_blocks": [1, 2],
            "strides": [2, [2, 2, 1]],
            "supervised": 2,
        },
        (8, 12, 8),
    ),
    "unet3d-strided": ({"channels": [4, 6, 8], "strides": [2, 2]}, (8, 4, 8)),
    "segresnet": (
        {"channels": 4, "groups": 2, "blocks_down": [1, 2], "blocks_up": [1]},
        (6, 4, 8),
    ),
    "resnet3d": ({"channels": 4, "blocks": [1, 2], "stem": 3}, (8, 4, 8)),
    "unetr": (
        {"channels": 2, "hidden": 8, "perceptron": 12, "heads": 2, "layers": 4},
        (32, 16, 16),
    ),
    "swin-unetr": (
        {"channels": 4, "blocks": [2, 1], "heads": [2, 2], "window": 3, "ratio": 2},
        (16, 8, 8),
    ),
    "sam3d": (
        {"token": 4, "hidden": 8, "perceptron": 12, "heads": 2, "layers": 1}
        | {"decoder": 16, "decoder_heads": 2, "decoder_layers": 1},
        (8, 4, 8),
    ),
}


# Parameters of the presets as they are, one channel in, two classes, six divisors a side.
COUNTS = {
    "unet3d-small": 314_644,
    "unet3d": 102_335_272,
    "unet3d-plain": 31_190_312,
    "unet3d-strided": 4_806_481,
    "segresnet": 18_796_002,
    "resnet3d": 41_750_146,
    "unetr": 92_785_890,
    "swin-unetr": 15_707_660,
    "sam3d": 99_144_192,
}
# Compiled as fast as may be: these nets run once.
quick = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def tiny(preset, axes=3, **changes):
    sizes, (x, y, z) = TINY[preset]
    config = NetConfig(preset=preset, axes=axes, sizes=sizes, **changes)
    return config, (x, y, z if axes == 3 else 1)


def built(config, patch, seed=0):
    return nets.build(
        config, in_channels=2, n_classes=3, patch=patch, rngs=nnx.Rngs(seed)
    )


@cache
def logits_and_gradients(preset, axes=3, compute="float32", rematerialise=False):
    """Logits, and gradients of the sum of all levels' mean cross-entropy."""
    config, patch = tiny(preset, axes, compute=compute, rematerialise=rematerialise)
    graph, params = nnx.split(built(config, patch), nnx.Param)

    @quick
    def run(params, x):
        def loss(params):
            levels = nnx.merge(graph, params)(x)
            return sum(-jax.nn.log_softmax(v)[..., 0].mean() for v in levels), levels

        return jax.grad(loss, has_aux=True)(params)

    x = jnp.asarray(
        np.random.default_rng(1).standard_normal((2, *patch, 2), np.float32)
    )
    gradients, levels = run(params, x)
    return levels, jax.tree.leaves(nnx.to_pure_dict(gradients))


def assert_trainable(preset, axes):
    levels, gradients = logits_and_gradients(preset, axes)
    assert levels[0].shape == (2, *tiny(preset, axes)[1], 3)
    assert all(v.dtype == jnp.float32 and np.isfinite(v).all() for v in levels)
    sides = [v.shape[1] for v in levels]
    assert sides == sorted(sides, reverse=True)
    assert all(np.isfinite(g).all() for g in gradients)
    # A norm over one voxel or two channels cancels some; most must get a gradient.
    assert sum(float(np.abs(g).max()) > 0 for g in gradients) > 0.8 * len(gradients)


def relative_error(got, want):
    got, want = np.asarray(got), np.asarray(want)
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


def assert_bfloat16_is_near(preset):
    levels, gradients = logits_and_gradients(preset, compute="bfloat16")
    want = logits_and_gradients(preset)[0]
    # Each of some tens of layers rounds by at most 2^-8; norms keep sizes near one.
    assert 0 < relative_error(levels[0], want[0]) < 0.1
    assert all(g.dtype == jnp.float32 and np.isfinite(g).all() for g in gradients)


def assert_rematerialising_changes_nothing(preset):
    again, plain = (
        logits_and_gradients(preset, rematerialise=True),
        logits_and_gradients(preset),
    )
    for got, want in zip(jax.tree.leaves(again), jax.tree.leaves(plain), strict=True):
        # The compiler may fuse otherwise: rounding alone.
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_every_preset_is_tried_here():
    assert set(TINY) == set(nets.PRESETS)


@pytest.mark.parametrize(
    "preset",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE))
        for name in nets.PRESETS
    ],
)
def test_a_preset_gives_finite_logits_and_gradients(preset):
    assert_trainable(preset, 3)


@pytest.mark.slow
@pytest.mark.parametrize("preset", nets.PRESETS)
def test_a_preset_of_slices_gives_finite_logits_and_gradients(preset):
    assert_trainable(preset, 2)


@pytest.mark.parametrize("preset", nets.PRESETS)
def test_a_preset_of_slices_has_the_shape_of_its_patch(preset):
    config, patch = tiny(preset, 2)

    def logits(x):
        return built(config, patch)(x)[0]

    x = jax.ShapeDtypeStruct((2, *patch, 2), jnp.float32)
    assert jax.eval_shape(logits, x).shape == (2, *patch, 3)


@pytest.mark.slow
def test_bfloat16_is_near_and_rematerialising_changes_nothing():
    assert_bfloat16_is_near("segresnet")
    assert_rematerialising_changes_nothing("segresnet")


@pytest.mark.slow
@pytest.mark.parametrize("preset", sorted(set(nets.PRESETS) - {"segresnet"}))
def test_bfloat16_and_rematerialising_of_the_others(preset):
    assert_bfloat16_is_near(preset)
    assert_rematerialising_changes_nothing(preset)


@pytest.mark.parametrize("preset", nets.PRESETS)
def test_rematerialising_is_written_into_the_gradient(preset):
    """Power of the equality: the blocks are marked, not the same program twice."""
    found = []
    for again in (False, True):
        config, patch = tiny(preset, rematerialise=again)
        net = nnx.eval_shape(partial(built, config, patch))
        graph, params = nnx.split(net, nnx.Param)
        x = jax.ShapeDtypeStruct((2, *patch, 2), jnp.float32)
        run = partial(lambda graph, p, x: nnx.merge(graph, p)(x), graph)
        found.append("remat" in str(jax.make_jaxpr(run)(params, x)))
    assert found == [False, True]


@pytest.mark.parametrize(("preset", "count"), COUNTS.items())
def test_parameters_of_the_defaults_are_those_of_the_docs(preset, count):
    def net():
        patch = nets.divisor(NetConfig(preset=preset))
        return nets.build(
            NetConfig(preset=preset),
            in_channels=1,
            n_classes=2,
            patch=tuple(6 * side for side in patch),
            rngs=nnx.Rngs(0),
        )

    assert nets.count_parameters(nnx.eval_shape(net)) == count


@pytest.mark.parametrize("preset", nets.PRESETS)
def test_a_net_is_its_parameters(preset):
    config, patch = tiny(preset)
    _, params, rest = nnx.split(built(config, patch), nnx.Param, ...)
    assert not jax.tree.leaves(rest)
    assert all(p.dtype == jnp.float32 for p in jax.tree.leaves(params))


def test_the_first_parameters_are_one_draw_compiled_or_not():
    key, shape = jax.random.key(2), (3, BLOCK // 2)
    plain = normal(key, shape, 0.5)
    compiled = jax.jit(normal, static_argnums=(1, 2))(key, shape, 0.5)
    np.testing.assert_array_equal(plain, compiled)
    # Deviation of 24576 draws: within 5 standard errors, 5 * 0.5 / sqrt(2 n) < 0.012.
    assert abs(float(np.std(plain)) - 0.5) < 0.012
    assert not np.array_equal(plain[0], plain[1])


@pytest.mark.parametrize(
    ("layer", "options", "fan"),
    [(Conv, {}, 27 * 24), (Upconv, {"size": 3}, 27 * 40), (Upconv, {}, 8 * 40)],
)
def test_convolutions_start_uniform_by_the_fan_that_pytorch_counts(layer, options, fan):
    kit = Kit(
        axes=3,
        dtype=jnp.float32,
        rematerialise=False,
        patch=(4, 4, 4),
        rngs=nnx.Rngs(1),
    )
    own = layer(kit, 24, 40, **options)
    kernel, bias = np.asarray(own.kernel[...]), np.asarray(own.bias[...])
    bound = fan**-0.5
    assert np.abs(kernel).max() <= bound
    assert 0 < np.abs(bias).max() <= bound
    # n draws: their largest is below (1 - x) bound with probability (1 - x)^n, at x =
    # 20 / n e^-20; their deviation is within five standard errors, 5 bound / sqrt(7 n).
    n = kernel.size
    assert np.abs(kernel).max() > (1 - 20 / n) * bound
    assert abs(kernel.std() - bound / 3**0.5) < 5 * bound / (7 * n) ** 0.5


def test_unknown_names_are_refused_in_one_line():
    with pytest.raises(ValueError, match="unet4d' is unknown") as error:
        nets.divisor(NetConfig(preset="unet4d"))
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"sizes\.width is unknown for unet3d"):
        nets.divisor(NetConfig(preset="unet3d", sizes={"width": 3}))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"channels": [4]}, "at least two stages"),
        ({"channels": [4, 8]}, "blocks needs one number a stage"),
        ({"channels": 4}, "must be like"),
        ({"channels": [4, 0, 8]}, "at least 1, not 0"),
        ({"channels": [4, 8.5, 8]}, "integers of at least 1"),
        ({"supervised": 3}, "supervised must lie in 1..2"),
        ({"supervised": True}, "must be like"),
    ],
)
def test_impossible_sizes_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        nets.divisor(NetConfig(sizes=sizes))


def test_a_patch_of_another_size_is_refused_in_one_line():
    config = NetConfig(preset="unet3d-small")
    assert nets.divisor(config) == (4, 4, 4)
    with pytest.raises(ValueError, match=r"\[8, 10, 8\] does not fit") as error:
        built(config, (8, 10, 8))
    assert "next larger is [8, 12, 8]" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_net_of_slices_takes_one_voxel_along_z():
    config = NetConfig(preset="unet3d-small", axes=2)
    assert nets.divisor(config) == (4, 4, 1)
    with pytest.raises(ValueError, match="takes 1 voxel along z"):
        built(config, (8, 8, 1))(jnp.zeros((1, 8, 8, 2, 2)))
