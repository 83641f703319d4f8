"""What was promised, in one sentence, and what it assumes."""

import math
import re
from collections.abc import Iterator

from coverax.calibrate import WHOLE_AT, Calibration, Status, Threshold
from coverax.report.blocks import NONE, Block, Heading, Section, Table, Terms, Text
from coverax.report.found import Found
from coverax.table import Transform, side_transforms

_SENTENCE = re.compile(r"(?<=\.) (?=[A-Z])")
METHODS = {
    "fnr": "a cut that bounds the missed share of a case",
    "crc": "a cut that bounds expected losses",
    "rcps": "a cut that bounds a mean loss with confidence",
    "ltt": "a cut that bounds several mean losses with confidence",
    "sets": "an inner and an outer set",
    "volume": "an interval of the volume",
    "triage": "masks that may go out unread",
}


_EMPTY = {
    "exclude": "do not count: the promise is for cases with a reference that is not empty",
    "include": "count, and are always served",
    "refuse": "none was accepted",
}


def promise(found: Found) -> Section | None:
    """One part a calibration; of an evaluation without its calibration, its words."""
    blocks: list[Block] = []
    several = len(found.calibrations) > 1
    for item in found.calibrations:
        if several:
            blocks.append(Heading(item.name))
        blocks.extend(_statement(item.content.statement))
        blocks.extend(_calibrated(item.content))
    for item in found.evaluations:
        if found.calibration(item.content.calibration_digest) is None:
            blocks.append(Heading(f"{item.name}, whose calibration is not there"))
            blocks.extend(_statement(item.content.statement))
    return Section("promise", "What was promised?", blocks) if blocks else None


def _statement(text: str) -> Iterator[Block]:
    first, *others = _SENTENCE.split(text)
    yield Text(first, "lead")
    for sentence in others:
        yield Text(sentence)


def _calibrated(calibration: Calibration) -> Iterator[Block]:
    if calibration.status != Status.OK:
        yield Text(
            f"No informative guarantee in part of it: status {calibration.status.name}.",
            "warning",
        )
    for part in calibration.refused_parts:
        yield Text(f"{part.where}: refused, {part.status}; no mask.", "warning")
    policy = calibration.policy
    pairs = [
        ("Method", f"{calibration.method}: {METHODS.get(calibration.method, '')}"),
        ("Alpha", f"{calibration.alpha:g}, the share of new cases it may fail on"),
        (
            "Exchangeable units",
            f"one a value of the cohort's column {policy.unit_column}",
        ),
        ("Empty references", _EMPTY[policy.empty]),
    ]
    if calibration.delta is not None:
        meaning = "the share of calibration sets it may fail for"
        pairs.insert(2, ("Delta", f"{calibration.delta:g}, {meaning}"))
    if policy.group_by is not None:
        pairs.append(("Groups", f"one promise each {policy.group_by}"))
    yield Terms(pairs)
    yield Table(
        "Thresholds",
        ("Region", "Group", "For", "Tolerance", "Threshold", "From", "Status"),
        [_row(threshold, calibration) for threshold in calibration.thresholds],
    )


def side_words(transform: Transform, threshold: float) -> str:
    """Where a set ends: its margin in mm, or the cut of its score map."""
    if math.isinf(threshold):
        return "none"
    if transform.kind.unit == "mm":
        return f"margin {threshold:.3g} mm"
    name = "p" if transform.name == "identity" else transform.spec
    if transform.side == "inner":
        return f"{name} > {threshold:.6g}"
    return f"{name} ≥ {0.0 - threshold:.6g}"


def _value(threshold: Threshold, calibration: Calibration) -> str:
    if calibration.has_sides:
        own = side_transforms(calibration.sets.inner, calibration.sets.outer)
        (transform,) = (t for t in own if t.side == threshold.side)
        return side_words(transform, threshold.value)
    is_cut = threshold.is_cut
    value = threshold.probability if is_cut else threshold.value
    if math.isinf(value):
        if threshold.score == "mass":
            return "everything" if value > 0 else "nothing"
        return "none" if not is_cut else "everything" if value < 0 else "nothing"
    if threshold.score == "mass":
        return f"{value:.4g} of the mass of each map"
    return f"{'p ≥ ' if is_cut else ''}{value:.4g}"


def _row(threshold: Threshold, calibration: Calibration) -> list[str]:
    return [
        threshold.region,
        " ".join(filter(None, [threshold.group, threshold.fold])) or "all",
        "mask" if threshold.side in WHOLE_AT else threshold.side,
        NONE if threshold.tolerance is None else f"{threshold.tolerance:g}",
        _value(threshold, calibration),
        threshold.place,
        threshold.status.name,
    ]
