"""What is said where a guarantee cannot be given: why, what is left, what would do."""

from fractions import Fraction
from typing import TYPE_CHECKING

from coverax.calibrate.losses import LOSSES
from coverax.files import Json
from coverax.provenance import gap_words

if TYPE_CHECKING:
    from coverax.calibrate.result import Calibration, Threshold

_DESCRIPTION = "That describes these cases: a level chosen by it needs other cases to calibrate on."


def refusal(calibration: "Calibration", bad: "list[Threshold]") -> str:
    """One line for thresholds that carry no guarantee."""
    which = "; ".join(f"{t.name}: {t.status.name} ({t.place})" for t in bad)
    scarce = "; promised() (--allow-scarce) keeps what has a guarantee"
    more = scarce if len(bad) < len(calibration.thresholds) else ""
    if all(t.status.name == "VACUOUS" for t in bad):
        return _vacuous(calibration, bad, which) + more
    parts = [
        f"no guarantee at alpha {calibration.alpha}: {which}.",
        bad[0].status.sentence,
        _fold_words(calibration),
        attainable_words(calibration.options.get("attainable", [])),
        _plan_words(calibration),
        f"{_left(calibration, bad[0])};",
        "allow_vacuous (--allow-vacuous) writes that, with no promise",
    ]
    return " ".join(filter(None, parts)) + more


def _vacuous(calibration: "Calibration", bad: "list[Threshold]", which: str) -> str:
    """Why thresholds mean the whole volume, and the cause where it is known."""
    gaps = calibration.options.get("gap_above_zero", {})
    causes = dict.fromkeys(gap_words(gaps.get(t.region, 0.0)) for t in bad)
    cause = "; ".join(filter(None, causes)) or (
        "too many references have voxels that the model gives 0, or no predicted mask"
    )
    return (
        f"no informative guarantee at alpha {calibration.alpha}: {which}. "
        f"{bad[0].status.sentence} Cause: {cause}. "
        "allow_vacuous (--allow-vacuous) writes the whole volume"
    )


def is_safe(options: Json) -> bool:
    """Whether the mask at the safe end keeps every expected loss down for certain.

    So it does where all losses are built in, monotone, and safe at the same end: not for
    the Dice loss, not for misses and false alarms together, nor for a user's own.
    """
    names = [options.get("loss", "fnr"), *options.get("also", {})]
    known = [LOSSES[name] for name in names if name in LOSSES]
    ends = {loss.safe_sign for loss in known if loss.is_monotone}
    every = len(known) == len(names) and all(loss.is_monotone for loss in known)
    return every and len(ends) == 1 and "own_loss" not in options


def mask_words(value: float) -> str:
    """The mask of an infinite threshold, or of one at probability 0."""
    return "the whole volume" if value >= 0 else "the empty one"


def attainable_words(rows: list[Json]) -> str:
    """The smallest levels that would have passed; nothing where none was looked for."""
    if not rows:
        return ""
    several = len({row["loss"] for row in rows}) > 1
    text = "Smallest levels that would have passed on these cases: "
    text += "; ".join(_attainable(row, several=several) for row in rows)
    return f"{text}. {_DESCRIPTION}"


def _attainable(row: Json, *, several: bool) -> str:
    where = " ".join(filter(None, [row["region"], row["group"]]))
    text = f"{where} {row['loss']} {_level(row['level'])}"
    if several:
        text += f" beside the other levels, {_level(row['alone'])} alone"
    return text


def _level(level: float | None) -> str:
    return "none" if level is None else f"{level:g}"


def _left(calibration: "Calibration", bad: "Threshold") -> str:
    """What is left where nothing is promised."""
    if calibration.has_sides:
        return "The only safe sets are an empty inner and an outer of the whole volume"
    mask = mask_words(bad.value)
    if is_safe(calibration.options):
        return f"The only safe mask is {mask}"
    return f"No mask is known to be safe, the one at the safe end is {mask}"


def _fold_words(calibration: "Calibration") -> str:
    """How many units each fold has, where a mean over folds decides."""
    if calibration.folds is None or not calibration.folds.sides:
        return ""
    side = calibration.folds.sides[0]
    sizes = dict(zip(side.known.names, side.known.sizes, strict=True))
    fewest = min(sizes, key=lambda name: sizes[name])
    each = ", ".join(f"fold {name} has {size}" for name, size in sizes.items())
    return (
        f"Of the units, {each}; fold {fewest} has the fewest. The mean of 1 / (units + 1) "
        f"over folds must be at most {side.level} for a voxel to be left out."
    )


def _plan_words(calibration: "Calibration") -> str:
    """The command that tells how many units are needed, where it can answer."""
    if calibration.folds is not None:
        n_folds = len(calibration.folds.names)
        text = f"`coverax plan --alpha {calibration.alpha:g} --folds {n_folds}`"
        return f"{text} tells how many units a fold needs."
    levels = _planned(calibration)
    if levels is None:
        return ""
    alpha, delta = levels
    text = f"`coverax plan --alpha {alpha:g}"
    if delta is not None:
        text += f" --delta {delta:g}"
    return f"{text}` tells how many units are needed."


def _planned(calibration: "Calibration") -> tuple[float, float | None] | None:
    """Alpha and delta of a rank that decides; None where no rank does."""
    options, alpha, delta = calibration.options, calibration.alpha, calibration.delta
    if calibration.method == "fnr":
        return None if "weights" in options else (alpha, delta)
    if calibration.method == "crc":
        # Misses are 0 at cut 0, so the bound of the new loss alone decides, as a rank.
        has_rank = is_safe(options) and LOSSES[options["loss"]].safe_sign < 0
        return (alpha, None) if has_rank else None
    if calibration.method != "sets" or options["bound"] not in (
        None,
        "clopper_pearson",
    ):
        return None
    if options["joint"] != "bonferroni":
        return alpha, delta
    least = min(Fraction(options[f"alpha_{side}"]) for side in ("inner", "outer"))
    return float(least), None if delta is None else delta / 2
