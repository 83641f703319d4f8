"""What a region's cases add up to at one cut."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from coverax.calibrate import (
    LOSSES,
    MERGED,
    Band,
    Calibration,
    Counts,
    Histogram,
    Loss,
    RiskRecord,
    Threshold,
    compliance_band,
    tie_numbers,
)
from coverax.evaluate.cut_results import AtCut, Distances, Law, MeanLoss
from coverax.evaluate.metrics import (
    SURFACES,
    CaseMetrics,
    LesionCounts,
    case_metrics,
    worst_metrics,
)
from coverax.evaluate.references import Counted
from coverax.rational import allowed_misses, tolerance_terms

BAND_LEVELS = (0.95, 0.999)
# By name, whatever a calibration calls a loss of the user's own.
_KNOWN: Mapping[str, Loss] = {loss.name: loss for loss in LOSSES.values()}
_HISTOGRAM_EDGES = np.arange(11) / 10


def metrics_at(column: dict[str, np.ndarray], place: np.ndarray) -> CaseMetrics:
    """Metrics of each row at the cut of its place."""

    def at(name: str) -> np.ndarray:
        return _at(column, name, place)[:, 0]

    lesions = surfaces = None
    if "n_lesions" in column:
        names = ("n_lesions_hit", "n_components", "n_false_components")
        lesions = LesionCounts(column["n_lesions"], *map(at, names))
    if SURFACES[0] in column:
        surfaces = {name: at(name) for name in SURFACES}
    return case_metrics(
        column["n_voxels"],
        column["n_foreground"],
        at("n_predicted"),
        at("n_true_positive"),
        column["voxel_volume_ml"].astype(float),
        lesions,
        surfaces,
    )


def counts_at(column: dict[str, np.ndarray], place: np.ndarray) -> Counts:
    """Counts of each row at the cut of its place, as losses take them."""
    counts = Counts(
        np.full(1, np.nan, np.float32),
        column["n_voxels"][:, None],
        column["n_foreground"][:, None],
        _at(column, "n_predicted", place),
        _at(column, "n_true_positive", place),
    )
    if "n_lesions" not in column:
        return counts
    n_lesions = column["n_lesions"][:, None]
    return counts._replace(
        n_lesions=n_lesions,
        n_lesions_missed=n_lesions - _at(column, "n_lesions_hit", place),
        n_components=_at(column, "n_components", place),
        n_false_components=_at(column, "n_false_components", place),
    )


def _at(column: dict[str, np.ndarray], name: str, place: np.ndarray) -> np.ndarray:
    return np.take_along_axis(column[name], place[:, None], axis=1)


class Masks(NamedTuple):
    """The masks of the cases of a region at one cut.

    Attributes:
        name: `calibrated` or `fixed`.
        metrics: A row a reference.
        counts: Those that losses are made of, likewise.
        complies: Whether a case complies, a row a reference; None where a mean is
            controlled.
        counted: Which rows count.
    """

    name: str
    metrics: CaseMetrics
    counts: Counts
    complies: np.ndarray | None
    counted: Counted

    @classmethod
    def of(
        cls,
        name: str,
        column: dict[str, np.ndarray],
        place: np.ndarray,
        complies: np.ndarray | None,
        counted: Counted,
    ) -> "Masks":
        """Those at the place of each row among its cuts."""
        metrics, counts = metrics_at(column, place), counts_at(column, place)
        return cls(name, metrics, counts, complies, counted)

    @property
    def worst(self) -> CaseMetrics:
        """Metrics of each case against the reference it does worst on."""
        return worst_metrics(self.metrics, self.counted.worst)

    def at(self, cut: float) -> AtCut:
        """What they add up to."""
        return summary_at(cut, self.complies, self.worst, self.counted.rows)

    def risks(self, calibration: Calibration) -> list[MeanLoss] | None:
        """Mean losses, where these are what is controlled."""
        record = calibration.record
        if not isinstance(record, RiskRecord):
            return None
        levels = record.levels(calibration.alpha)
        return risks_of(levels, self.counts, self.counted)

    def columns(self, row: int) -> dict[str, Any]:
        """What `cases.csv` says of a row."""
        complies = None if self.complies is None else bool(self.complies[row])
        metrics = {f"{self.name}_{m}": v for m, v in self.metrics._asdict().items()}
        return {f"{self.name}_complies": complies} | {
            name: float(values[row]) for name, values in metrics.items()
        }


def complies_at(
    tolerance: float | None, column: dict[str, np.ndarray], k: int, counted: Counted
) -> np.ndarray | None:
    """Whether the k-th mask of each case misses no more voxels than are allowed."""
    if tolerance is None:
        return None
    n_foreground = column["n_foreground"]
    allowed = allowed_misses(n_foreground, *tolerance_terms([tolerance]))
    missed = n_foreground - column["n_true_positive"][:, k]
    return counted.worst(missed > allowed) == 0


def summary_at(
    cut: float,
    complies: np.ndarray | None,
    metrics: CaseMetrics,
    counted: np.ndarray,
) -> AtCut:
    """Compliance and metrics of the cases that count; None where none applies."""
    fnr = metrics.fnr[counted]
    return AtCut(
        probability_threshold=float(cut) if np.isfinite(cut) else None,
        ecr=None if complies is None else float(complies[counted].mean()),
        n_compliant=None if complies is None else int(complies[counted].sum()),
        fnr_mean=float(fnr.mean()),
        fnr_sd=float(fnr.std(ddof=1)) if fnr.size > 1 else None,
        p_fnr=float((fnr == 1).mean()),
        fpr=_mean(metrics.fpr[counted]),
        pc=_mean(metrics.pc[counted]),
        dice=_mean(metrics.dice[counted]),
        volume_ml=_mean(metrics.volume_ml[counted]),
        lesion_detection=_mean(metrics.lesion_detection[counted]),
        precision=_mean(metrics.precision[counted]),
        iou=_mean(metrics.iou[counted]),
        relative_volume_error=_mean(metrics.relative_volume_error[counted]),
        lesion_precision=_mean(metrics.lesion_precision[counted]),
        lesion_f1=_mean(metrics.lesion_f1[counted]),
        n_false_lesions=_mean(metrics.n_false_lesions[counted]),
        hd95_mm=_distances(metrics.hd95_mm[counted]),
        assd_mm=_distances(metrics.assd_mm[counted]),
        nsd=_mean(metrics.nsd[counted]),
        fnr_histogram=Histogram(_HISTOGRAM_EDGES.tolist(), _histogram(fnr)),
    )


def _histogram(fnr: np.ndarray) -> list[int]:
    """Cases of each bar, an edge in the bar that it ends.

    So a case that misses exactly what it may stands with those that comply.
    """
    bar = np.searchsorted(_HISTOGRAM_EDGES[1:-1], fnr, side="left")
    return np.bincount(bar, minlength=len(_HISTOGRAM_EDGES) - 1).tolist()


def _mean(values: np.ndarray) -> float | None:
    """Mean over the cases a metric applies to; None where it applies to none."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else None


def _distances(values: np.ndarray) -> Distances | None:
    """Of the cases with a surface; one without the other is infinitely far, and counts."""
    known = values[~np.isnan(values)]
    if not known.size:
        return None
    middle = np.sort(known)[[(known.size - 1) // 2, known.size // 2]]
    mean, median = float(known.mean()), float(middle.mean())
    return Distances(
        n=known.size,
        n_infinite=int(np.isinf(known).sum()),
        median=median if np.isfinite(median) else None,
        mean=mean if np.isfinite(mean) else None,
    )


def is_tied(threshold: Threshold, scores: np.ndarray) -> bool:
    """Whether a score that calibrated, or a new one, ties with the threshold.

    Not where ties are broken: a number then decides among them.
    """
    if threshold.tie is not None:
        return False
    return threshold.n_tied > 1 or bool((scores == threshold.value).any())


def is_cut_above(
    calibration: Calibration, threshold: Threshold, case_ids: np.ndarray
) -> np.ndarray:
    """Whether the number of a case is too large for the threshold itself."""
    if threshold.tie is None or calibration.tie_seed is None:
        return np.zeros(len(case_ids), bool)
    return tie_numbers(case_ids, calibration.tie_seed) > threshold.tie


class EcrLaw(NamedTuple):
    """The law of compliance; fields as in `CutResult`."""

    law: Law | None
    n_tied: int
    expected_ecr: float | None
    ecr_band: list[Band]


def law_of(threshold: Threshold, scores: np.ndarray) -> EcrLaw:
    """What compliance should be, where a law is known.

    Args:
        threshold: As calibrated.
        scores: Of the new cases that count.
    """
    if not has_law(threshold):
        return EcrLaw(None, 0, None, [])
    tied = is_tied(threshold, scores)
    return EcrLaw(
        "at_least" if tied else "exact",
        threshold.n_tied,
        expected(threshold),
        bands_of(threshold, scores.size, tied=tied),
    )


def has_law(threshold: Threshold) -> bool:
    """Whether the share of new cases that are served has a law: that of an order statistic.

    Small groups that count as one have none: groups of just enough units count for them
    too, and are served by thresholds of their own.
    """
    return threshold.rank is not None and threshold.group != MERGED


def expected(threshold: Threshold) -> float:
    """Share of new cases that are served, over calibration sets: at least, with ties."""
    return min(1.0, threshold.order / (threshold.n_units + 1))


def bands_of(threshold: Threshold, n_new: int, *, tied: bool) -> list[Band]:
    """Bands of the share of new cases that are served; with ties their lower side alone.

    Ties serve more cases than the law has, never fewer.
    """
    n, rank = threshold.n_units, threshold.order
    bands = [(level, compliance_band(n, rank, n_new, level)) for level in BAND_LEVELS]
    return [Band(level, low, None if tied else high) for level, (low, high) in bands]


def risks_of(
    levels: Mapping[str, float], counts: Counts, counted: Counted
) -> list[MeanLoss]:
    """Mean losses beside their levels, as calibrated; None for a loss of the user's own."""

    def mean(loss: str) -> float | None:
        known = _KNOWN.get(loss)
        if known is None:
            return None
        return _mean(counted.worst(known.of(counts)[:, 0])[counted.rows])

    return [MeanLoss(loss, level, mean(loss)) for loss, level in levels.items()]
