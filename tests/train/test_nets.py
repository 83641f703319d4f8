"""Nets: every preset builds, has the right shapes and can be trained."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from coverax.train import nets
from coverax.train.config import NetConfig

# Sizes that build in little time, and a patch for each preset.
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


def images(patch, seed=1):
    return jax.random.normal(jax.random.key(seed), (2, *patch, 2))


def logits_and_gradients(config, patch):
    """Logits, and gradients of the sum of all levels' mean cross-entropy."""
    graph, params = nnx.split(built(config, patch), nnx.Param)

    @quick
    def run(params, x):
        def loss(params):
            levels = nnx.merge(graph, params)(x)
            return sum(-jax.nn.log_softmax(v)[..., 0].mean() for v in levels), levels

        return jax.grad(loss, has_aux=True)(params)

    gradients, levels = run(params, images(patch))
    return levels, nnx.to_pure_dict(gradients)


def test_every_preset_is_tried_here():
    assert set(TINY) == set(nets.PRESETS)


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("preset", nets.PRESETS)
def test_a_preset_gives_finite_logits_and_gradients(preset, axes):
    config, patch = tiny(preset, axes)
    levels, gradients = logits_and_gradients(config, patch)
    assert levels[0].shape == (2, *patch, 3)
    assert all(v.dtype == jnp.float32 and np.isfinite(v).all() for v in levels)
    sides = [v.shape[1] for v in levels]
    assert sides == sorted(sides, reverse=True)
    leaves = jax.tree.leaves(gradients)
    assert all(np.isfinite(g).all() for g in leaves)
    # Only what the softmax or a norm cancels may have no gradient.
    assert sum(float(jnp.abs(g).max()) > 0 for g in leaves) > 0.5 * len(leaves)


@pytest.mark.parametrize("preset", nets.PRESETS)
def test_a_net_is_its_parameters(preset):
    config, patch = tiny(preset)
    _, params, rest = nnx.split(built(config, patch), nnx.Param, ...)
    assert not jax.tree.leaves(rest)
    assert all(p.dtype == jnp.float32 for p in jax.tree.leaves(params))


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
