"""Figures of a report: the law with what was observed, and misses before and after."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from coverax.calibrate import Audit, AuditPart, Band, Histogram, compliance_pmf
from coverax.evaluate import SetsResult
from coverax.evaluate.other_results import Release
from coverax.report.blocks import Figure, percent
from coverax.report.result_figures import draw_fcr
from coverax.report.style import (
    BLUE,
    GREY,
    INK,
    LINES,
    ORANGE,
    PALE,
    house_style,
    svg_of,
    whole_numbers,
)
from coverax.shown import plural

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

WIDTH = 4.8  # inches of every figure
_TAIL = 1e-6  # of a law, not drawn


def drawing(width: float, height: float) -> "Drawing":
    """An empty figure, in inches."""
    from matplotlib.figure import Figure as Drawing

    return Drawing(figsize=(width, height), layout="constrained")


def law_figure(
    name: str,
    n_calibration: int,
    rank: int,
    n_counted: int,
    n_observed: int,
    band: Band,
    what: str,
    words: str,
) -> Figure:
    """The law of the number of cases that are served, and the number that was.

    Args:
        name: Of the figure.
        n_calibration: Units that calibrated.
        rank: Of the threshold among them.
        n_counted: New cases.
        n_observed: Those that are served.
        band: Of the share that should be.
        what: What being served is, as `comply`.
        words: What the law says, in words.
    """
    law = compliance_pmf(n_calibration, rank, n_counted)
    counts = np.arange(n_counted + 1)
    seen = counts[law > law.max() * _TAIL]
    low, high = min(seen[0], n_observed), max(seen[-1], n_observed)
    counts, law = counts[low : high + 1], law[low : high + 1]
    top = n_counted if band.high is None else round(band.high * n_counted)
    inside = (counts >= round(band.low * n_counted)) & (counts <= top)
    with house_style():
        figure = drawing(WIDTH, 2.5)
        axes = figure.subplots()
        for part, colour, label in (
            (inside, BLUE, f"{band.level:.0%} band of the law"),
            (~inside, PALE, "outside the band"),
        ):
            axes.bar(counts[part], law[part], 0.9, color=colour, label=label)
        axes.axvline(n_observed, color=ORANGE, lw=2, ls="--")
        axes.plot(
            [n_observed],
            [law.max() * 1.06],
            "v",
            color=ORANGE,
            ms=8,
            label=f"observed: {n_observed}",
        )
        axes.set(
            xlabel=f"of {n_counted} new cases, those that {what}",
            ylabel="probability",
            xlim=(low - 1, high + 1),
        )
        whole_numbers(axes.xaxis)
        axes.legend(loc="upper left")
        title = f"Law of the number of cases that {what}"
        text = f"{n_observed} of {plural(n_counted, 'case')} {what}; {words}."
        svg = svg_of(figure, name, title, text)
    return Figure(svg, f"{title}. {text}")


def fnr_figure(
    name: str, before: Histogram, after: Histogram, tolerance: float | None
) -> Figure:
    """Cases by their missed share, at 0.5 and calibrated, one above the other."""
    with house_style():
        figure = drawing(WIDTH, 2.9)
        panels = figure.subplots(2, 1, sharex=True, sharey=True)
        rows = (("fixed at 0.5", before, GREY), ("calibrated", after, BLUE))
        for axes, (label, bars, colour) in zip(panels, rows, strict=True):
            edges = np.array(bars.edges)
            axes.bar(
                edges[:-1],
                bars.counts,
                np.diff(edges) * 0.94,
                align="edge",
                color=colour,
            )
            axes.set_title(label, loc="left")
            axes.set_ylabel("cases")
            whole_numbers(axes.yaxis)
            if tolerance is not None:
                axes.axvline(tolerance, color=ORANGE, ls="--", lw=1.6)
        panels[1].set_xlabel("missed share of the reference (FNR)")
        title = "Missed share of the reference, case by case"
        line = "" if tolerance is None else f" Dashed: the tolerance {tolerance}."
        text = f"Cases at the fixed cut 0.5 and at the calibrated one.{line}"
        svg = svg_of(figure, name, title, text)
    return Figure(svg, f"{title}. {text}")


def audit_figure(name: str, audit: Audit) -> Figure:
    """Share of each part of the cases with its band, one line a part."""
    rows: list[str | AuditPart] = []
    for part in audit.parts:
        if part.by not in [own.by for own in rows if isinstance(own, AuditPart)]:
            rows.append(_SORTED.get(part.by, part.by))
        rows.append(part)
    with house_style():
        figure = drawing(WIDTH, 0.75 + 0.25 * len(rows))
        axes = figure.subplots()
        for k, row in enumerate(rows):
            if isinstance(row, str):
                axes.text(0.01, -k, row, va="center", fontsize=8.5, style="italic")
                continue
            axes.plot([row.low, row.high], [-k, -k], color=BLUE, lw=2)
            axes.plot([row.share], [-k], "o", color=ORANGE, ms=6, clip_on=False)
        labels = ["" if isinstance(row, str) else _part_words(row) for row in rows]
        axes.set_yticks([-k for k in range(len(rows))], labels)
        axes.tick_params("y", length=0)
        axes.set(xlim=(0, 1), ylim=(0.6 - len(rows), 0.6))
        axes.set_xlabel("share of cases that comply")
        axes.grid(axis="x", color=GREY, alpha=0.3)
        title = "Where failures gather"
        text = (
            f"Share of each part (dot) and the {audit.level:.0%} band of its true share "
            f"(line): {audit.meaning}."
        )
        svg = svg_of(figure, name, title, text)
    return Figure(svg, f"{title}. {text}")


_SORTED = {
    "n_foreground": "by size of the reference, in voxels",
    "n_lesions": "by number of lesions",
    "uncertainty": "by uncertainty",
    "group": "by group",
}


_MOST, _WIDE = 26, 34  # letters of a name on an axis, and in one of two columns


def _part_words(part: AuditPart) -> str:
    """A part of the cases in words, with its size."""
    ends = [part.from_value, part.to_value]
    if None in ends:
        name = part.part if len(part.part) <= _MOST else f"{part.part[: _MOST - 1]}…"
        return f"{name} (n {part.n})"
    texts = dict.fromkeys(f"{v:,.0f}" if v and v >= 100 else f"{v:.3g}" for v in ends)
    return f"{' to '.join(texts)} (n {part.n})"


def fcr_figure(name: str, result: SetsResult) -> Figure:
    """False coverage of inner, outer and both sets against alpha, with the law."""
    with house_style():
        figure = drawing(WIDTH, 2.9)
        axes = figure.subplots()
        draw_fcr(axes, result)
        axes.set(xlabel="alpha", ylabel="cases not covered", xlim=(0, None))
        axes.legend(ncols=4, loc="upper left")
        title = "Share of cases not covered, against alpha"
        text = (
            "Shaded: 95% of the exact law, where one applies. At or below the grey line "
            "is as promised on average."
        )
        svg = svg_of(figure, name, title, text)
    return Figure(svg, f"{title}. {text}")


def capital_figure(name: str, capitals: dict[str, np.ndarray], limit: float) -> Figure:
    """Every capital of a monitor after each unit, and where the alarm lies."""
    with house_style():
        figure = drawing(WIDTH, 3.0)
        axes = figure.subplots()
        for k, (label, path) in enumerate(capitals.items()):
            colour, dash = LINES[k % len(LINES)]
            steps = np.arange(1, len(path) + 1)
            axes.plot(steps, path, dash, color=colour, label=label, lw=1.4)
        axes.axhline(limit, color=INK, lw=1, ls="--", label="alarm")
        axes.set(yscale="log", xlabel="new units", ylabel="share of the capital")
        ncols = 2 if max(map(len, capitals), default=0) < _WIDE else 1
        figure.legend(loc="outside lower center", ncols=ncols, fontsize=8)
        largest = max((p.max(initial=0.0) for p in capitals.values()), default=0.0)
        title = "Capital of the monitor over new units"
        text = f"The largest was {largest:.3g}; the alarm is at {limit:g}."
        svg = svg_of(figure, name, title, text)
    return Figure(svg, f"{title}. {text}")


def splits_figure(
    name: str, bars: Histogram, expected: float, band: Band, n_splits: int
) -> Figure:
    """Random splits by their coverage, with what the law expects."""
    with house_style():
        figure = drawing(WIDTH, 2.3)
        axes = figure.subplots()
        edges, counts = np.array(bars.edges), np.array(bars.counts)
        axes.bar(edges[:-1], counts, np.diff(edges) * 0.94, align="edge", color=BLUE)
        high = 1.0 if band.high is None else band.high
        axes.axvspan(band.low, high, color=PALE, alpha=0.35, zorder=0)
        axes.axvline(expected, color=ORANGE, ls="--", lw=1.8)
        held = edges[:-1][counts > 0]
        left = min(held.min(), band.low) - 0.05
        axes.set(xlabel="coverage of the other units", ylabel="splits")
        axes.set_xlim(max(0.0, left), 1.01)
        title = "Coverage in random splits"
        text = (
            f"{plural(n_splits, 'split')}; dashed: the expected {percent(expected)}; "
            f"shaded: {band.level:.0%} of the law, {percent(band.low)} to {percent(high)}."
        )
        svg = svg_of(figure, name, title, text)
    return Figure(svg, f"{title}. {text}")


def intervals_figure(name: str, rows: Sequence[dict[str, Any]]) -> Figure:
    """The interval of each case beside the volume of its reference, by size.

    Args:
        name: Of the figure.
        rows: Of `cases.csv` of an evaluation of volumes, those that count, with volumes.
    """
    ordered = sorted(rows, key=lambda row: row["true_ml"])
    true = np.array([row["true_ml"] for row in ordered])
    low, high = (np.array([row[n] for row in ordered]) for n in ("low_ml", "high_ml"))
    held = np.array([row["covered"] for row in ordered])
    places = np.arange(true.size)
    with house_style():
        figure = drawing(WIDTH, 2.9)
        axes = figure.subplots()
        top = 1.1 * max(true.max(), high[np.isfinite(high)].max(initial=0.0)) or 1.0
        low = np.where(np.isfinite(low), low, 0.0)
        high = np.where(np.isfinite(high), high, top)  # open ends reach the edge
        for part, colour, label in (
            (held, BLUE, "interval that holds it"),
            (~held, ORANGE, "interval that does not"),
        ):
            if part.any():
                ends = (low[part], high[part])
                axes.vlines(places[part], *ends, color=colour, lw=1.6, label=label)
        axes.plot(places, true, "_", color=INK, ms=5, label="reference")
        axes.set(xlabel="cases, by volume of the reference", ylabel="mL", ylim=(0, top))
        axes.set_xticks([])
        figure.legend(loc="outside lower center", ncols=3)
        title = "Intervals of volumes"
        text = f"{int(held.sum())} of {held.size} intervals hold the reference."
        svg = svg_of(figure, name, title, text)
    return Figure(svg, f"{title}. {text}")


def release_figure(name: str, release: Release) -> Figure:
    """Mean loss against the share that goes out, with the level and what was chosen."""
    with house_style():
        figure = drawing(WIDTH, 2.7)
        axes = figure.subplots()
        share = [0.0, *(point.share for point in release.curve)]
        risk = [0.0, *(point.risk for point in release.curve)]
        axes.plot(share, risk, color=BLUE, label="most confident first")
        axes.axhline(
            release.level, color=GREY, ls=":", label=f"level {release.level:g}"
        )
        chosen = (release.share_released, release.realised)
        axes.plot(*chosen, "o", color=ORANGE, ms=8, label="released", clip_on=False)
        axes.set(xlabel="share that goes out", ylabel="mean loss over all cases")
        axes.set(xlim=(0, 1), ylim=(0, None))
        figure.legend(loc="outside lower center", ncols=3)
        title = "Loss against the share that goes out"
        text = (
            f"{percent(release.share_released)} go out at a mean loss of "
            f"{release.realised:.4g}; the level is {release.level:g}. The curve is a "
            "description of these cases."
        )
        svg = svg_of(figure, name, title, text)
    return Figure(svg, f"{title}. {text}")
