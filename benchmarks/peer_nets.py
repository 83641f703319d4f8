"""Nets of PyTorch that are ours layer by layer, and the way of their weights to ours."""

import itertools
import tempfile
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import torch
from monai.networks.nets import UNet
from torch import nn
from torch.nn import functional

from coverax.train.model import Model, build_model
from coverax.train.start import first_params

WIDTHS = (16, 32, 64)


class ConvNorm(nn.Module):
    """Convolution, instance norm and, unless `linear`, leaky rectifier."""

    def __init__(self, n_in, n_out, size=3, stride=1, *, linear=False):
        super().__init__()
        pad = (size - 1) // 2
        self.conv = nn.Conv3d(n_in, n_out, size, stride, pad, bias=False)
        self.norm = nn.InstanceNorm3d(n_out, affine=True)
        self.linear = linear

    def forward(self, x):
        """Apply the three in turn."""
        y = self.norm(self.conv(x))
        return y if self.linear else functional.leaky_relu(y, inplace=True)


class Residual(nn.Module):
    """Two convolutions around a shortcut; a step takes the mean of each tile there."""

    def __init__(self, n_in, n_out, stride):
        super().__init__()
        self.first = ConvNorm(n_in, n_out, stride=stride)
        self.second = ConvNorm(n_out, n_out, linear=True)
        self.stride, self.shortcut = stride, None
        if n_in != n_out:
            self.shortcut = ConvNorm(n_in, n_out, 1, linear=True)

    def forward(self, x):
        """Add the convolved map to the shortcut."""
        short = x if self.stride == 1 else functional.avg_pool3d(x, self.stride)
        if self.shortcut is not None:
            short = self.shortcut(short)
        return functional.leaky_relu(self.second(self.first(x)) + short, inplace=True)


class Rise(nn.Module):
    """Enlarge, join the encoder's map, one convolution."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.up = nn.ConvTranspose3d(n_in, n_out, 2, 2, bias=False)
        self.block = nn.Module()
        self.block.blocks = nn.ModuleList([ConvNorm(2 * n_out, n_out)])

    def forward(self, x, skip):
        """Rise to the size of `skip`."""
        return self.block.blocks[0](torch.cat([self.up(x), skip], 1))


class Small(nn.Module):
    """`unet3d-small`: logits of two levels, finest first; parts are called as in ours."""

    def __init__(self, n_classes):
        super().__init__()
        self.stem = ConvNorm(1, WIDTHS[0])
        pairs = zip((WIDTHS[0], *WIDTHS), WIDTHS, (1, 2, 2), strict=False)
        self.encoder = nn.ModuleList()
        for n_in, n_out, stride in pairs:
            stage = nn.Module()
            stage.blocks = nn.ModuleList([Residual(n_in, n_out, stride)])
            self.encoder.append(stage)
        self.decoder = nn.ModuleList(
            [Rise(n_in, n_out) for n_out, n_in in itertools.pairwise(WIDTHS)]
        )
        self.heads = nn.ModuleList([nn.Conv3d(n, n_classes, 1) for n in WIDTHS[:2]])

    def forward(self, x):
        """Logits, finest first."""
        x, skips = self.stem(x), []
        for stage in self.encoder:
            x = stage.blocks[0](x)
            skips.append(x)
        logits = []
        for i in (1, 0):
            x = self.decoder[i](x, skips[i])
            logits.append(self.heads[i](x))
        return logits[::-1]


class Strided(nn.Module):
    """MONAI's UNet, whose logits are of one level."""

    def __init__(self, n_classes):
        super().__init__()
        self.net = UNet(
            spatial_dims=3,
            in_channels=1,
            out_channels=n_classes,
            channels=WIDTHS,
            strides=(2, 2),
            num_res_units=2,
        )

    def forward(self, x):
        """Logits, finest first."""
        return [self.net(x)]


def small_model(config, net) -> Model:
    """`unet3d-small` with the weights of `Small`."""
    model, weights = build_model(config), net.state_dict()

    def start(seed):
        def own(path, _value):
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            *parts, leaf = name.removeprefix("net.").removesuffix(".value").split(".")
            leaf = "bias" if leaf == "bias" else "weight"
            value = weights[".".join([*parts, leaf])].numpy()
            if value.ndim == 1:
                return value.copy()
            # Stored outputs first, transposed kernels inputs first.
            last = (0, 1) if parts[-1] == "up" else (1, 0)
            return np.ascontiguousarray(value.transpose(2, 3, 4, *last))

        return jax.tree_util.tree_map_with_path(own, model.start(seed))

    return model._replace(start=start)


def strided_model(config, net) -> Model:
    """`unet3d-strided` with the weights of `Strided`, as a user starts from them."""
    weights = {name: value.numpy() for name, value in net.net.state_dict().items()}
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder, "weights.npz"), **weights)
        params = first_params(config, Path(folder, "weights.npz"))
    return build_model(config)._replace(start=lambda _seed: params)


class Peer(NamedTuple):
    """A net of PyTorch from the number of classes, and its twin from its weights."""

    make: type[nn.Module]
    twin: object


PEERS = {
    "unet3d-strided": Peer(Strided, strided_model),
    "unet3d-small": Peer(Small, small_model),
}
