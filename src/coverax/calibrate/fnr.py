"""Conformal Lesion Segmentation: false-negative-rate control of a new case."""

import math
from typing import Literal

import numpy as np

from coverax.calibrate.ranks import conformal_rank, pac_rank
from coverax.calibrate.result import Calibration, Status, Threshold, with_digest
from coverax.calibrate.split import rank_threshold
from coverax.calibrate.units import EmptyPolicy, Table, keep_rows
from coverax.files import digest_ids
from coverax.rational import Level, as_fraction, check_level


def calibrate_fnr(
    table: Table,
    alpha: Level,
    *,
    tolerance: Level | None = None,
    delta: Level | None = None,
    empty: EmptyPolicy = "exclude",
    unit_column: str = "unit",
    per_unit: Literal["one"] | None = None,
    seed: int = 0,
) -> Calibration:
    """Threshold that keeps the false-negative rate of a new case below a tolerance.

    With exchangeable units, the mask `{probs >= probability}` of a new case misses more
    than `tolerance` of its foreground with probability at most `alpha`, marginally over
    calibration sets and for each region on its own. With `delta` and i.i.d. units, that
    holds for all but a share `delta` of calibration sets.

    Args:
        table: Scores of the calibration cohort.
        alpha: Tolerated probability that a new case misses more, in (0, 1).
        tolerance: Tolerated false-negative rate; the table's, where it has one.
        delta: For the statement with confidence `1 - delta`.
        empty: Policy for empty references.
        unit_column: Column that names what is exchangeable.
        per_unit: `one` draws one case of each unit.
        seed: Of that draw.

    Returns:
        One threshold a region; status TOO_FEW_CASES (INFEASIBLE with `delta`) where the
        rank lies beyond the last unit: the threshold is then `inf`, the whole volume.

    Raises:
        ValueError: A level is out of range, the table has no such tolerance, or its
            cases cannot calibrate (see `keep_rows`).

    References:
        Tan et al. (2025), Conformal Lesion Segmentation for 3D Medical Images.
    """
    check_level("alpha", alpha)
    chosen = choose_tolerance(table, tolerance)
    scores = 0.0 - table.critical_probability(chosen)
    thresholds: list[Threshold] = []
    excluded = {why: set(ids) for why, ids in table.excluded.items()}
    units = table.column(unit_column)
    used: set[str] = set()
    for region in _regions(table):
        kept = keep_rows(
            table,
            region,
            empty=empty,
            unit_column=unit_column,
            per_unit=per_unit,
            seed=seed,
        )
        thresholds.append(_threshold(region, chosen, scores[kept.rows], alpha, delta))
        used |= set(units[kept.rows])
        for why, ids in kept.excluded.items():
            excluded.setdefault(why, set()).update(ids)
    calibration = Calibration(
        method="fnr",
        alpha=float(as_fraction(alpha)),
        delta=None if delta is None else float(as_fraction(delta)),
        n_cases=len(set(table.column("case_id"))),
        n_units=min(t.n_units for t in thresholds),
        thresholds=tuple(thresholds),
        excluded={why: tuple(sorted(ids)) for why, ids in excluded.items()},
        options={
            "empty": empty,
            "unit_column": unit_column,
            "per_unit": per_unit,
            "seed": seed if per_unit else None,
        },
        score_definition=table.definition.to_json(),
        cases_digest=table.cases_digest,
        unit_digests=unit_digests(used),
        statement=_statement(thresholds, alpha, delta, empty, per_unit),
    )
    return with_digest(calibration)


def choose_tolerance(table: Table, tolerance: Level | None) -> float:
    """The table's tolerance that was asked for, or its only one.

    Raises:
        ValueError: The table has another one, or several and none was named.
    """
    have = ", ".join(map(str, table.tolerances))
    if tolerance is None:
        if len(table.tolerances) == 1:
            return table.tolerances[0]
        raise ValueError(f"the table has scores for tolerances {have}: choose one")
    wanted = as_fraction(tolerance)
    for known in table.tolerances:
        if as_fraction(known) == wanted:
            return known
    raise ValueError(
        f"the table has no scores for tolerance {tolerance}, only for {have}; "
        "score again with --tolerance"
    )


def unit_digests(units: set[str]) -> tuple[str, ...]:
    """Short hashes of units, sorted: recognisable, but no list of names."""
    return tuple(sorted(digest_ids([unit])[:12] for unit in units))


def _regions(table: Table) -> list[str]:
    return list(dict.fromkeys(table.column("region")))


def _threshold(
    region: str,
    tolerance: float,
    scores: np.ndarray,
    alpha: Level,
    delta: Level | None,
) -> Threshold:
    n = scores.size
    rank = conformal_rank(n, alpha) if delta is None else pac_rank(n, alpha, delta)
    status = Status.OK
    if rank > n:
        status = Status.TOO_FEW_CASES if delta is None else Status.INFEASIBLE
    value = rank_threshold(scores, rank)
    return Threshold(
        region=region,
        group="",
        side="lesion",
        tolerance=tolerance,
        n_units=n,
        rank=rank,
        status=status,
        value=value,
        n_tied=int(np.count_nonzero(scores == value)),
    )


def _statement(
    thresholds: list[Threshold],
    alpha: Level,
    delta: Level | None,
    empty: EmptyPolicy,
    per_unit: Literal["one"] | None,
) -> str:
    """The guarantee in words, with its assumptions and what it does not say."""
    tolerance = thresholds[0].tolerance
    whom = "a new case"
    if per_unit:
        whom = "a case drawn at random from a new unit"
    if empty == "exclude":
        whom += " with a non-empty reference"
    confidence = 1 - as_fraction(alpha)
    text = (
        f"With probability at least {float(confidence)}, the mask of {whom} misses at "
        f"most {tolerance} of its reference voxels. "
    )
    if delta is None:
        text += (
            "The probability is over the calibration units and the new one together "
            "(marginal), and needs them to be exchangeable. "
        )
    else:
        text += (
            f"This holds for all but a share {float(as_fraction(delta))} of "
            "calibration sets, and needs the units to be independent and identically "
            "distributed. "
        )
    text += (
        "It assumes that the model never saw a calibration or new unit, and that "
        "method, alpha and tolerance were fixed before looking. "
    )
    if len(thresholds) > 1:
        text += "It holds for each region on its own, not for all of them jointly. "
    for t in thresholds:
        if t.status != Status.OK:
            text += (
                f"Region {t.region}: NO INFORMATIVE GUARANTEE ({t.status.name}): the "
                "mask is the whole volume. "
            )
        elif t.probability == 0.0:
            text += (
                f"Region {t.region}: the threshold is probability 0, so the mask is the "
                "whole volume: too many lesions have voxels the model gives 0. "
            )
        elif math.isinf(t.value):
            text += (
                f"Region {t.region}: the mask is empty (empty references dominate). "
            )
    return text.strip()
