"""One class of a cohort: its sums from the score table, and every measure of them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from coverax.engine.results import BinStatistics, ProperScores, SoftBinStatistics
from coverax.reliability.bootstrap import resampled, unit_sums
from coverax.reliability.errors import (
    calibration_errors,
    counted_cases,
    debiased_squared_ece,
    macro_mean,
    overconfidence_error,
    pixelwise_ece,
)
from coverax.reliability.statistics import exact_sum, plain, pooled, select
from coverax.scores import ScoreTable, read_bins, read_proper_scores, read_soft_bins
from coverax.table.columns import BACKGROUND, REGION

# Measures by name: of cases, of draws, or of a cohort.
Measures = dict[str, np.ndarray]


class ClassSums(NamedTuple):
    """One class of a table: its rows, sums, presence in references, and units."""

    name: str
    rows: ScoreTable
    statistics: BinStatistics
    proper: ProperScores
    present: np.ndarray
    units: tuple[str, ...]
    soft: SoftBinStatistics | None = None

    @property
    def groups(self) -> np.ndarray:
        """Group of each row."""
        return self.rows.column("group")


class Drawn(NamedTuple):
    """Measures of every bootstrap sample of a class."""

    pooled: Measures
    macro: Measures


def class_sums(rows: ScoreTable, name: str, softmax: bool) -> ClassSums:
    """Sums of one class; the background of a softmax stands in every region's rows."""
    background = softmax and name == "background"
    part = rows_of(rows, rows.column("region")[0] if background else name)
    prefix = BACKGROUND if background else REGION
    statistics = read_bins(part.columns, prefix)
    present = np.asarray(statistics.sum_y).sum(1) > 0
    units = tuple(part.column("unit").tolist())
    return ClassSums(
        name,
        part,
        statistics,
        read_proper_scores(part.columns, prefix),
        present,
        units,
        read_soft_bins(part.columns, prefix),
    )


def rows_of(rows: ScoreTable, region: str) -> ScoreTable:
    """Rows of one region."""
    return rows.select(rows.column("region") == region)


def select_class(sums: ClassSums, kept: Bool[np.ndarray, " rows"]) -> ClassSums:
    """The same class on some of its rows."""
    return ClassSums(
        sums.name,
        sums.rows.select(kept),
        select(sums.statistics, kept),
        ProperScores(*[np.asarray(x)[kept] for x in sums.proper]),
        sums.present[kept],
        tuple(np.array(sums.units)[kept].tolist()),
        None if sums.soft is None else select(sums.soft, kept),
    )


def groups_of(sums: ClassSums) -> dict[str, np.ndarray]:
    """Rows of each group, sorted by name; none where all rows share one."""
    groups = sums.groups
    names = sorted(set(groups.tolist()))
    return {str(name): groups == name for name in names} if len(names) > 1 else {}


def case_measures(sums: ClassSums) -> Measures:
    """Every measure of each row."""
    squares, losses = sums.proper.sum_squares.sum(1), sums.proper.sum_log_loss.sum(1)
    return _measures(sums.statistics, sums.soft, squares, losses)


def pooled_measures(sums: ClassSums) -> dict[str, float | None]:
    """Every measure of all cases together."""
    totals = [
        np.reshape(exact_sum(x.sum(1)), 1)
        for x in (sums.proper.sum_squares, sums.proper.sum_log_loss)
    ]
    soft = None if sums.soft is None else pooled(sums.soft)
    measures = _measures(pooled(sums.statistics), soft, *totals)
    return {k: plain(v[0]) for k, v in measures.items()}


def macro_measures(sums: ClassSums, absent: str) -> dict[str, float | None]:
    """Mean of every measure over cases."""
    return {
        k: plain(macro_mean(v, sums.present, absent))
        for k, v in case_measures(sums).items()
    }


def draw_class(
    sums: ClassSums, weights: Int[np.ndarray, "draws units"] | None, absent: str
) -> Drawn | None:
    """Pooled and macro measures of each bootstrap sample; None without weights."""
    if weights is None:
        return None
    squares, losses = (
        weights @ unit_sums(x.sum(1), sums.units)
        for x in (sums.proper.sum_squares, sums.proper.sum_log_loss)
    )
    soft = None if sums.soft is None else resampled(sums.soft, sums.units, weights)
    hard = resampled(sums.statistics, sums.units, weights)
    whole = _measures(hard, soft, squares, losses)
    values = case_measures(sums)
    counted = {k: counted_cases(v, sums.present, absent) for k, v in values.items()}
    return Drawn(whole, drawn_means(values, counted, sums.units, weights))


def drawn_means(
    values: Measures,
    counted: Measures,
    units: Sequence[str],
    weights: Int[np.ndarray, "draws units"],
) -> Measures:
    """Mean over the counted cases of each bootstrap sample; NaN where it has none."""
    kept = np.stack(list(counted.values()), axis=1)
    stacked = np.where(kept, np.stack(list(values.values()), axis=1), 0.0)
    totals, n = (weights @ unit_sums(x, units) for x in (stacked, kept.astype(int)))
    means = np.divide(totals, n, out=np.full(n.shape, np.nan), where=n > 0)
    return dict(zip(values, means.T, strict=True))


def softmax_scores(classes: Sequence[ClassSums]) -> dict[str, float | None]:
    """Pooled NLL of the true class, and the multi-class Brier score.

    The log loss of a voxel is the foreground part of its own class's.
    """
    n_voxels = int(np.asarray(classes[0].statistics.count).sum())
    losses = [exact_sum(np.asarray(c.proper.sum_log_loss)[:, 1]) for c in classes]
    squares = [exact_sum(np.asarray(c.proper.sum_squares).sum(1)) for c in classes]
    whole = n_voxels or np.nan
    return {"nll": plain(sum(losses) / whole), "brier": plain(sum(squares) / whole)}


def draw_softmax(
    classes: Sequence[ClassSums], weights: Int[np.ndarray, "draws units"] | None
) -> Measures | None:
    """The scores of a softmax in each bootstrap sample; None without weights."""
    if weights is None:
        return None
    units = classes[0].units
    whole = weights @ unit_sums(np.asarray(classes[0].statistics.count).sum(1), units)
    losses = np.sum([c.proper.sum_log_loss[:, 1] for c in classes], axis=0)
    squares = np.sum([c.proper.sum_squares.sum(1) for c in classes], axis=0)
    return {
        "nll": weights @ unit_sums(losses, units) / whole,
        "brier": weights @ unit_sums(squares, units) / whole,
    }


def case_rows(sums: ClassSums) -> list[dict[str, Any]]:
    """One plain row a case: who it is, its sizes, and every measure."""
    names = ("case_id", "unit", "group", "n_voxels")
    fixed = zip(*[sums.rows.column(name).tolist() for name in names], strict=True)
    about = [dict(zip(names, row, strict=True)) for row in fixed]
    measures = case_measures(sums)
    hits = np.asarray(sums.statistics.sum_y).sum(1)
    return [
        {"case_id": fixed.pop("case_id"), "region": sums.name, **fixed}
        | {"n_foreground": int(hits[i])}
        | {k: float(v[i]) for k, v in measures.items()}
        for i, fixed in enumerate(about)
    ]


def _measures(
    statistics: BinStatistics,
    soft: SoftBinStatistics | None,
    squares: Float[np.ndarray, " batch"],
    log_loss: Float[np.ndarray, " batch"],
) -> Measures:
    n_voxels = np.asarray(statistics.count).sum(1)
    whole = np.where(n_voxels > 0, n_voxels, np.nan)
    errors = calibration_errors(statistics)
    return {
        **errors._asdict(),
        **({} if soft is None else {"soft_ace": calibration_errors(soft).ace}),
        "debiased_squared_ece": debiased_squared_ece(statistics),
        "overconfidence_error": overconfidence_error(statistics),
        "pixelwise_ece": pixelwise_ece(statistics),
        "brier": squares / whole,
        "nll": log_loss / whole,
    }
