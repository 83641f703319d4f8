"""Lesions found against false ones, at every cut."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from coverax.calibrate import Froc, FrocCurve, froc_at, froc_of_table
from coverax.calibrate.froc import RATES
from coverax.files import sound, without_apostrophe
from coverax.report.blocks import (
    Block,
    Figure,
    Heading,
    Section,
    Table,
    Text,
    number,
    percent,
)
from coverax.report.found import Found
from coverax.report.froc import curves_of_rows, draw_froc, froc_words
from coverax.report.plots import WIDTH, drawing
from coverax.report.style import house_style, svg_of


class _Source(NamedTuple):
    """A file that says something of lesions: what was read, and the curves."""

    name: str
    froc: Sequence[Froc]
    curves: dict[str, FrocCurve]


def lesions(found: Found) -> Section | None:
    """A table and a curve of each region; of the same scans once."""
    blocks: list[Block] = []
    seen: list[Sequence[Froc]] = []
    for s, source in enumerate(_sources(found)):
        if source.froc in seen:
            continue
        seen.append(source.froc)
        blocks.append(Heading(source.name))
        for r, own in enumerate(source.froc):
            blocks.append(_table(own))
            if own.n_lesions:
                blocks.append(_figure(f"froc{s}-{r}", own, source.curves[own.region]))
    if not blocks:
        return None
    blocks.append(
        Text(
            "All scans count, those without a lesion too. A lesion is found where a mask "
            "touches it; a false one is a component of the mask that touches no "
            "reference. At low cuts components merge, and one that covers a scan finds all "
            "of its lesions and is not false: the curve turns back there, and the cut of a "
            "rate is to be read beside it. This describes the scans that were scored: no cut "
            "was promised here, and choosing one by this curve needs other scans.",
            "note",
        )
    )
    return Section(
        "lesions", "How many lesions are found, and how many false ones?", blocks
    )


def _sources(found: Found) -> Iterator[_Source]:
    """Evaluations and validations that have it, and tables that keep the events."""
    for item in (*found.evaluations, *found.validations):
        if item.content.froc:
            rows = _read(item.path.with_name("froc.csv"))
            froc = list(item.content.froc)
            yield _Source(item.name, froc, curves_of_rows(rows, froc))
    for item in found.tables:
        curves, _ = froc_of_table(item.content)
        if curves:
            froc = [froc_at(region, curve) for region, curve in curves.items()]
            yield _Source(item.name, froc, curves)


def _read(path: Path) -> list[dict[str, str]]:
    """Rows of `froc.csv`; where it is damaged, its record was refused before."""
    with sound(path, "FROC"), path.open(newline="", encoding="utf-8") as file:
        return [
            row | {"region": without_apostrophe(row["region"])}
            for row in csv.DictReader(file)
        ]


def _table(found: Froc) -> Table:
    rates = {float(rate): str(rate) for rate in RATES}
    rows = [
        [
            rates.get(point.at_most, number(point.at_most)),
            percent(point.sensitivity),
            number(point.false_per_scan),
            "nothing is marked" if point.cut is None else f"p ≥ {number(point.cut)}",
        ]
        for point in found.at
    ]
    head = ("False lesions a scan, at most", "Found", "False, a scan", "At")
    return Table(f"{found.region}: {froc_words(found)}", head, rows)


def _figure(name: str, found: Froc, curve: FrocCurve) -> Figure:
    with house_style():
        figure = drawing(WIDTH, 2.9)
        axes = figure.subplots()
        draw_froc(axes, curve, found)
        figure.legend(loc="outside lower center", ncols=2)
        title = f"FROC of {found.region}"
        text = f"{froc_words(found)}."
        svg = svg_of(figure, name, title, text)
    return Figure(svg, f"{title}. {text}")
