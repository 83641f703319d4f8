"""Result tables on the terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from coverax.cli.terminal import can_show, results

if TYPE_CHECKING:
    from rich.table import Table

    from coverax.calibrate import Audit, Froc
    from coverax.evaluate import (
        CutResult,
        FoldCutResult,
        FoldSetsResult,
        IntervalResult,
        RegionResult,
        ReleaseResult,
        SetsResult,
        Summary,
    )

_BLOCKS = "·▁▂▃▄▅▆▇█"
_DIGITS = ".12345678"  # the same heights where a terminal has no blocks


def show_evaluation(summary: "Summary") -> None:
    """Print one table a region: the calibrated cut beside the fixed one."""
    from coverax.evaluate import all_regions_words, sentence, why_not_held_out

    console = results()
    if why := why_not_held_out(summary):
        console.print(f"[bold red]Not held out:[/] {why}")
    for result in summary.results:
        console.print(_table_of(summary, result))
        console.print(sentence(result, held_out=summary.held_out))
        for line in audit_lines(result.audit):
            console.print(line, markup=False)
        if result.n_empty_reference:
            console.print(f"{result.n_empty_reference} empty references.")
    for line in map(froc_line, summary.froc or ()):
        console.print(line, markup=False)
    if summary.all_regions is not None:
        console.print(all_regions_words(summary))
    for where, why in summary.not_evaluated.items():
        console.print(f"region {where}: {why}", markup=False)
    for why, ids in summary.excluded.items():
        console.print(f"left out ({why}): {', '.join(ids)}", markup=False)
    console.print(summary.statement, style="dim", markup=False)


def _table_of(summary: "Summary", result: "RegionResult") -> "Table":
    """The table of a region."""
    from coverax.evaluate import (
        CutResult,
        FoldCutResult,
        IntervalResult,
        ReleaseResult,
    )

    if isinstance(result, IntervalResult):
        return _one_column(summary, result, "volume")
    if isinstance(result, ReleaseResult):
        return _one_column(summary, result, "")
    if isinstance(result, CutResult | FoldCutResult):
        return _cut_table(summary, result)
    return _sets_table(summary, result)


def froc_line(froc: "Froc") -> str:
    """Lesions found where false ones are few, in a line."""
    scans = f"{froc.n_lesions} lesions of {froc.n_scans} scans"
    if froc.mean_sensitivity is None:
        return f"FROC of {froc.region}, {scans}: no lesion to find."
    found = ", ".join(f"{p.sensitivity:.2f} at {p.at_most:g}" for p in froc.at)
    return (
        f"FROC of {froc.region}, {scans}, share found at false lesions a scan: {found}; "
        f"mean {froc.mean_sensitivity:.3f}."
    )


def audit_lines(audit: "Audit | None") -> list[str]:
    """Where failures gather: one line each thing that cases are sorted by."""
    if audit is None:
        return []
    by: dict[str, list[str]] = {}
    for part in audit.parts:
        band = f"{part.low:.0%} to {part.high:.0%}"
        text = f"{part.part} {part.share:.0%} ({band}, n {part.n})"
        by.setdefault(part.by, []).append(text)
    return [
        f"By {name}, {audit.meaning}: {', '.join(texts)}." for name, texts in by.items()
    ]


def _one_column(
    summary: "Summary", result: "IntervalResult | ReleaseResult", name: str
) -> "Table":
    from rich.table import Table

    from coverax.evaluate import measure_rows

    where = " ".join(filter(None, [result.region, result.group]))
    table = Table(title=f"{where}, alpha {summary.alpha}", title_justify="left")
    table.add_column("")
    table.add_column(name, justify="right")
    for row in measure_rows(result):
        table.add_row(*row)
    return table


def _sets_table(summary: "Summary", result: "SetsResult | FoldSetsResult") -> "Table":
    from rich.table import Table

    table = Table(
        title=f"{result.region}, alpha {summary.alpha}, rule {result.rule}",
        title_justify="left",
    )
    sides = (result.inner, result.outer)
    table.add_column("")
    for side in sides:
        table.add_column(f"{side.sizes.side}\n{side.transform}", justify="right")
    table.add_column("both", justify="right")
    shares = [side.coverage for side in (*sides, result.joint)]
    table.add_row("covered cases", *[f"{share:.1%}" for share in shares])
    for row in _promises(result):
        table.add_row(*row)
    root = {2: "square root", 3: "cube root"}.get(result.n_axes or 0, "root by axes")
    labels = (
        (f"size ratio ({root})", "size_ratio"),
        ("volume ratio", "volume_ratio"),
        ("volume, mean mL", "ml"),
    )
    for label, name in labels:
        values = [getattr(side.sizes, name) for side in sides]
        cells = ["-" if v is None else f"{v:.3g}" for v in values]
        table.add_row(label, *cells, "-")
    return table


def _promises(result: "SetsResult | FoldSetsResult") -> list[list[str]]:
    """Rows of what coverage should be, on both sides and jointly."""
    from coverax.evaluate import SetsResult, band_words

    if isinstance(result, SetsResult):
        each = (result.inner, result.outer, result.joint)
        return [
            [
                "exact law, 95 %",
                *[band_words(c.band[0] if c.band else None) for c in each],
            ]
        ]
    columns = (result.inner, result.outer, result.joint)
    shares = [c.promised for c in columns]
    promised = ["-" if share is None else f">= {share:.1%}" for share in shares]
    return [
        ["promised", *promised],
        ["true share, 95 %", *[band_words(c.observed_band) for c in columns]],
    ]


def _cut_table(summary: "Summary", result: "CutResult | FoldCutResult") -> "Table":
    from rich.table import Table

    from coverax.evaluate import measure_rows

    where = " ".join(filter(None, [result.region, result.group]))
    table = Table(title=f"{where}, alpha {summary.alpha}", title_justify="left")
    table.add_column("")
    cuts = {"calibrated": result.calibrated, "fixed": result.fixed}
    for name, at in cuts.items():
        cut = at.probability_threshold
        text = "everything" if cut is None else f"{cut:.4g}"
        table.add_column(f"{name}\n{_cut_words(result, name, text)}", justify="right")
    for row in measure_rows(result):
        table.add_row(*row)
    bars = [_bars(at.fnr_histogram.counts) for at in cuts.values()]
    table.add_row("FNR of cases, 0 to 1", *bars)
    return table


def _cut_words(result: "CutResult | FoldCutResult", name: str, cut: str) -> str:
    """What a mask is: a cut of the map, or of the maps of folds."""
    from coverax.evaluate import CutResult

    if isinstance(result, CutResult):
        own = result.score == "mass" and name != "fixed"
        return "a cut a map, by mass" if own else f"p >= {cut}"
    if name == "fixed":
        return f"mean p >= {cut}"
    return f"{result.votes_needed} of {len(result.folds)} folds"


def _bars(counts: Sequence[int]) -> str:
    top = max(counts) or 1
    signs = _BLOCKS if can_show(_BLOCKS) else _DIGITS
    return "".join(signs[-(-c * (len(signs) - 1) // top)] for c in counts)
