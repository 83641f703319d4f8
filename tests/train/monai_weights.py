"""Weights of MONAI's nets under this package's names."""

import jax.numpy as jnp
import numpy as np


class Weights:
    """A state dictionary that knows what was taken out of it."""

    def __init__(self, module):
        self.left = {k: v.detach().numpy() for k, v in module.state_dict().items()}

    def take(self, name):
        return self.left.pop(name)

    def conv(self, ours, name, *, transposed=False):
        """`[out, in, *size]`, or `[in, out, *size]`, to `[*size, in, out]`."""
        order = (-2, -1) if transposed else (-1, -2)
        put(ours.kernel, np.moveaxis(self.take(f"{name}.weight"), (0, 1), order))
        if ours.bias is not None:
            put(ours.bias, self.take(f"{name}.bias"))

    def linear(self, ours, name):
        put(ours.kernel, self.take(f"{name}.weight").T)
        if ours.bias is not None:
            put(ours.bias, self.take(f"{name}.bias"))

    def norm(self, ours, name):
        put(ours.scale, self.take(f"{name}.weight"))
        put(ours.bias, self.take(f"{name}.bias"))

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
        self.linear(ours.first, f"{name}.linear1")
        self.linear(ours.second, f"{name}.linear2")


def put(param, values):
    """Set a parameter once; the shape must be its own."""
    assert param.shape == values.shape, (param.shape, values.shape)
    param.set_value(jnp.asarray(np.asarray(values, np.float32)))


def segresnet(net, weights):
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


def strided_unet(net, weights):
    name = "model"
    for i, stage in enumerate(net.encoder):
        bottom = i == len(net.encoder) - 1
        _units(stage, name if bottom else f"{name}.0", weights)
        if not bottom:
            rise = net.decoder[i]
            weights.conv(rise.up, f"{name}.2.0.conv", transposed=True)
            put(rise.unit.slope, weights.take(f"{name}.2.0.adn.A.weight")[0])
            _units(rise.residual, f"{name}.2.1", weights)
        name = f"{name}.1.submodule"


def _units(stage, name, weights):
    for j, conv in enumerate(stage.convs):
        weights.conv(conv, f"{name}.conv.unit{j}.conv")
    for j, unit in enumerate(stage.units):
        put(unit.slope, weights.take(f"{name}.conv.unit{j}.adn.A.weight")[0])
    if stage.shortcut is not None:
        weights.conv(stage.shortcut, f"{name}.residual")


def unetr(net, weights):
    weights.conv(net.tokens, "vit.patch_embedding.patch_embeddings")
    put(net.positions, weights.take("vit.patch_embedding.position_embeddings"))
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


def swin_unetr(net, weights):
    weights.conv(net.tokens, "swinViT.patch_embed.proj")
    for i, stage in enumerate(net.stages, start=1):
        for j, block in enumerate(stage.blocks):
            name = f"swinViT.layers{i}.0.blocks.{j}"
            weights.norm(block.norm1, f"{name}.norm1")
            weights.linear(block.attention.qkv, f"{name}.attn.qkv")
            weights.linear(block.attention.out, f"{name}.attn.proj")
            table = weights.take(f"{name}.attn.relative_position_bias_table")
            put(block.offsets, table)
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
