"""What the values of a config must be, beside their types."""

from typing import Any

from coverax.volumes import check_orientation, check_unit_pattern


def check_rules(config: Any) -> None:
    """Refuse values that no run can have.

    Args:
        config: A `TrainConfig`.

    Raises:
        ValueError: One line says which.
    """
    data, net, patch, run = config.data, config.net, config.patch, config.run
    values = list(data.classes.values())
    parts = {"train", "learning", "calibration", "test"}
    rules = [
        (len(values) >= 2, "data.classes needs a background and at least one class"),
        (len(set(values)) == len(values), "data.classes names a label value twice"),
        (
            all(type(v) is int for v in values),
            "data.classes must give an integer label value a class",
        ),
        (
            data.intensity in ("z-score", "window"),
            "data.intensity must be z-score or window",
        ),
        (
            (data.intensity == "window") == (data.window is not None),
            "data.window belongs to data.intensity = window",
        ),
        (
            data.window is None
            or (len(data.window) == 2 and data.window[0] < data.window[1]),
            "data.window must be [lowest, highest]",
        ),
        (
            data.spacing_mm is None
            or (len(data.spacing_mm) == 3 and min(data.spacing_mm) > 0),
            "data.spacing_mm must be three positive numbers",
        ),
        (
            set(data.shares) <= parts and data.shares.get("train", 0) > 0,
            f"data.shares takes {', '.join(sorted(parts))}, and train above 0",
        ),
        (
            min(data.shares.values(), default=0) >= 0
            and abs(sum(data.shares.values()) - 1) < 1e-9,
            "data.shares must be non-negative and sum to 1",
        ),
        (
            data.units is None or data.unit_pattern is None,
            "data.units and data.unit_pattern are two ways to say one thing",
        ),
        (
            data.dataset is None or (data.spacing_mm is None and data.cache is None),
            "data.dataset gives arrays: data.spacing_mm and data.cache are of files",
        ),
        (
            data.ignore_label not in values,
            "data.ignore_label must be no value of data.classes",
        ),
        (data.channels >= 1, "data.channels must be at least 1"),
        (net.axes in (2, 3), "net.axes must be 2 or 3"),
        (
            net.compute in ("float32", "bfloat16"),
            "net.compute must be float32 or bfloat16",
        ),
        (
            len(patch.size) == 3 and min(patch.size) >= 1,
            "patch.size must be three positive integers",
        ),
        (
            net.axes == 3 or patch.size[-1] == 1,
            "net.axes = 2 needs patch.size with 1 along the last axis",
        ),
        (patch.batch >= 1, "patch.batch must be at least 1"),
        (0 <= patch.foreground <= 1, "patch.foreground must lie in [0, 1]"),
        (0 <= patch.probability <= 1, "patch.probability must lie in [0, 1]"),
        (
            set(patch.flip_axes) <= {0, 1, 2},
            "patch.flip_axes takes axes 0, 1 and 2",
        ),
        (
            0 <= patch.low_resolution < 1,
            "patch.low_resolution must lie in [0, 1)",
        ),
        (
            min(patch.brightness, patch.contrast) >= 0
            and max(patch.brightness, patch.contrast) < 1,
            "patch.brightness and patch.contrast must lie in [0, 1)",
        ),
        (bool(config.losses), "losses is empty"),
        (
            set(config.loss_options) <= set(config.losses),
            "loss_options names a loss without weight",
        ),
        (
            config.optimiser.name in ("adamw", "sgd"),
            "optimiser.name must be adamw or sgd",
        ),
        (config.optimiser.learning_rate > 0, "optimiser.learning_rate must be > 0"),
        (
            config.optimiser.schedule in ("cosine", "polynomial"),
            "optimiser.schedule must be cosine or polynomial",
        ),
        (config.optimiser.power > 0, "optimiser.power must be > 0"),
        (
            0 <= config.optimiser.momentum < 1,
            "optimiser.momentum must lie in [0, 1)",
        ),
        (
            config.optimiser.name == "sgd" or not config.optimiser.coupled_decay,
            "optimiser.coupled_decay belongs to optimiser.name = sgd",
        ),
        (0 <= config.optimiser.ema < 1, "optimiser.ema must lie in [0, 1)"),
        (run.steps >= 1, "run.steps must be at least 1"),
        (run.checkpoint_every >= 1, "run.checkpoint_every must be at least 1"),
        (min(run.seed, data.split_seed) >= 0, "a seed must not be negative"),
        (run.validate_every >= 0, "run.validate_every must not be negative"),
    ]
    for holds, message in rules:
        if not holds:
            raise ValueError(message)
    if data.unit_pattern is not None:
        check_unit_pattern(data.unit_pattern)
    if data.orientation is not None:
        try:
            check_orientation(data.orientation)
        except ValueError as error:
            raise ValueError(f"data.orientation: {error}") from None
