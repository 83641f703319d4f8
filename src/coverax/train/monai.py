"""Weights of MONAI's nets under this package's names (MONAI 1.6.1)."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

# What takes no part: an unused norm, and an index that is no parameter.
_UNUSED = ("norm_cross_attn", "relative_position_index")


def fill_net(preset: str, net: Any, values: Mapping[str, np.ndarray]) -> None:
    """Set every parameter of a net from a state dictionary of MONAI's.

    Args:
        preset: Name of a preset that MONAI has, too.
        net: The net that `nets.build` made.
        values: Arrays by PyTorch's names; the prefix of a parallel net is taken off.

    Raises:
        ValueError: MONAI has no such net, an array is missing, has another shape or is
            not finite, or some belong to no parameter.
    """
    if preset not in _FILL:
        raise ValueError(
            f"net.preset {preset} has no weights of MONAI (these have: {', '.join(_FILL)})"
        )
    weights = _Weights(values)
    _FILL[preset](net.net, weights)
    left = [name for name in weights.left if not any(u in name for u in _UNUSED)]
    if left:
        raise ValueError(
            f"{len(left)} arrays are of no parameter of net.preset {preset} with these "
            f"net.sizes: {', '.join(left[:3])}"
        )


class _Weights:
    """A state dictionary that knows what was taken out of it."""

    def __init__(self, values: Mapping[str, np.ndarray]):
        cut = len("module.") if all(n.startswith("module.") for n in values) else 0
        self.left = {name[cut:]: np.asarray(v) for name, v in values.items()}

    def take(self, name):
        """An array, which is then no longer left."""
        if name not in self.left:
            raise ValueError(f"no array {name} for this net.preset and net.sizes")
        return self.left.pop(name)

    def put(self, param, name, change=lambda v: v):
        """Set a parameter once; the shape must be its own."""
        values = change(self.take(name))
        if param.shape != values.shape:
            raise ValueError(f"{name} gives {values.shape}, the net has {param.shape}")
        if not np.isfinite(values).all():
            raise ValueError(f"{name} holds values that are not finite")
        param.set_value(jnp.asarray(np.asarray(values, np.float32)))

    def conv(self, ours, name, *, transposed=False):
        """`[out, in, *size]`, or `[in, out, *size]`, to `[*size, in, out]`."""
        order = (-2, -1) if transposed else (-1, -2)
        self.put(ours.kernel, f"{name}.weight", lambda v: np.moveaxis(v, (0, 1), order))
        if ours.bias is not None:
            self.put(ours.bias, f"{name}.bias")

    def linear(self, ours, name):
        """`[out, in]` to `[in, out]`."""
        self.put(ours.kernel, f"{name}.weight", np.transpose)
        if ours.bias is not None:
            self.put(ours.bias, f"{name}.bias")

    def norm(self, ours, name):
        """Without parameters there, scale 1 and bias 0 here."""
        if f"{name}.weight" in self.left:
            self.put(ours.scale, f"{name}.weight")
            self.put(ours.bias, f"{name}.bias")

    def slope(self, ours, name):
        """The learned slope of a `Unit`."""
        self.put(ours.slope, f"{name}.adn.A.weight", lambda v: v[0])

    def residual(self, ours, name):
        """`UnetResBlock`."""
        for part, i in ((ours.first, 1), (ours.second, 2), (ours.shortcut, 3)):
            if part is not None:
                self.conv(part.conv, f"{name}.conv{i}.conv")
                self.norm(part.norm, f"{name}.norm{i}")

    def rise(self, ours, name):
        """`UnetrUpBlock`."""
        self.conv(ours.up, f"{name}.transp_conv.conv", transposed=True)
        self.residual(ours.block, f"{name}.conv_block")

    def perceptron(self, ours, name):
        """`MLPBlock`."""
        self.linear(ours.first, f"{name}.linear1")
        self.linear(ours.second, f"{name}.linear2")


def _segresnet(net, weights):
    weights.conv(net.stem, "convInit.conv")
    for i, stage in enumerate(net.encoder):
        if stage.step is not None:
            weights.conv(stage.step, f"down_layers.{i}.0.conv")
        for j, block in enumerate(stage.blocks, start=1):
            _preactivated(block, f"down_layers.{i}.{j}", weights)
    for i, rise in enumerate(reversed(net.decoder)):
        weights.conv(rise.halve, f"up_samples.{i}.0.conv")
        for j, block in enumerate(rise.blocks):
            _preactivated(block, f"up_layers.{i}.{j}", weights)
    weights.norm(net.norm, "conv_final.0")
    weights.conv(net.head, "conv_final.2.conv")


def _preactivated(block, name, weights):
    for i, (norm, conv) in enumerate(
        ((block.norm1, block.conv1), (block.norm2, block.conv2)), start=1
    ):
        weights.norm(norm, f"{name}.norm{i}")
        weights.conv(conv, f"{name}.conv{i}.conv")


def _strided_unet(net, weights):
    name = "model"
    for i, stage in enumerate(net.encoder):
        bottom = i == len(net.encoder) - 1
        _units(stage, name if bottom else f"{name}.0", weights)
        if not bottom:
            rise = net.decoder[i]
            weights.conv(rise.up, f"{name}.2.0.conv", transposed=True)
            weights.slope(rise.unit, f"{name}.2.0")
            _units(rise.residual, f"{name}.2.1", weights)
        name = f"{name}.1.submodule"


def _units(stage, name, weights):
    for j, conv in enumerate(stage.convs):
        weights.conv(conv, f"{name}.conv.unit{j}.conv")
    for j, unit in enumerate(stage.units):
        weights.slope(unit, f"{name}.conv.unit{j}")
    if stage.shortcut is not None:
        weights.conv(stage.shortcut, f"{name}.residual")


def _unetr(net, weights):
    weights.conv(net.tokens, "vit.patch_embedding.patch_embeddings")
    weights.put(net.positions, "vit.patch_embedding.position_embeddings")
    for i, block in enumerate(net.transformer):
        name = f"vit.blocks.{i}"
        weights.norm(block.norm1, f"{name}.norm1")
        weights.linear(block.attention.qkv, f"{name}.attn.qkv")
        weights.linear(block.attention.out, f"{name}.attn.out_proj")
        weights.norm(block.norm2, f"{name}.norm2")
        weights.perceptron(block.perceptron, f"{name}.mlp")
    weights.norm(net.norm, "vit.norm")
    weights.residual(net.entry, "encoder1.layer")
    for i, skip in enumerate(net.skips, start=2):
        weights.conv(skip.first, f"encoder{i}.transp_conv_init.conv", transposed=True)
        for j, (up, block) in enumerate(zip(skip.ups, skip.blocks, strict=True)):
            weights.conv(up, f"encoder{i}.blocks.{j}.0.conv", transposed=True)
            weights.residual(block, f"encoder{i}.blocks.{j}.1")
    for i, rise in enumerate(net.decoder, start=2):
        weights.rise(rise, f"decoder{i}")
    weights.conv(net.head, "out.conv.conv")


def _swin_unetr(net, weights):
    weights.conv(net.tokens, "swinViT.patch_embed.proj")
    for i, stage in enumerate(net.stages, start=1):
        for j, block in enumerate(stage.blocks):
            name = f"swinViT.layers{i}.0.blocks.{j}"
            weights.norm(block.norm1, f"{name}.norm1")
            weights.linear(block.attention.qkv, f"{name}.attn.qkv")
            weights.linear(block.attention.out, f"{name}.attn.proj")
            table = f"{name}.attn.relative_position_bias_table"
            weights.put(block.offsets, table)
            weights.norm(block.norm2, f"{name}.norm2")
            weights.perceptron(block.perceptron, f"{name}.mlp")
        weights.norm(stage.merge.norm, f"swinViT.layers{i}.0.downsample.norm")
        weights.linear(stage.merge.reduce, f"swinViT.layers{i}.0.downsample.reduction")
    weights.residual(net.entry, "encoder1.layer")
    for i, skip in enumerate(net.skips, start=2):
        weights.residual(skip, f"encoder{i}.layer")
    weights.residual(net.bottom, "encoder10.layer")
    for i, rise in enumerate(net.decoder, start=1):
        weights.rise(rise, f"decoder{i}")
    weights.conv(net.head, "out.conv.conv")


_FILL: dict[str, Callable[[Any, _Weights], None]] = {
    "segresnet": _segresnet,
    "unet3d-strided": _strided_unet,
    "unetr": _unetr,
    "swin-unetr": _swin_unetr,
}
