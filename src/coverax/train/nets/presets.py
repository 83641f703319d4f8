"""Nets by name: a family, which is a file, and its sizes.

A family has `Sizes`, a frozen dataclass that refuses what no net can have and knows its
`divisor`, of which the sides of a patch are multiples; and `Net(kit, sizes, *,
in_channels, n_classes)`, from maps to a tuple of logits, finest first. A new net is a
new file and one entry here.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from coverax.train.config import NetConfig
from coverax.train.nets import (
    resnet3d,
    sam3d,
    segresnet,
    strided_unet,
    swin_unetr,
    unet,
    unetr,
)


@dataclass(frozen=True)
class Preset:
    """A family's net and the sizes it starts from."""

    net: Callable[..., Any]
    sizes: Any


PRESETS: dict[str, Preset] = {
    "unet3d-small": Preset(
        unet.Net,
        unet.Sizes(
            channels=(16, 32, 64),
            blocks=(1, 1, 1),
            decoder_blocks=(1, 1),
            strides=(2, 2),
            supervised=2,
        ),
    ),
    "unet3d": Preset(unet.Net, unet.Sizes()),
    "unet3d-plain": Preset(
        unet.Net,
        unet.Sizes(
            blocks=(2, 2, 2, 2, 2, 2), decoder_blocks=(2, 2, 2, 2, 2), residual=False
        ),
    ),
    "unet3d-strided": Preset(strided_unet.Net, strided_unet.Sizes()),
    "segresnet": Preset(segresnet.Net, segresnet.Sizes()),
    "resnet3d": Preset(resnet3d.Net, resnet3d.Sizes()),
    "unetr": Preset(unetr.Net, unetr.Sizes()),
    "swin-unetr": Preset(swin_unetr.Net, swin_unetr.Sizes()),
    "sam3d": Preset(sam3d.Net, sam3d.Sizes()),
}


def resolve(config: NetConfig) -> Preset:
    """The preset of a config with the config's sizes.

    Raises:
        ValueError: The preset or a size is unknown, or a size is impossible.
    """
    if config.preset not in PRESETS:
        raise ValueError(
            f"net.preset {config.preset!r} is unknown (known: {', '.join(PRESETS)})"
        )
    preset = PRESETS[config.preset]
    known = {f.name: f for f in fields(preset.sizes)}
    changes = {}
    for name, value in config.sizes.items():
        if name not in known:
            raise ValueError(
                f"net.sizes.{name} is unknown for {config.preset} "
                f"(known: {', '.join(known)})"
            )
        changes[name] = _like(getattr(preset.sizes, name), value, f"net.sizes.{name}")
    try:
        return replace(preset, sizes=replace(preset.sizes, **changes))
    except ValueError as error:
        raise ValueError(f"net.sizes of {config.preset}: {error}") from None


def _like(default: Any, value: Any, where: str) -> Any:
    """A TOML value as a size: lists become tuples, the kind is the default's."""
    if isinstance(value, list | tuple) and isinstance(default, tuple):
        return tuple(_whole(v, where) for v in value)
    if isinstance(default, tuple) or isinstance(value, bool) != isinstance(
        default, bool
    ):
        raise ValueError(f"{where} must be like {default}, not {value!r}")
    if not isinstance(value, type(default)):
        raise ValueError(f"{where} must be like {default!r}, not {value!r}")
    return value if isinstance(value, bool | str) else _whole(value, where)


def _whole(value: Any, where: str) -> Any:
    """A positive integer, or a tuple of them."""
    if isinstance(value, list | tuple):
        return tuple(_whole(v, where) for v in value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{where} takes integers of at least 1, not {value!r}")
    return value
