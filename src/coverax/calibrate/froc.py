"""FROC: lesions found against false lesions a scan, at every cut at once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from coverax.files import JsonRecord
from coverax.table import ComponentEvents, ScoreTable
from coverax.table.columns import COMPONENTS, FOLD, GRID_CUTS, LESION_PEAKS

LOWEST_CUT = float(GRID_CUTS[1])
# False lesions a scan at which challenges read the curve.
RATES = tuple(Fraction(2) ** k for k in range(-3, 4))
COLUMNS = (LESION_PEAKS, *COMPONENTS)
SEVERAL = "cases have several references, and a scan counts once"


class FrocCurve(NamedTuple):
    """Lesions found and false lesions of masks `{probs >= cut}` of all scans.

    A mask at a cut has the counts of the first of `cuts` that is not below it, and none
    above the last. Cuts below `LOWEST_CUT` are not looked at.

    Attributes:
        cuts: Where a count changes, ascending.
        n_hit: Lesions that the masks touch.
        n_false: Components of the masks that touch no reference.
        n_lesions: All lesions.
        n_scans: All scans, those without a lesion too.
    """

    cuts: Float[np.ndarray, " cuts"]
    n_hit: Int[np.ndarray, " cuts"]
    n_false: Int[np.ndarray, " cuts"]
    n_lesions: int
    n_scans: int


@dataclass(frozen=True, slots=True)
class FrocPoint(JsonRecord):
    """The lowest cut that keeps to a rate of false lesions.

    Attributes:
        at_most: The rate, in false lesions a scan.
        false_per_scan: What it has of them.
        sensitivity: Share of all lesions that it finds; None without lesions.
        cut: The cut; None where no cut keeps to the rate, and nothing is marked.
    """

    at_most: float
    false_per_scan: float
    sensitivity: float | None
    cut: float | None


@dataclass(frozen=True, slots=True)
class Froc(JsonRecord):
    """FROC of one region.

    Attributes:
        region: Structure.
        n_scans: Scans, those without a lesion too.
        n_lesions: Lesions of all their references.
        lowest_cut: Cuts below it are not looked at.
        at: One a rate: 1/8, 1/4, 1/2, 1, 2, 4 and 8 false lesions a scan.
        mean_sensitivity: Over these; None without lesions.
    """

    region: str
    n_scans: int
    n_lesions: int
    lowest_cut: float
    at: Sequence[FrocPoint]
    mean_sensitivity: float | None


def froc_curve(
    peaks: Sequence[Float[np.ndarray, " _"]], events: Sequence[ComponentEvents]
) -> FrocCurve:
    """Join the lesions and the components of scans, exactly and at every cut.

    A description of these scans: no promise, and chosen by no rule.

    Args:
        peaks: Largest probability in each lesion, one array a scan.
        events: Components of the masks of each scan.

    Raises:
        ValueError: They are not of as many scans, or of none.
    """
    if len(peaks) != len(events) or not peaks:
        raise ValueError(
            f"expected peaks and components of the same scans, got {len(peaks)} and "
            f"{len(events)}"
        )
    found = np.concatenate([np.asarray(own, np.float32) for own in peaks])
    cuts = [found, *(np.asarray(own.cuts, np.float32) for own in events)]
    # What a scan has more of from each of its cuts downwards.
    more = [-np.diff(np.append(own.n_false, 0)) for own in events]
    values, place = np.unique(np.concatenate(cuts), return_inverse=True)
    hits = np.zeros(values.size, np.int64)
    false = np.zeros(values.size, np.int64)
    np.add.at(hits, place[: found.size], 1)
    np.add.at(false, place[found.size :], np.concatenate(more).astype(np.int64))
    kept = ((hits != 0) | (false != 0)) & (values >= np.float32(LOWEST_CUT))
    n_hit, n_false = (np.cumsum(own[::-1])[::-1][kept] for own in (hits, false))
    return FrocCurve(values[kept], n_hit, n_false, found.size, len(peaks))


def froc_at(region: str, curve: FrocCurve) -> Froc:
    """Read a curve at the rates of challenges."""
    points = [_at_rate(curve, rate) for rate in RATES]
    each = [point.sensitivity for point in points if point.sensitivity is not None]
    mean = float(np.mean(each)) if each else None
    return Froc(region, curve.n_scans, curve.n_lesions, LOWEST_CUT, points, mean)


def _at_rate(curve: FrocCurve, rate: Fraction) -> FrocPoint:
    """The number of false lesions is not monotone, and that of those found is."""
    keeps = np.flatnonzero(curve.n_false <= float(rate * curve.n_scans))
    known = curve.n_lesions > 0
    if not keeps.size:
        return FrocPoint(float(rate), 0.0, 0.0 if known else None, None)
    first = keeps[0]
    share = float(curve.n_hit[first] / curve.n_lesions) if known else None
    false = float(curve.n_false[first] / curve.n_scans)
    return FrocPoint(float(rate), false, share, float(curve.cuts[first]))


def froc_rows(region: str, curve: FrocCurve) -> list[dict[str, Any]]:
    """Rows of `froc.csv`: every cut at which a count changes, ascending."""
    columns = (curve.cuts, curve.n_hit, curve.n_false)
    return [
        {
            "region": region,
            "cut": cut,
            "sensitivity": n_hit / curve.n_lesions if curve.n_lesions else None,
            "false_per_scan": n_false / curve.n_scans,
            "n_hit": n_hit,
            "n_false": n_false,
        }
        for cut, n_hit, n_false in zip(*(c.tolist() for c in columns), strict=True)
    ]


def froc_of_rows(
    rows: Iterable[Mapping[str, Any]],
) -> tuple[dict[str, FrocCurve], dict[str, str]]:
    """The curve of each region, and why a region has none.

    Args:
        rows: One a case and region, with `case_id`, `region` and the columns of lesions.
    """
    each: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        each.setdefault(row["region"], []).append(row)
    curves: dict[str, FrocCurve] = {}
    lacking: dict[str, str] = {}
    for region, own in each.items():
        if len({row["case_id"] for row in own}) < len(own):
            lacking[region] = SEVERAL
            continue
        peaks = [np.asarray(row[LESION_PEAKS], np.float32) for row in own]
        curves[region] = froc_curve(peaks, [_events_of(row) for row in own])
    return curves, lacking


def _events_of(row: Mapping[str, Any]) -> ComponentEvents:
    cuts, n, n_false = (row[name] for name in COMPONENTS)
    return ComponentEvents(
        np.asarray(cuts, np.float32),
        np.asarray(n, np.int64),
        np.asarray(n_false, np.int64),
    )


def froc_of_table(
    table: ScoreTable,
) -> tuple[dict[str, FrocCurve], dict[str, str]]:
    """The curve of each region of a score table, and why a region has none.

    Every scan counts, whether a calibration would count it or not. Nothing is found of a
    table that was scored without `--lesions --mask-lesions`.
    """
    if COMPONENTS[0] not in table.columns:
        return {}, {}
    names = ("case_id", "region", *COLUMNS)
    each = zip(*(table.column(name) for name in names), strict=True)
    rows: list[Mapping[str, Any]] = [
        dict(zip(names, values, strict=True)) for values in each
    ]
    if len(table.folds) > 1:
        why = f"its maps are of {len(table.folds)} models ({FOLD}): no one curve"
        return {}, dict.fromkeys((row["region"] for row in rows), why)
    return froc_of_rows(rows)
