"""What is said where a guarantee cannot be given: why, what is left, what would do."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from coverax.calibrate.record import Attainable
from coverax.provenance import gap_words

if TYPE_CHECKING:
    from coverax.calibrate.result import Calibration, Threshold

_INTERVALS = ("interval", "change")
_DESCRIPTION = "That describes these cases: a level chosen by it needs other cases to calibrate on."


def refusal(calibration: "Calibration", bad: "list[Threshold]") -> str:
    """One line for thresholds that carry no guarantee."""
    which = "; ".join(f"{t.name}: {t.status.name} ({t.place})" for t in bad)
    scarce = "; promised() (--allow-scarce) keeps what has a guarantee"
    more = scarce if len(bad) < len(calibration.thresholds) else ""
    is_vacuous = all(t.status.name == "VACUOUS" for t in bad)
    if is_vacuous and calibration.kind == "release":
        return (
            f"no informative guarantee at alpha {calibration.alpha}: {which}. Too many "
            "maps without any uncertainty have bad masks, and the floor of Dice is 0. "
            "allow_vacuous (--allow-vacuous) writes that beside the release, which holds"
        ) + more
    if is_vacuous and calibration.kind in _INTERVALS:
        return (
            f"no informative guarantee at alpha {calibration.alpha}: {which}. Too many "
            "references have a volume where the estimate has none, or the other way "
            "round, and the interval has no ends; another --estimate or --scale may "
            "have (fixed before looking). allow_vacuous (--allow-vacuous) writes that"
        ) + more
    if is_vacuous:
        return _vacuous(calibration, bad, which) + more
    parts = [
        f"no guarantee at alpha {calibration.alpha}: {which}.",
        bad[0].status.sentence,
        _fold_words(calibration),
        attainable_words(calibration.record.attainable),
        _plan_words(calibration),
        f"{_left(calibration, bad[0])};",
        "allow_vacuous (--allow-vacuous) writes that, with no promise",
    ]
    return " ".join(filter(None, parts)) + more


def _vacuous(calibration: "Calibration", bad: "list[Threshold]", which: str) -> str:
    """Why thresholds mean the whole volume, and the cause where it is known."""
    gaps = calibration.parts.gap_above_zero or {}
    causes = dict.fromkeys(gap_words(gaps.get(t.region, 0.0)) for t in bad)
    cause = "; ".join(filter(None, causes)) or (
        "too many references have voxels that the model gives 0, or no predicted mask"
    )
    return (
        f"no informative guarantee at alpha {calibration.alpha}: {which}. "
        f"{bad[0].status.sentence} Cause: {cause}. "
        "allow_vacuous (--allow-vacuous) writes the whole volume"
    )


def mask_words(value: float) -> str:
    """The mask of an infinite threshold, or of one at probability 0."""
    return "the whole volume" if value >= 0 else "the empty one"


def attainable_words(rows: Sequence[Attainable]) -> str:
    """The smallest levels that would have passed; nothing where none was looked for."""
    if not rows:
        return ""
    several = len({row.loss for row in rows}) > 1
    text = "Smallest levels that would have passed on these cases: "
    text += "; ".join(_attainable(row, several=several) for row in rows)
    return f"{text}. {_DESCRIPTION}"


def _attainable(row: Attainable, *, several: bool) -> str:
    where = " ".join(filter(None, [row.region, row.group]))
    text = f"{where} {row.loss} {_level(row.level)}"
    if several:
        text += f" beside the other levels, {_level(row.alone)} alone"
    return text


def _level(level: float | None) -> str:
    return "none" if level is None else f"{level:g}"


def _left(calibration: "Calibration", bad: "Threshold") -> str:
    """What is left where nothing is promised."""
    if calibration.has_sides:
        return "The only safe sets are an empty inner and an outer of the whole volume"
    if calibration.kind in _INTERVALS:
        return "The only safe interval has no ends"
    if calibration.kind == "release":
        return "Nothing may be released unread"
    mask = mask_words(bad.value)
    if calibration.record.is_safe:
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
    levels = calibration.record.planned(calibration.alpha, calibration.delta)
    if levels is None:
        return ""
    alpha, delta = levels
    text = f"`coverax plan --alpha {alpha:g}"
    if delta is not None:
        text += f" --delta {delta:g}"
    return f"{text}` tells how many units are needed."
