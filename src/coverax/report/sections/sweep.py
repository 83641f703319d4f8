"""Error rates and volumes at other levels and tolerances, with sliders."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from coverax.report.blocks import (
    Block,
    Figure,
    Heading,
    Section,
    Sliders,
    Text,
    number,
    percent,
)
from coverax.report.found import Found
from coverax.report.plots import WIDTH, drawing
from coverax.report.settings import Ends, Setting, Settings, settings_of
from coverax.report.style import GREY, LINES, ORANGE, house_style, svg_of

_PANELS = (
    ("ecr", "cases that comply (ECR)"),
    ("fnr", "FNR, mean"),
    ("pc", "share of voxels (PC)"),
    ("volume_ml", "volume, mean mL"),
)
_OUTPUTS = (
    "Threshold",
    "Cases that comply (ECR)",
    "The law expects",
    "95% of the law",
    "FNR, mean",
    "Predicted share of voxels (PC)",
    "Volume, mean",
)


def sweep(found: Found) -> Section | None:
    """Sliders of each calibration whose settings can be worked out."""
    blocks: list[Block] = []
    for c, item in enumerate(found.calibrations):
        every, why = settings_of(found, item.content)
        if why:
            blocks.append(Text(f"{item.name}: not shown, {why}.", "note"))
        for r, settings in enumerate(every):
            if len(every) > 1 or len(found.calibrations) > 1:
                blocks.append(Heading(f"{item.name}: {settings.region}"))
            blocks.append(Text(f"Shown: {settings.source}."))
            blocks.append(_sliders(f"sweep{c}-{r}", settings))
    if not any(isinstance(block, Sliders) for block in blocks):
        return None
    blocks.append(
        Text(
            "A promise holds for the level and tolerance that were fixed before looking. "
            "What the sliders show of others is for planning a new study, not for "
            "choosing in this one.",
            "warning",
        )
    )
    return Section("sweep", "What would other levels have given?", blocks)


def _sliders(name: str, settings: Settings) -> Sliders:
    figure, moves = _figure(name, settings)
    start_alpha, start_tolerance = settings.chosen
    return Sliders(
        name=name,
        figure=figure,
        sliders=(
            ("alpha", [f"{a:g}" for a in settings.alphas], start_alpha),
            ("tolerance", [f"{t:g}" for t in settings.tolerances], start_tolerance),
        ),
        outputs=_OUTPUTS,
        values={f"{i},{k}": _texts(at) for (i, k), at in settings.at.items()},
        moves=moves,
    )


def _texts(at: Setting) -> list[str]:
    measures = at.measures
    cut = "one a split" if at.cut is None else f"p ≥ {at.cut:.4g}"
    if at.is_whole:
        cut = "none: nothing can be promised, the mask is the whole volume"
    elif at.cut is not None and not np.isfinite(at.cut):
        cut = "nothing is marked" if at.cut > 0 else "everything is marked"
    band = "no exact law"
    if at.band is not None:
        low, high = at.band
        ties = f"at least {percent(low)} (scores tie)"
        band = ties if high is None else f"{percent(low)} to {percent(high)}"
    return [
        cut,
        percent(at.ecr),
        "no exact law" if at.expected is None else percent(at.expected),
        band,
        _between(measures["fnr"], lambda v: f"{v:.3f}"),
        _between(measures["pc"], lambda v: f"{v:.2%}"),
        _between(measures["volume_ml"], lambda v: f"{number(v)} mL"),
    ]


def _between(ends: Ends, show: Any) -> str:
    if ends.low is None:
        return "not known"
    texts = list(dict.fromkeys(map(show, ends)))
    return " to ".join(texts)


def _figure(name: str, settings: Settings) -> tuple[Figure, list[float]]:
    """Four measures against alpha, one line a tolerance, and a mark that moves."""
    alphas = np.array(settings.alphas)
    start = alphas[settings.chosen[0]]
    with house_style():
        figure = drawing(WIDTH, 4.4)
        panels = figure.subplots(2, 2, sharex=True).ravel()
        for axes, (measure, label) in zip(panels, _PANELS, strict=True):
            for k, tolerance in enumerate(settings.tolerances):
                _lines(
                    axes, alphas, _values(settings, measure, k), measure, k, tolerance
                )
            _fixed(axes, settings, measure)
            axes.axvline(start, color=ORANGE, lw=1.2, gid=f"mark-{measure}")
            axes.set_title(label, loc="left", fontsize=9)
            if measure in ("pc", "volume_ml"):
                _plain_log(axes)
        panels[0].plot(alphas, 1 - alphas, color=GREY, lw=1, label="1 - alpha")
        for axes in panels[2:]:
            axes.set_xlabel("alpha")
        legend = figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2
        )
        for k, handle in enumerate(legend.legend_handles):
            if handle is not None:
                handle.set_gid(f"line{k}-legend")
        title = "Measures against alpha, one line a tolerance"
        text = f"{settings.source.capitalize()}. Vertical line: the chosen alpha."
        if settings.fixed:
            text += (
                " Dotted, grey: the fixed cut 0.5. Shaded: between the cuts of the grid "
                "on both sides of a threshold."
            )
        svg = svg_of(figure, name, title, text)
    # In points, of which an SVG is made; the figure was laid out when it was saved.
    places = panels[0].transData.transform(np.stack([alphas, 0 * alphas], 1))[:, 0]
    moves = (places - places[settings.chosen[0]]) * 72 / figure.dpi
    return Figure(svg, f"{title}. {text}"), [round(float(move), 2) for move in moves]


def _values(settings: Settings, measure: str, k: int) -> tuple[list[Any], list[Any]]:
    """Lower and upper ends of a measure at every level, NaN where unknown."""
    every = [settings.at[i, k] for i in range(len(settings.alphas))]
    if measure == "ecr":
        return [at.ecr for at in every], [at.ecr for at in every]
    ends = [at.measures[measure] for at in every]
    unknown = [
        (np.nan, np.nan) if e.low is None or at.is_whole else tuple(e)
        for e, at in zip(ends, every, strict=True)
    ]
    return [low for low, _ in unknown], [high for _, high in unknown]


def _lines(
    axes: Any,
    alphas: np.ndarray,
    values: tuple[Sequence[float], Sequence[float]],
    measure: str,
    k: int,
    tolerance: float,
) -> None:
    colour, dash = LINES[k % len(LINES)]
    low, high = map(np.array, values)
    label = f"tolerance {tolerance:g}"
    middle = (low + high) / 2
    gid = f"line{k}-{measure}"
    axes.fill_between(alphas, low, high, color=colour, alpha=0.25, lw=0)
    axes.plot(alphas, middle, dash, color=colour, label=label, lw=1.6, gid=gid)


def _plain_log(axes: Any) -> None:
    """A logarithmic axis whose ticks are plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    drawn = np.concatenate([np.asarray(line.get_ydata()) for line in axes.lines[:-1]])
    if not (drawn > 0).any():  # nothing to show: no threshold at any level
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _fixed(axes: Any, settings: Settings, measure: str) -> None:
    """What the fixed cut gives, whatever alpha is."""
    if measure in settings.fixed and settings.fixed[measure].low is not None:
        axes.axhline(settings.fixed[measure].low, color=GREY, ls=":", lw=1.4)
    if measure == "ecr":
        for share in settings.fixed_ecr:
            axes.axhline(share, color=GREY, ls=":", lw=1)
