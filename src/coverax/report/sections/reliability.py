"""Whether probabilities mean what they say: errors, diagrams, before and after."""

from collections.abc import Iterator, Sequence

from coverax.reliability import (
    ClassResult,
    Difference,
    GroupResult,
    Measured,
    RegionBins,
    ReliabilitySummary,
    TopLabel,
    summarise,
)
from coverax.report.blocks import (
    Block,
    Figure,
    Heading,
    Section,
    Table,
    Text,
    number,
)
from coverax.report.found import Found
from coverax.report.reliability import histogram_figure, reliability_figure
from coverax.report.style import house_style, svg_of
from coverax.shown import plural

_MEASURES = (
    ("ECE", "pooled", "ece"),
    ("ACE", "pooled", "ace"),
    ("MCE", "pooled", "mce"),
    ("Brier", "pooled", "brier"),
    ("NLL", "pooled", "nll"),
    ("macro ECE", "macro", "ece"),
)


def reliability(found: Found) -> Section | None:
    """A table and both figures of each cohort, in the order of the folders."""
    blocks: list[Block] = []
    items = found.reliabilities
    if len(items) > 1:
        blocks.append(
            Text(
                "Before and after, in the order of the folders: "
                + ", then ".join(item.name for item in items)
                + ".",
                "lead",
            )
        )
    for k, item in enumerate(items):
        if len(items) > 1:
            blocks.append(Heading(item.name))
        blocks.extend(_measured(item.content))
        regions = _bins_of(found, item.content)
        if regions is None:
            why = "the score table that it was made of is not among the folders"
            blocks.append(Text(f"No diagram of {item.name}: {why}.", "note"))
        else:
            blocks.extend(_figures(f"rel{k}", regions))
    blocks.extend(_temperatures(found))
    title = "Do probabilities mean what they say?"
    return Section("reliability", title, blocks) if blocks else None


def _bins_of(
    found: Found, summary: ReliabilitySummary
) -> tuple[RegionBins, ...] | None:
    """The bins that a summary was made of; None where no table has its numbers.

    Of one cohort there may be a table before and one after a temperature.
    """
    for item in found.tables:
        table = item.content
        same = table.cases_digest == summary.cases_digest
        if not same or table.definition.n_bins != summary.n_bins:
            continue
        again = summarise(
            table, absent=summary.absent, leave_out=summary.left_out, n_draws=0
        )
        pooled = [region.pooled for region in again.summary.regions]
        if pooled == [region.pooled for region in summary.regions]:
            return again.regions
    return None


def _measured(summary: ReliabilitySummary) -> Iterator[Block]:
    rows = [row for result in summary.regions for row in _rows(result.region, result)]
    if len(summary.regions) > 1:
        rows += _rows("mean of regions", summary.mean_over_regions)
    if summary.top_label is not None:
        rows += _rows("top label", summary.top_label)
    head = ("Region", *(name for name, _, _ in _MEASURES))
    yield Table("Calibration errors, pooled over voxels unless macro", head, rows)
    text = f"{summary.n_bins} bins."
    if summary.n_draws:
        text += (
            f" In brackets: {summary.level:.0%} intervals over units, from "
            f"{summary.n_draws} draws. A pooled MCE has no lower end."
        )
    yield Text(text, "note")
    for result in summary.regions:
        if result.groups:
            grouped = [r for n, g in result.groups.items() for r in _rows(n, g)]
            yield Table(f"{result.region} by group", ("Group", *head[1:]), grouped)
    yield from _against(summary)


def _rows(
    name: str, found: ClassResult | Measured | TopLabel | GroupResult
) -> Iterator[list[str]]:
    cells: list[str] = []
    for _, kind, measure in _MEASURES:
        value = getattr(found, kind).get(measure)
        ends = (getattr(found, f"{kind}_interval") or {}).get(measure)
        cells.append(number(value) + ("" if not ends else f" [{_ends(ends)}]"))
    yield [name, *cells]


def _ends(ends: Sequence[float | None]) -> str:
    low, high = ends
    return f"{'up' if low is None else number(low)} to {number(high)}"


def _against(summary: ReliabilitySummary) -> Iterator[Block]:
    """A second model on the same cases."""
    if summary.against is None:
        return
    rows = [
        [region, measure.upper(), *_differs(found)]
        for region, measures in summary.against.found.regions.items()
        for measure, found in measures.items()
        if measure in ("ece", "ace", "mce", "brier", "nll")
    ]
    head = ("Region", "Measure", "This", "Other", "Other less this")
    yield Table(f"Against {summary.against.table}, same cases", head, rows)


def _differs(found: Difference) -> list[str]:
    text = number(found.difference)
    if found.interval:
        text += f" [{_ends(found.interval)}]"
    return [number(found.first), number(found.second), text]


def _figures(name: str, regions: Sequence[RegionBins]) -> Iterator[Figure]:
    for what, draw, title, text in (
        (
            "diagram",
            reliability_figure,
            "Reliability diagram",
            "Observed frequency of each bin of probabilities, all voxels together; "
            "below, the voxels of each bin.",
        ),
        (
            "histogram",
            histogram_figure,
            "Dataset reliability histogram",
            "Observed frequency case by case: the shade is the share of cases of a "
            "column, the line their mean; below, the cases of each bin.",
        ),
    ):
        with house_style():
            svg = svg_of(draw(regions), f"{name}-{what}", title, text)
        yield Figure(svg, f"{title}. {text}")


def _temperatures(found: Found) -> Iterator[Table]:
    for item in found.temperatures:
        rows = [
            [
                name,
                number(item.content.temperatures.get(name)),
                number(fit.nll_before),
                number(fit.nll_after),
                fit.sentence,
            ]
            for name, fit in item.content.fits.items()
        ]
        head = ("Of", "Temperature", "NLL before", "NLL after", "")
        title = (
            f"Temperature {item.name}, fitted on {plural(item.content.n_cases, 'case')}"
        )
        yield Table(title, head, rows)
