"""Where MONAI has the same net, its weights give its output: shapes prove nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from coverax.train import nets
from coverax.train.config import NetConfig
from coverax.train.monai import fill_net

pytestmark = pytest.mark.filterwarnings("ignore")
torch = pytest.importorskip("torch", reason="MONAI's nets need torch")
monai_nets = pytest.importorskip("monai.networks.nets", reason="needs MONAI")

SHARED = {"spatial_dims": 3, "in_channels": 2, "out_channels": 3}
NORM = ("instance", {"affine": True})
# Preset, sizes, patch; MONAI's net and its arguments.
PAIRS = {
    "segresnet": (
        {"channels": 8, "blocks_down": [1, 2, 2], "blocks_up": [1, 1]},
        (16, 8, 24),
        "SegResNet",
        {"init_filters": 8, "blocks_down": (1, 2, 2), "blocks_up": (1, 1)},
    ),
    "unet3d-strided": (
        {"channels": [4, 8, 12, 16], "strides": [2, [1, 2, 2], 2], "units": 2},
        (16, 16, 24),
        "UNet",
        {"channels": (4, 8, 12, 16), "strides": (2, (1, 2, 2), 2), "num_res_units": 2},
    ),
    "unetr": (
        {"channels": 4, "hidden": 24, "perceptron": 36, "heads": 3, "layers": 12},
        (32, 16, 48),
        "UNETR",
        {
            "img_size": (32, 16, 48),
            "feature_size": 4,
            "hidden_size": 24,
            "mlp_dim": 36,
            "num_heads": 3,
            "norm_name": NORM,
        },
    ),
    # MONAI's `merging` has the same tiles in another order.
    "swin-unetr": (
        {"channels": 12, "blocks": [2, 1, 2, 1], "heads": [3, 6, 6, 12]},
        (64, 64, 32),
        "SwinUNETR",
        {
            "feature_size": 12,
            "depths": (2, 1, 2, 1),
            "num_heads": (3, 6, 6, 12),
            "norm_name": NORM,
            "downsample": "mergingv2",
        },
    ),
}


def theirs(preset):
    """MONAI's net in eval mode, every parameter moved off its start."""
    _, _, name, arguments = PAIRS[preset]
    torch.manual_seed(0)
    net = getattr(monai_nets, name)(**SHARED, **arguments).eval()
    with torch.no_grad():
        for param in net.parameters():
            param += 0.05 * torch.randn_like(param)
    return net


def arrays(net):
    return {name: value.detach().numpy() for name, value in net.state_dict().items()}


def ours(preset):
    sizes, patch, _, _ = PAIRS[preset]
    config = NetConfig(preset=preset, sizes=sizes)
    return nets.build(config, in_channels=2, n_classes=3, patch=patch, rngs=nnx.Rngs(9))


def both_outputs(preset, net, other):
    patch = PAIRS[preset][1]
    x = np.random.default_rng(4).standard_normal((2, *patch, 2), np.float32)
    with torch.no_grad():
        want = other(torch.from_numpy(np.moveaxis(x, -1, 1).copy())).numpy()
    graph, params = nnx.split(net, nnx.Param)
    logits = jax.jit(lambda p, x: nnx.merge(graph, p)(x)[0])(params, jnp.asarray(x))
    return np.asarray(logits), np.moveaxis(want, 1, -1)


@pytest.mark.parametrize("preset", PAIRS)
def test_weights_of_monai_give_its_output(preset, record_property):
    other, net = theirs(preset), ours(preset)
    fill_net(preset, net, arrays(other))
    got, want = both_outputs(preset, net, other)
    assert np.std(want) > 0.05
    error = np.abs(got - want).max()
    record_property("largest_difference", float(error))
    assert error < 1e-4


def test_a_net_with_one_part_exchanged_is_noticed():
    """Negative control: two convolutions of equal shape swapped."""
    other, net = theirs("segresnet"), ours("segresnet")
    fill_net("segresnet", net, arrays(other))
    block = net.net.encoder[0].blocks[0]
    block.conv1, block.conv2 = block.conv2, block.conv1
    got, want = both_outputs("segresnet", net, other)
    assert np.abs(got - want).max() > 1e-3
