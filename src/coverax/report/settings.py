"""What other levels and tolerances would give: values for the sliders of a report.

With a table of new cases the threshold of each setting comes from the cases that
calibrated, and is measured on the new ones. Without one, all splits of the only table stand
in for that. Compliance is exact. The other values are read at the grid of cuts of the
table: a threshold lies between two of them, and so does the value.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from coverax.calibrate import Calibration, FnrRecord, Status, calibrate_fnr
from coverax.evaluate.references import Counted, count_rows
from coverax.evaluate.summary import bands_of, expected, is_cut_above, is_tied
from coverax.rational import Level
from coverax.report.found import Found
from coverax.table import ScoreTable
from coverax.validate import Plan, ScoresResult, validate_table

ALPHAS = (
    *(f"0.{k:02d}" for k in range(1, 31)),
    *("0.35", "0.4", "0.45", "0.5"),
)
# Measures beside compliance, with the end of the grid that is the larger one.
MEASURES = ("fnr", "pc", "volume_ml")
_SEED = 0  # of the draw of one case a unit, as `evaluate` has it


class Ends(NamedTuple):
    """A value that lies between two; both None where it is not known."""

    low: float | None
    high: float | None


class Setting(NamedTuple):
    """One level and tolerance.

    Attributes:
        cut: Where the map is cut; None over all splits, which have many.
        is_whole: Whether the mask is the whole volume: nothing can be promised.
        ecr: Share of cases that comply.
        expected: What the law expects of it; None where there is no law.
        band: 95 % of the law; its upper end is None where scores tie.
        measures: Means over cases, by name.
    """

    cut: float | None
    is_whole: bool
    ecr: float
    expected: float | None
    band: tuple[float, float | None] | None
    measures: dict[str, Ends]


class Settings(NamedTuple):
    """All settings of a region.

    Attributes:
        region: Structure.
        alphas: Levels, ascending.
        tolerances: Those of the table.
        at: By the places of level and tolerance.
        chosen: The place of what was promised.
        fixed: Measures at the fixed cut 0.5; none over all splits.
        fixed_ecr: Share that complies there, by tolerance.
        source: What was measured, in words.
    """

    region: str
    alphas: tuple[float, ...]
    tolerances: tuple[float, ...]
    at: dict[tuple[int, int], Setting]
    chosen: tuple[int, int]
    fixed: dict[str, Ends]
    fixed_ecr: tuple[float, ...]
    source: str


def settings_of(
    found: Found, calibration: Calibration
) -> tuple[tuple[Settings, ...], str]:
    """Settings of every region of a calibration, and why there are none if so.

    Args:
        found: All that lies there.
        calibration: What was promised.
    """
    if why := _unknown(calibration):
        return (), why
    table = found.table_of(calibration.cases_digest)
    if table is None:
        return (), "the score table that calibrated is not among the folders"
    new = _new_table(found, calibration, table)
    if new is not None:
        regions = [t.region for t in calibration.thresholds]
        return tuple(_measured(calibration, table, new, r) for r in regions), ""
    if calibration.policy.raters == "worst" and calibration.policy.per_unit == "all":
        return (), "all splits know no units with several cases and references"
    return _over_splits(calibration, table), ""


def _unknown(calibration: Calibration) -> str:
    """Why other settings cannot be worked out; empty where they can."""
    if not isinstance(calibration.record, FnrRecord):
        return f"method {calibration.method} has no thresholds of other settings here"
    if not calibration.thresholds[0].is_cut:
        return "each map has a cut of its own, where its mass reaches the threshold"
    if calibration.folds is not None:
        return "thresholds of several folds have no table of settings"
    if calibration.is_grouped:
        return "each group has its own threshold"
    return ""


def _new_table(
    found: Found, calibration: Calibration, table: ScoreTable
) -> ScoreTable | None:
    """The first table of cases that calibrated nothing, with the same scores."""
    for item in found.tables:
        new = item.content
        same = (
            new.definition.regions == table.definition.regions
            and set(new.tolerances) >= set(table.tolerances)
            and new.definition.grid
        )
        if same and new is not table and not _seen(calibration, new):
            return new
    return None


def _seen(calibration: Calibration, table: ScoreTable) -> set[str]:
    units = table.column(calibration.policy.unit_column)
    marks = table.column("map_fingerprint").tolist()
    return calibration.seen.units_among(units, table.column("case_id"), marks)


def _levels(calibration: Calibration) -> tuple[tuple[str, ...], int]:
    """Levels with the promised one among them, and its place."""
    own = str(calibration.alpha)
    every = {float(alpha): alpha for alpha in (*ALPHAS, own)}
    ordered = tuple(every[alpha] for alpha in sorted(every))
    return ordered, sorted(every).index(float(own))


def _measured(
    calibration: Calibration, table: ScoreTable, new: ScoreTable, region: str
) -> Settings:
    """Thresholds from the table that calibrated, measured on another."""
    alphas, place = _levels(calibration)
    tolerances = table.tolerances
    promised = calibration.threshold_of(region).tolerance
    cases = _NewCases.of(calibration, new, region)
    at: dict[tuple[int, int], Setting] = {}
    for i, alpha in enumerate(alphas):
        for k, tolerance in enumerate(tolerances):
            again = _calibrate(calibration, table, alpha, tolerance)
            at[i, k] = cases.at(again, tolerance)
    return Settings(
        region=region,
        alphas=tuple(map(float, alphas)),
        tolerances=tolerances,
        at=at,
        chosen=(place, tolerances.index(float(promised or 0))),
        fixed=cases.measures(0.5),
        fixed_ecr=tuple(cases.share(cases.worst(t) <= -0.5) for t in tolerances),
        source=(
            f"thresholds from the {calibration.n_cases} cases that calibrated, measured "
            f"on {int(cases.counted.rows.sum())} others"
        ),
    )


def _calibrate(
    calibration: Calibration, table: ScoreTable, alpha: str, tolerance: float
) -> Calibration:
    """The same calibration at another level and tolerance."""
    policy, record = calibration.policy, calibration.record
    if not isinstance(record, FnrRecord):
        raise ValueError(f"method {calibration.method} has no such levels")
    heaviest: Level | None = record.largest_weight
    return calibrate_fnr(
        table,
        alpha,
        tolerance=tolerance,
        delta=calibration.delta,
        empty=policy.empty,
        unit_column=policy.unit_column,
        per_unit=policy.per_unit,
        seed=policy.seed,
        weights=record.weights,
        largest_weight=heaviest,
        raters=policy.raters,
        break_ties=record.tie_seed is not None,
    )


def _between(one: float | None, other: float | None) -> Ends:
    if one is None or other is None:
        return Ends(None, None)
    return Ends(min(one, other), max(one, other))


class _NewCases(NamedTuple):
    """Cases of one region that calibrated nothing, and how they are counted."""

    table: ScoreTable
    region: str
    counted: Counted

    @classmethod
    def of(
        cls, calibration: Calibration, table: ScoreTable, region: str
    ) -> "_NewCases":
        mine = table.select(table.column("region") == region)
        names = ("case_id", "rater", "n_foreground")
        column = {name: mine.column(name) for name in names}
        column["unit"] = mine.column(calibration.policy.unit_column)
        return cls(mine, region, count_rows(calibration, region, column, _SEED))

    def worst(self, tolerance: float) -> np.ndarray:
        """Score of every row, the worst over its references."""
        return self.counted.worst(0.0 - self.table.critical_probability(tolerance))

    def share(self, hits: np.ndarray) -> float:
        """Share of the cases that count."""
        return float(hits[self.counted.rows].mean())

    def at(self, again: Calibration, tolerance: float) -> Setting:
        """What a calibration gives on these cases."""
        threshold, scores = again.threshold_of(self.region), self.worst(tolerance)
        above = is_cut_above(again, threshold, self.table.column("case_id"))
        limit = threshold.value
        complies = np.where(above, scores < limit, scores <= limit)
        n_new = int(self.counted.rows.sum())
        law = band = None
        if threshold.rank is not None:
            law = expected(threshold)
            tied = is_tied(threshold, scores[self.counted.rows])
            first = bands_of(threshold, n_new, tied=tied)[0]
            band = (first.low, first.high)
        return Setting(
            cut=threshold.probability,
            is_whole=threshold.status != Status.OK,
            ecr=self.share(complies),
            expected=law,
            band=band,
            measures=self.measures(threshold.probability),
        )

    def measures(self, cut: float) -> dict[str, Ends]:
        """Means over cases between the cuts of the grid on both sides of this one."""
        curves = self.table.grid_curves()
        below = np.searchsorted(curves.cuts, np.float32(cut), side="right") - 1
        lower = max(int(below), 0)
        exact = cut <= 0 or (below >= 0 and curves.cuts[lower] == np.float32(cut))
        at, beside = self._means(lower if exact else lower + 1), self._means(lower)
        return {name: _between(at[name], beside[name]) for name in MEASURES}

    def _means(self, k: int) -> dict[str, float | None]:
        """Means at the k-th cut of the grid; an empty mask beyond the last."""
        curves, rows = self.table.grid_curves(), self.counted.rows
        true = self.table.column("n_foreground").astype(float)
        is_empty = k >= curves.cuts.size
        marked = np.zeros(true.size) if is_empty else curves.n_predicted[:, k]
        hits = np.zeros(true.size) if is_empty else curves.n_true_positive[:, k]
        missed = np.zeros(true.size)
        np.divide(true - hits, true, out=missed, where=true > 0)
        ml = marked * self.table.column("voxel_volume_ml").astype(float)
        values = {
            "fnr": self.counted.worst(missed)[rows],
            "pc": (marked / self.table.column("n_voxels"))[rows],
            "volume_ml": ml[rows],
        }
        return {
            name: None if np.isnan(v).any() else float(v.mean())
            for name, v in values.items()
        }


def _over_splits(calibration: Calibration, table: ScoreTable) -> tuple[Settings, ...]:
    """Means over all splits of the only table, half of its units calibrating."""
    alphas, place = _levels(calibration)
    policy = calibration.policy
    plan = Plan(
        alphas=alphas,
        seed=policy.seed,
        empty="include" if policy.empty == "include" else "exclude",
        raters=policy.raters,
        method="fnr",
    )
    results = validate_table(table, plan).results
    return tuple(
        _splits_of(
            [result for result in results if result.region == threshold.region],
            threshold.region,
            place,
            float(threshold.tolerance or 0),
        )
        for threshold in calibration.thresholds
    )


def _splits_of(
    results: Sequence[ScoresResult], region: str, place: int, promised: float
) -> Settings:
    tolerances = tuple(float(result.tolerance or 0) for result in results)
    at: dict[tuple[int, int], Setting] = {}
    for k, result in enumerate(results):
        for i, entry in enumerate(result.splits):
            means = {n: s.mean for n, s in entry.metrics.items()}
            at[i, k] = Setting(
                cut=None,
                is_whole=entry.status != "OK",
                ecr=entry.coverage_mean,
                expected=entry.expected,
                band=(entry.band.low, entry.band.high),
                measures={n: Ends(means.get(n), means.get(n)) for n in MEASURES},
            )
    n_units = results[0].n_units
    return Settings(
        region=region,
        alphas=tuple(entry.alpha for entry in results[0].splits),
        tolerances=tolerances,
        at=at,
        chosen=(place, tolerances.index(promised)),
        fixed={},
        fixed_ecr=(),
        source=(
            f"means over all splits of the {n_units} units that calibrated, half of them "
            "calibrating in turn: no new case is in it"
        ),
    )
