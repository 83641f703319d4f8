"""A net as pure functions of its parameters: start, forward pass, probabilities."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from flax import nnx
from jaxtyping import Array, Float

from coverax.train import nets
from coverax.train.config import TrainConfig
from coverax.train.cpu import NetProgram
from coverax.train.own import own_net

Images = Float[Array, "batch x y z channels"]
Map = Float[Array, "batch x y z classes"]
Levels = tuple[Float[Array, "batch _x _y _z classes"], ...]


class Model(NamedTuple):
    """A net without its parameters.

    Attributes:
        start: From a seed to parameters, the same for the same seed.
        apply: From parameters and images to logits, finest level first.
    """

    start: Callable[[int], Any]
    apply: Callable[[Any, Images], Levels]


def build_model(config: TrainConfig) -> Model:
    """The net of a config.

    Raises:
        ValueError: The net does not exist, or does not take the patch.
    """
    x, y, z = config.patch.size

    def net(rngs: nnx.Rngs):
        if config.net.module is not None:
            return nets.SegmentationNet(own_net(config, rngs), config.net.axes)
        return nets.build(
            config.net,
            in_channels=config.data.channels,
            n_classes=len(config.data.classes),
            patch=(x, y, z),
            rngs=rngs,
        )

    graph = nnx.split(nnx.eval_shape(lambda: net(nnx.Rngs(0))), nnx.Param)[0]

    @jax.jit
    def started(key):
        return nnx.state(net(nnx.Rngs(key)), nnx.Param)

    def start(seed):
        return started(jax.random.key(seed))

    return Model(start, applying(graph))


def model_of(net: nnx.Module, axes: int = 3) -> Model:
    """A module that holds its first parameters, and nothing else, as a model."""
    graph, params = nnx.split(nets.SegmentationNet(net, axes), nnx.Param)
    return Model(lambda _seed: params, applying(graph))


def applying(graph: Any) -> Callable[[Any, Images], Levels]:
    """A net as a function of its parameters and images."""

    def apply(params, images):
        return tuple(nnx.merge(graph, params)(images))

    return apply


def make_predict(model: Model) -> Callable[[Any, Images], Map]:
    """From parameters and patches to probabilities of the finest level.

    Compiled once a shape for each call of this function: make it once, use it often. It may
    be called within a compiled function of one's own.
    """

    def predict(params, images):
        return jax.nn.softmax(model.apply(params, images)[0])

    return NetProgram(predict)
