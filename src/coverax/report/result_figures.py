"""Figures of an evaluation and of a validation, in the house style, on demand."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from coverax.calibrate import Froc, FrocCurve, compliance_pmf, froc_of_table
from coverax.evaluate import Evaluation, RegionResult, SetsResult
from coverax.evaluate.cut_results import CutResult, FoldCutResult
from coverax.report.figures import check_figures
from coverax.report.froc import curves_of_rows, draw_froc, froc_words
from coverax.report.style import (
    BLUE,
    GREEN,
    GREY,
    LINES,
    ORANGE,
    PALE,
    house_style,
    whole_numbers,
)
from coverax.shown import plural
from coverax.table import ScoreTable
from coverax.validate import Plan, validate_table
from coverax.validate.results import (
    RandomSplits,
    ScoresResult,
    SplitsResult,
    Validation,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH = 5.2  # inches
_SIDES = (("inner", LINES[0]), ("outer", LINES[1]), ("joint", LINES[2]))
# Levels of a curve against alpha.
_LEVELS = tuple(Fraction(k, 40) for k in range(1, 25))
_N_BARS = 40
Figures = dict[str, "Figure"]


def evaluation_figures(evaluation: Evaluation) -> Figures:
    """What an evaluation shows, by name of the file.

    Of a cut: cases by their missed share, at the fixed cut and at the calibrated one. Of
    sets: cases not covered against alpha with the law, and sizes beside the reference.
    Of tables with lesions from both sides: FROC.

    Raises:
        ValueError: matplotlib is not installed.
    """
    check_figures()
    found: Figures = {}
    with house_style():
        for result in evaluation.summary.results:
            name = _name_of(result, found)
            if isinstance(result, CutResult | FoldCutResult):
                found[f"fnr_{name}"] = _fnr(result)
            if isinstance(result, SetsResult):
                rows = [
                    row
                    for row in evaluation.cases
                    if row["region"] == result.region and row["counted"]
                ]
                if result.fcr:
                    found[f"fcr_{name}"] = _fcr(result)
                found[f"sizes_{name}"] = _sizes(result, rows)
        froc = evaluation.summary.froc or []
        found |= _frocs(curves_of_rows(evaluation.froc, froc), froc)
    return found


def validation_figures(table: ScoreTable, plan: Plan, result: Validation) -> Figures:
    """What a validation shows, by name of the file.

    Coverage (and, of a table with curves, the mean missed share) against alpha, over
    all splits, with the exact band of one split; the missed share against the cut, and
    where the probabilities of the reference lie; random splits beside their law; FROC of
    a table with lesions from both sides.

    Args:
        table: What was validated.
        plan: How.
        result: What came of it.

    Raises:
        ValueError: matplotlib is not installed.
    """
    check_figures()
    found: Figures = {}
    many = replace(
        plan, alphas=_LEVELS, n_splits=0, hold_out_by=None, order_by=None, closed=True
    )
    curves = validate_table(table, many)
    folds = list(dict.fromkeys(own.fold for own in result.results))
    with house_style():
        for curve, own in zip(curves.results, result.results, strict=True):
            fold = "" if own.fold is None else f"_fold{folds.index(own.fold) + 1}"
            name = f"{own.region}_{own.side or format(own.tolerance, 'g')}{fold}"
            for fraction in dict.fromkeys(row.fraction for row in curve.splits):
                rows = [row for row in curve.splits if row.fraction == fraction]
                share = "" if len(plan.fractions) == 1 else f"_{fraction:g}"
                found[f"alpha_{name}{share}"] = _against_alpha(curve, rows)
            for row in own.splits:
                if row.random is not None:
                    level = f"{row.alpha:g}_{row.fraction:g}"
                    found[f"splits_{name}_{level}"] = _splits(own, row, row.random)
        if plan.method != "sets" and table.definition.grid:
            for region in dict.fromkeys(table.column("region")):
                found[f"cut_{region}"] = _against_cut(table, str(region))
        found |= _frocs(froc_of_table(table)[0], result.froc or [])
    return found


def _frocs(curves: Mapping[str, FrocCurve], froc: Sequence[Froc]) -> Figures:
    """FROC of each region that has lesions."""
    figures: Figures = {}
    for found in froc:
        if found.n_lesions:
            figures[f"froc_{found.region}"] = figure = _new(3.4)
            axes = figure.subplots()
            draw_froc(axes, curves[found.region], found)
            axes.set_title(f"{found.region}\n{froc_words(found)}", loc="left")
            axes.legend(loc="lower right")
    return figures


def _name_of(result: RegionResult, taken: Mapping[str, Any]) -> str:
    """Region, and a number where each group has its own result."""
    if result.group is None:
        return result.region
    k = 1
    while any(name.endswith(f"_{result.region}_group{k}") for name in taken):
        k += 1
    return f"{result.region}_group{k}"


def _new(height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(_WIDTH, height), layout="constrained")


def _fnr(result: CutResult | FoldCutResult) -> "Figure":
    figure = _new(3.6)
    panels = figure.subplots(2, 1, sharex=True, sharey=True)
    rows = (
        ("fixed cut 0.5", result.fixed, GREY),
        ("calibrated", result.calibrated, BLUE),
    )
    for axes, (label, at, colour) in zip(panels, rows, strict=True):
        edges = np.array(at.fnr_histogram.edges)
        widths = np.diff(edges) * 0.94
        axes.bar(
            edges[:-1], at.fnr_histogram.counts, widths, align="edge", color=colour
        )
        axes.set_title(f"{label}: mean {at.fnr_mean:.3f}", loc="left")
        axes.set_ylabel("cases")
        whole_numbers(axes.yaxis)
        if result.tolerance is not None:
            tolerance = f"tolerance {result.tolerance:g}"
            axes.axvline(result.tolerance, color=ORANGE, ls="--", label=tolerance)
    if result.tolerance is not None:
        panels[0].legend()
    panels[1].set_xlabel("missed share of the reference (FNR) of a case")
    figure.suptitle(_title(result), fontsize=10)
    return figure


def _title(result: RegionResult) -> str:
    group = f", {result.group}" if result.group else ""
    return f"{result.region}{group}, {plural(result.n_counted, 'case')}"


def draw_fcr(axes: Any, result: SetsResult) -> None:
    """Share of cases not covered against alpha: each set, both, and their laws."""
    alphas = np.array([point.alpha for point in result.fcr])
    axes.plot([0, alphas.max()], [0, alphas.max()], color=GREY, lw=1, label="alpha")
    for side, (colour, dash) in _SIDES:
        values = [getattr(point, side) for point in result.fcr]
        bands = [getattr(point, f"{side}_band") for point in result.fcr]
        steps = "steps-post"
        name = "both" if side == "joint" else side
        axes.plot(alphas, values, dash, color=colour, label=name, drawstyle=steps)
        known = np.array([band is not None for band in bands])
        if known.any():
            low, high = zip(*(band for band in bands if band), strict=True)
            own: dict[str, Any] = {"color": colour, "alpha": 0.15, "lw": 0}
            axes.fill_between(alphas[known], low, high, step="post", **own)


def _fcr(result: SetsResult) -> "Figure":
    figure = _new(3.2)
    axes = figure.subplots()
    draw_fcr(axes, result)
    axes.set(xlabel="alpha", ylabel="share of cases not covered", ylim=(0, None))
    axes.set_title(f"{_title(result)}; shaded: 95 % of the law", loc="left")
    axes.legend(ncols=2)
    return figure


def _sizes(result: SetsResult, rows: Sequence[dict[str, Any]]) -> "Figure":
    """Cases by the length of each set over that of the reference."""
    figure = _new(2.8)
    axes = figure.subplots()
    each = {
        side: np.array([row[f"{side}_size_ratio"] for row in rows], float)
        for side in ("inner", "outer")
    }
    finite = {side: values[np.isfinite(values)] for side, values in each.items()}
    top = max((values.max(initial=0.0) for values in finite.values()), default=0.0)
    edges = np.linspace(0, max(top, 1.0) * 1.02, _N_BARS + 1)
    for (side, values), (colour, dash) in zip(finite.items(), LINES, strict=False):
        counts, _ = np.histogram(values, edges)
        label = f"{side} set, {plural(values.size, 'case')}"
        axes.stairs(counts, edges, color=colour, ls=dash, lw=1.6, label=label)
    axes.axvline(1, color=GREY, lw=1, label="the reference")
    axes.set(xlabel="length of the set over that of the reference", ylabel="cases")
    whole_numbers(axes.yaxis)
    axes.set_title(_title(result), loc="left")
    axes.legend()
    return figure


def _against_alpha(result: ScoresResult, rows: Sequence[SplitsResult]) -> "Figure":
    alphas = np.array([row.alpha for row in rows])
    fnr = [row.metrics["fnr"] for row in rows if "fnr" in row.metrics]
    known = [row.mean is not None and row.sd is not None for row in fnr]
    figure = _new(5.0 if any(known) else 3.0)
    panels = figure.subplots(2 if any(known) else 1, 1, sharex=True, squeeze=False)[
        :, 0
    ]
    axes = panels[0]
    low = [row.band.low for row in rows]
    high = [1.0 if row.band.high is None else row.band.high for row in rows]
    band = f"{rows[0].band.level:.0%} of the law, one split"
    axes.fill_between(alphas, low, high, color=PALE, alpha=0.5, lw=0, label=band)
    expected = [row.expected for row in rows]
    axes.plot(alphas, expected, color=GREY, lw=1, label="r / (n + 1), the law's mean")
    mean = [row.coverage_mean for row in rows]
    axes.plot(alphas, mean, "--", color=BLUE, label="mean over all splits")
    what = "ECR" if result.side is None else "coverage"
    axes.set_ylabel(f"share of cases that comply ({what})")
    axes.legend()
    fold = f", fold {result.fold}" if result.fold else ""
    sizes = f"{rows[0].n_calibration} calibrate, {rows[0].n_test} test"
    axes.set_title(f"{result.region}{fold}, {result.of_what}: {sizes}", loc="left")
    if any(known):
        place = alphas[: len(fnr)][known]
        own = [f for f, is_known in zip(fnr, known, strict=True) if is_known]
        means, sds = (np.array([getattr(f, k) for f in own]) for k in ("mean", "sd"))
        panels[1].fill_between(
            place,
            means - sds,
            means + sds,
            color=GREEN,
            alpha=0.2,
            lw=0,
            label="± 1 sd",
        )
        panels[1].plot(place, means, "-.", color=GREEN, label="mean over all splits")
        panels[1].set_ylabel("mean missed share (FNR)")
        panels[1].legend()
    panels[-1].set_xlabel("alpha")
    return figure


def _against_cut(table: ScoreTable, region: str) -> "Figure":
    """The missed share of cases at every cut, and where the reference's voxels lie."""
    n_foreground = table.column("n_foreground")
    rows = (table.column("region") == region) & (n_foreground > 0)
    curves = table.grid_curves()
    cuts, hits = np.asarray(curves.cuts, float), curves.n_true_positive[rows]
    missed = np.sort(1 - hits / n_foreground[rows][:, None], axis=0)
    n = len(missed)
    figure = _new(4.8)
    top, bottom = figure.subplots(2, 1, sharex=True)
    # Values of cases, by rank: nothing is interpolated.
    low, high = missed[n // 10], missed[n - 1 - n // 10]
    top.fill_between(
        cuts, low, high, color=PALE, alpha=0.5, lw=0, label="8 of 10 cases"
    )
    top.plot(cuts, missed[n // 2], ":", color=GREY, label="median case")
    top.plot(cuts, missed.mean(0), color=BLUE, label="mean")
    top.set(ylabel="missed share (FNR)", ylim=(0, 1))
    top.set_title(f"{region}, {plural(n, 'case')}", loc="left")
    top.legend()
    order = np.argsort(cuts)
    total = hits.sum(0)[order]
    edges = np.append(cuts[order], 1.0)
    share = -np.diff(np.append(total, 0)) / n_foreground[rows].sum()
    bars, wide = np.histogram(edges[:-1], np.linspace(0, 1, _N_BARS + 1), weights=share)
    bottom.bar(wide[:-1], bars, np.diff(wide) * 0.94, align="edge", color=BLUE)
    bottom.set(xlabel="probability", ylabel="share of reference voxels", xlim=(0, 1))
    return figure


def _splits(result: ScoresResult, row: SplitsResult, found: RandomSplits) -> "Figure":
    """Random splits by their coverage, beside the law of one split."""
    figure = _new(2.8)
    axes = figure.subplots()
    edges = np.array(found.histogram.edges)
    counts = np.array(found.histogram.counts)
    axes.bar(edges[:-1], counts, np.diff(edges) * 0.94, align="edge", color=PALE)
    law = compliance_pmf(row.n_calibration, row.rank, row.n_test)
    shares = np.arange(row.n_test + 1) / row.n_test
    expected, _ = np.histogram(shares, edges, weights=law * found.n_splits)
    axes.stairs(expected, edges, color=BLUE, lw=1.6, label="the law, without ties")
    axes.axvline(
        1 - row.alpha, color=ORANGE, ls="--", label=f"1 - alpha = {1 - row.alpha:g}"
    )
    held = edges[:-1][(counts > 0) | (expected > 0.5)]
    axes.set(xlabel="coverage of the other units", ylabel="random splits")
    axes.set_xlim(max(0.0, held.min() - 0.05), 1.01)
    axes.set_title(
        f"{result.region}, {result.of_what}: {found.n_splits} splits", loc="left"
    )
    axes.legend()
    return figure
