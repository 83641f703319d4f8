"""From a score table to the calibration of a cohort: cases, classes, sites, pooled."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from coverax.engine.results import BinStatistics
from coverax.reliability.adaptive import adaptive_ce_grid
from coverax.reliability.bands import band_results
from coverax.reliability.bootstrap import (
    ONE_SIDED,
    drawn_weights,
    intervals,
    pooled_intervals,
    resampled,
)
from coverax.reliability.classes import (
    ClassSums,
    Drawn,
    Measures,
    case_rows,
    class_sums,
    draw_class,
    draw_softmax,
    drawn_means,
    groups_of,
    macro_measures,
    pooled_measures,
    rows_of,
    select_class,
    softmax_scores,
)
from coverax.reliability.errors import calibration_errors, check_policy
from coverax.reliability.results import (
    ClassResult,
    GroupResult,
    Measured,
    ReliabilitySummary,
    SoftmaxScores,
    TopLabel,
    Values,
)
from coverax.reliability.statistics import mean_of_known, plain, pooled
from coverax.scores import ScoreTable, read_bins
from coverax.shown import Shown, few, plural, short
from coverax.table.columns import TOP_LABEL

LEVEL = 0.95
_ONE_SIDED = (
    "pooled: no lower end, since a maximum of noisy gaps lies above the largest gap; the "
    "upper end is that of the two-sided interval"
)


@dataclass(frozen=True, slots=True)
class RegionBins:
    """One class over the cohort.

    Attributes:
        name: Region, or `top label`.
        statistics: A row a case.
        units: Unit of each row.
    """

    name: str
    statistics: BinStatistics
    units: tuple[str, ...]


@dataclass(frozen=True, slots=True, repr=False)
class Reliability(Shown):
    """What the reliability command reports.

    Attributes:
        summary: The content of `reliability.json`.
        cases: One row a case and region.
        regions: The bins behind the figures; the top label last where it is known.
    """

    summary: ReliabilitySummary
    cases: list[dict[str, Any]]
    regions: tuple[RegionBins, ...]

    def _facts(self) -> dict[str, object]:
        found = self.summary
        left_out = sum(map(len, found.excluded.values()))
        each = few(map(_words, found.regions))
        return {"bins": found.n_bins, "regions": each, "left out": left_out}

    def _details(self) -> dict[str, object]:
        every = "; ".join(map(_words, self.summary.regions))
        return self._facts() | {"regions": every}


def _words(result: ClassResult) -> str:
    """The pooled errors of a class, for people."""
    known = (f"{n.upper()} {short(result.pooled.get(n))}" for n in ("ece", "ace"))
    return f"{result.region}: {plural(result.n_cases, 'case')}, {', '.join(known)}"


def summarise(
    table: ScoreTable,
    *,
    absent: str = "skip",
    leave_out: Sequence[str] = (),
    n_draws: int = 1000,
    seed: int = 0,
) -> Reliability:
    """Errors of every case, class and site, macro and pooled, with unit intervals.

    An interval is None without draws, and where fewer than two units are drawn from.

    Args:
        table: A score table with bins.
        absent: Macro means `skip` or `include` cases whose reference lacks the class.
        leave_out: Regions not reported, the background for example.
        n_draws: Bootstrap samples over units; 0 for no intervals.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: The table holds no bins, or there is no such region or policy.
    """
    check_policy(absent)
    softmax = table.definition.softmax
    known = list(dict.fromkeys(table.column("region").tolist()))
    if softmax:
        known.insert(0, "background")
    names = _kept_names(known, leave_out)
    every = {name: class_sums(table, name, softmax) for name in known}
    classes = [every[name] for name in names]
    drawn = [
        draw_class(c, drawn_weights(c.units, n_draws, seed), absent) for c in classes
    ]
    results = [
        _region_result(table, c, d, absent, n_draws, seed)
        for c, d in zip(classes, drawn, strict=True)
    ]
    regions = [RegionBins(c.name, c.statistics, c.units) for c in classes]
    jointly = _drawn_jointly(classes, drawn, absent, n_draws, seed)
    summary = ReliabilitySummary(
        n_bins=int(table.definition.n_bins),
        n_soft_bins=table.definition.n_soft_bins or None,
        absent=absent,
        left_out=list(leave_out),
        level=LEVEL,
        one_sided=dict.fromkeys(ONE_SIDED, _ONE_SIDED),
        n_draws=n_draws,
        seed=seed,
        cases_digest=table.cases_digest,
        excluded=table.excluded,
        regions=results,
        mean_over_regions=_mean_over_regions(results, jointly),
    )
    if softmax:
        one = rows_of(table, known[-1])
        units = every["background"].units
        top = RegionBins("top label", read_bins(one.columns, TOP_LABEL), units)
        regions.append(top)
        weights = drawn_weights(units, n_draws, seed)
        own = ["background", *(region.name for region in table.definition.classes)]
        parts = [every[name] for name in own]  # a joined region counts voxels twice
        ends = intervals(draw_softmax(parts, weights), LEVEL)
        summary = replace(
            summary,
            top_label=_top_label(top, weights),
            softmax=SoftmaxScores(**softmax_scores(parts), interval=ends),
        )
    cases = [row for c in classes for row in case_rows(c)]
    return Reliability(summary, cases, tuple(regions))


def _kept_names(known: Sequence[str], leave_out: Sequence[str]) -> list[str]:
    unknown = [name for name in leave_out if name not in known]
    if unknown:
        raise ValueError(
            f"no region {', '.join(unknown)}; there are {', '.join(known)}"
        )
    names = [name for name in known if name not in leave_out]
    if not names:
        raise ValueError("every region is left out")
    return names


def _region_result(
    table: ScoreTable,
    sums: ClassSums,
    drawn: Drawn | None,
    absent: str,
    n_draws: int,
    seed: int,
) -> ClassResult:
    groups: dict[str, GroupResult] = {}
    for name, rows in groups_of(sums).items():
        own = select_class(sums, rows)
        draws = draw_class(own, drawn_weights(own.units, n_draws, seed), absent)
        groups[name] = GroupResult(**_counts(own), **_measured(own, draws, absent))
    result = ClassResult(
        region=sums.name,
        **_counts(sums),
        n_clipped=int(np.asarray(sums.proper.n_clipped).sum()),
        **_measured(sums, drawn, absent),
        groups=groups or None,
    )
    if table.definition.softmax and sums.name == "background":
        return result  # no region: neither a grid nor a distance is kept of it
    if table.definition.grid:
        curves = sums.rows.grid_curves()
        found = adaptive_ce_grid(curves, sums.statistics, table.definition.n_bins)
        result = replace(result, adaptive_ce_grid=float(found))
    if table.definition.band_edges_mm:
        edges = table.definition.band_edges_mm
        bands = band_results(sums.rows, edges, level=LEVEL, n_draws=n_draws, seed=seed)
        result = replace(result, bands=bands)
    return result


def _counts(sums: ClassSums) -> dict[str, int]:
    return {
        "n_cases": len(sums.units),
        "n_units": len(set(sums.units)),
        "n_absent": int((~sums.present).sum()),
        "n_voxels": int(np.asarray(sums.statistics.count).sum()),
    }


def _measured(sums: ClassSums, drawn: Drawn | None, absent: str) -> dict[str, Any]:
    return {
        "macro": macro_measures(sums, absent),
        "macro_interval": intervals(drawn and drawn.macro, LEVEL),
        "pooled": pooled_measures(sums),
        "pooled_interval": pooled_intervals(drawn and drawn.pooled, LEVEL),
    }


def _top_label(top: RegionBins, weights: np.ndarray | None) -> TopLabel:
    """Errors of the most probable class; its bins start at 1 / classes."""
    statistics, units = top.statistics, top.units
    errors = calibration_errors(pooled(statistics))._asdict()
    cases = calibration_errors(statistics)._asdict()
    drawn = None
    if weights is not None:
        counted = {k: ~np.isnan(v) for k, v in cases.items()}
        drawn = Drawn(
            calibration_errors(resampled(statistics, units, weights))._asdict(),
            drawn_means(cases, counted, units, weights),
        )
    return TopLabel(
        pooled={k: plain(v[0]) for k, v in errors.items()},
        pooled_interval=pooled_intervals(drawn and drawn.pooled, LEVEL),
        macro={k: plain(np.nanmean(v)) for k, v in cases.items()},
        macro_interval=intervals(drawn and drawn.macro, LEVEL),
    )


def _drawn_jointly(
    classes: Sequence[ClassSums],
    drawn: Sequence[Drawn | None],
    absent: str,
    n_draws: int,
    seed: int,
) -> list[Drawn] | None:
    """Draws of all classes with the same drawn units; None where there are none."""
    units = np.unique(np.concatenate([c.units for c in classes]))
    weights = drawn_weights(units.tolist(), n_draws, seed)
    if weights is None:
        return None
    joint = []
    for c, own in zip(classes, drawn, strict=True):
        mine = np.isin(units, c.units)
        # A class of every unit was drawn with these very weights.
        found = own if mine.all() else draw_class(c, weights[:, mine], absent)
        joint.append(found)
    return joint


def _mean_over_regions(
    results: Sequence[ClassResult], drawn: list[Drawn] | None
) -> Measured:
    draws_macro = draws_pooled = None
    if drawn is not None:
        draws_macro = _mean_of_draws([d.macro for d in drawn])
        draws_pooled = _mean_of_draws([d.pooled for d in drawn])
    return Measured(
        macro=_mean_of_values([r.macro for r in results]),
        macro_interval=intervals(draws_macro, LEVEL),
        pooled=_mean_of_values([r.pooled for r in results]),
        pooled_interval=pooled_intervals(draws_pooled, LEVEL),
    )


def _mean_of_values(parts: Sequence[Values]) -> dict[str, float | None]:
    """Mean over classes, of those whose measure exists."""
    known = {n: [v for p in parts if (v := p[n]) is not None] for n in parts[0]}
    return {n: plain(np.mean(v)) if v else None for n, v in known.items()}


def _mean_of_draws(parts: Sequence[Measures]) -> Measures:
    """Mean over classes in each draw, of those whose measure exists there."""
    return {
        name: mean_of_known(np.stack([part[name] for part in parts]))
        for name in parts[0]
    }
