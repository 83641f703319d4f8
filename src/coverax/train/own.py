"""Parts of one's own in a run, by import path: a net, and cases.

A path is `package.module:name`, importable where coverax runs (`PYTHONPATH=.` for a file
in the working directory). Losses of one's own are told in `coverax.losses.combine`.
"""

import importlib
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

from coverax.train.cases import Prepared, scaled
from coverax.train.config import DataConfig, TrainConfig


def imported(path: str, key: str) -> Any:
    """What an import path names.

    Raises:
        ValueError: It cannot be imported; one line with the key of the config.
    """
    module, _, name = path.partition(":")
    try:
        if not name:
            raise ImportError("a path is package.module:name")
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{key} = {path}: cannot be imported: {error}") from None


def own_net(config: TrainConfig, rngs: nnx.Rngs) -> nnx.Module:
    """The net of `net.module`, called as `Class(in_channels=, n_classes=, rngs=)`.

    A Flax NNX module from images `[batch, x, y, z, channels]` (no z with `net.axes = 2`)
    to logits `[batch, x, y, z, classes]`, or to a tuple of them, finest first; or a Linen
    module, called without `rngs`, which goes through Flax's bridge.

    Raises:
        ValueError: It cannot be imported or made, or it is no module.
    """
    path = str(config.net.module)
    made = imported(path, "net.module")
    sizes = dict(config.net.sizes)
    sizes |= {"in_channels": config.data.channels}
    sizes |= {"n_classes": len(config.data.classes)}
    is_linen = isinstance(made, type) and issubclass(made, linen.Module)
    try:
        net = made(**sizes) if is_linen else made(**sizes, rngs=rngs)
    except TypeError as error:
        raise ValueError(f"net.module = {path}: {error}") from None
    shape = (1, *config.patch.size[: config.net.axes], config.data.channels)
    return as_nnx(net, shape, rngs)


def as_nnx(net: Any, shape: tuple[int, ...], rngs: nnx.Rngs) -> nnx.Module:
    """A module as NNX has it; one of Linen is given its first parameters.

    Args:
        net: The module.
        shape: Of the images that it is to see.
        rngs: Gives a Linen module its parameters.

    Raises:
        ValueError: It is no module of Flax, or holds more than parameters.
    """
    if isinstance(net, linen.Module):
        # The source of numbers is not kept: the net is a function of its parameters.
        images = jnp.zeros(shape, jnp.float32)
        net = nnx.bridge.lazy_init(nnx.bridge.ToNNX(net), images, rngs=rngs)
    if not isinstance(net, nnx.Module):
        raise ValueError(f"a net is a module of Flax NNX or Linen, not {type(net)}")
    rest = nnx.split(net, nnx.Param, ...)[2]
    if kept := jax.tree.leaves(rest, is_leaf=lambda v: isinstance(v, nnx.Variable)):
        kinds = sorted({type(v).__name__ for v in kept})
        raise ValueError(
            f"the net holds {', '.join(kinds)}: a net here is a function of its "
            "parameters, without running statistics or dropout"
        )
    return net


def own_cases(config: DataConfig) -> dict[str, Prepared]:
    """The cases of `data.dataset`, a function without arguments.

    It gives a mapping of case ids to `(image, labels)` or `(image, labels, spacing_mm)`:
    arrays `[x, y, z]` or `[x, y]`, an image with channels last, label values as in
    `data.classes`. Intensities are scaled by the config's rule, as inference does.

    Raises:
        ValueError: It cannot be imported, or a case does not fit; the line names it.
    """
    made = imported(str(config.dataset), "data.dataset")()
    if not isinstance(made, Mapping):
        raise ValueError(f"data.dataset gives {type(made)}, not case ids with arrays")
    values = list(config.classes.values())
    cases = {}
    for name, arrays in sorted(made.items()):
        case = case_of(name, arrays, values, config.ignore_label)
        if case.image.shape[-1] != config.channels:
            raise ValueError(
                f"case {name}: {case.image.shape[-1]} channels where data.channels is "
                f"{config.channels}"
            )
        image = scaled(case.image, config, f"case {name}")
        cases[name] = Prepared(name, image, case.labels, None, case.spacing_mm)
    return cases


def case_of(
    name: str, arrays: Any, values: Iterable[int], ignore: int | None = None
) -> Prepared:
    """A case from arrays in memory; intensities are taken as they are.

    Raises:
        ValueError: Shapes differ, the image is not finite, or a label is no class.
    """
    image, labels, *more = (np.asarray(a) for a in arrays)
    if labels.ndim not in (2, 3) or image.shape[: labels.ndim] != labels.shape:
        raise ValueError(
            f"case {name}: image {image.shape} and labels {labels.shape} are no case"
        )
    image = image if image.ndim > labels.ndim else image[..., None]
    if labels.ndim == 2:
        image, labels = image[:, :, None], labels[:, :, None]
    if image.ndim != 4 or not np.isfinite(image).all():
        raise ValueError(f"case {name}: the image is not finite, or has too many axes")
    index = np.full(labels.shape, -1, np.int32)
    for i, value in enumerate(values):
        index[labels == value] = i
    if ((index < 0) & (labels != ignore)).any():
        raise ValueError(f"case {name}: a label value is no class")
    spacing = tuple(float(v) for v in more[0]) if more else (1.0, 1.0, 1.0)
    spacing = (*spacing, 1.0)[:3]
    return Prepared(name, image.astype(np.float32), index, None, spacing)
