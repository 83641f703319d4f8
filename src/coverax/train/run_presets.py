"""Choices of a whole run by one name: what a config leaves out is taken from the preset.

A preset is plain TOML values, table by table, of the keys of `coverax.train.config`; what a
config says itself goes first.

References:
    Isensee et al. (2021), nnU-Net: A Self-Configuring Method for Deep Learning-Based
    Biomedical Image Segmentation, Nature Methods 18, 203-211.
"""

from operator import or_
from typing import Any

RUN_PRESETS: dict[str, dict[str, Any]] = {
    # nnU-Net's fixed choices, and its plan for crops of about 35 x 50 x 35 voxels.
    "nnunet-like": {
        "net": {
            "preset": "unet3d-plain",
            "sizes": {
                "channels": [32, 64, 128, 256],
                "blocks": [2, 2, 2, 2],
                "decoder_blocks": [2, 2, 2],
                "strides": [2, 2, 2],
                "supervised": 2,  # the coarsest of its three weighs nothing
            },
        },
        "patch": {
            "size": [40, 56, 40],
            "foreground": 0.33,
            "rotation_degrees": 30.0,
            "zoom": 0.3,
            "flip_axes": [0, 1, 2],
            "noise": 0.3,  # the root of its largest variance, 0.1
            "blur_voxels": 1.0,
            "gamma": 0.4,  # 0.7 to 1.5
            "brightness": 0.25,
            "contrast": 0.25,
            "low_resolution": 0.5,
        },
        "losses": {"soft_dice": 1.0, "cross_entropy": 1.0},
        "loss_options": {"soft_dice": {"squared": False, "background": False}},
        "optimiser": {
            "name": "sgd",
            "learning_rate": 0.01,
            "schedule": "polynomial",
            "power": 0.9,
            "momentum": 0.99,
            "weight_decay": 3e-5,
            "coupled_decay": True,
            "warmup_steps": 0,
            "clip": 12.0,
        },
    }
}


def with_preset(raw: dict[str, Any]) -> dict[str, Any]:
    """A config with the choices of its `preset` where it makes none itself.

    Tables are filled key by key, `losses` as a whole; options of a loss and sizes of a
    net are taken while that loss and that net are the preset's.

    Raises:
        ValueError: The preset is unknown.
    """
    name = raw.get("preset")
    if name is None:
        return raw
    if not isinstance(name, str) or name not in RUN_PRESETS:
        known = ", ".join(RUN_PRESETS)
        raise ValueError(f"preset {name!r:.60} is unknown (known: {known})")
    preset = RUN_PRESETS[name]
    found = preset | raw
    for table, fill in (("net", _net), ("patch", or_), ("optimiser", or_)):
        own = raw.get(table, {})
        if isinstance(own, dict):
            found[table] = fill(preset[table], own)
    losses, options = found["losses"], raw.get("loss_options", {})
    if isinstance(losses, dict) and isinstance(options, dict):
        kept = {k: v for k, v in preset["loss_options"].items() if k in losses}
        found["loss_options"] = kept | options
    return found


def _net(preset: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """The table of the net; another net than the preset's has its own sizes."""
    if own.get("preset", preset["preset"]) != preset["preset"] or "module" in own:
        return own
    sizes = own.get("sizes", {})
    merged = preset["sizes"] | sizes if isinstance(sizes, dict) else sizes
    return preset | own | {"sizes": merged}
