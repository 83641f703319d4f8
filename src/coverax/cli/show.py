"""Result tables on the terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from coverax.cli.terminal import can_show, results
from coverax.provenance import part_words

if TYPE_CHECKING:
    from rich.table import Table

    from coverax.calibrate import Audit, Band
    from coverax.evaluate import (
        CutResult,
        Distances,
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
    console = results()
    if not summary.held_out:
        why = f"{summary.n_units_seen_in_calibration} of {summary.n_units} units "
        why += "also calibrated or were learned from (by unit, case id or map)"
        if spent := part_words(summary.n_cases_of_spent_parts):
            why += f"; {spent}"
        console.print(f"[bold red]Not held out:[/] {why}; the band does not apply.")
    for result in summary.results:
        table, sentence = _shown(summary, result)
        console.print(table)
        console.print(sentence)
        for line in audit_lines(result.audit):
            console.print(line, markup=False)
        if result.n_empty_reference:
            console.print(f"{result.n_empty_reference} empty references.")
    if summary.all_regions is not None:
        console.print(_all_regions(summary))
    for where, why in summary.not_evaluated.items():
        console.print(f"region {where}: {why}", markup=False)
    for why, ids in summary.excluded.items():
        console.print(f"left out ({why}): {', '.join(ids)}", markup=False)
    console.print(summary.statement, style="dim", markup=False)


def _shown(summary: "Summary", result: "RegionResult") -> tuple["Table", str]:
    """The table of a region, and the sentence below it."""
    from coverax.evaluate import (
        CutResult,
        FoldCutResult,
        IntervalResult,
        ReleaseResult,
    )

    held_out = summary.held_out
    if isinstance(result, IntervalResult):
        words = _interval_covers(result, held_out=held_out)
        return _interval_table(summary, result), words
    if isinstance(result, ReleaseResult):
        return _release_table(summary, result), _release_costs(
            result, held_out=held_out
        )
    if not isinstance(result, CutResult | FoldCutResult):
        return _sets_table(summary, result), _left_to_see(result, held_out=held_out)
    words = _compliance if result.risks is None else _risks
    return _cut_table(summary, result), words(result, held_out=held_out)


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


def _compliance(result: "CutResult | FoldCutResult", *, held_out: bool) -> str:
    """How many cases comply, beside the law where it applies."""
    from coverax.evaluate import FoldCutResult

    text = f"{result.calibrated.n_compliant} of {result.n_counted} cases comply"
    if not held_out:
        return f"{text}."
    if isinstance(result, FoldCutResult):
        return (
            f"{text}; at least {result.promised:.1%} is promised, and the true share "
            f"lies in {_band(result.observed_band)} (95 %, independent units)."
        )
    if result.expected_ecr is None:
        return (
            f"{text}; with weights, whole units or merged groups no exact law applies."
        )
    return f"{text}; {_law(result.law, result.expected_ecr, result.ecr_band)}."


def _law(law: str | None, expected: float, bands: "Sequence[Band]") -> str:
    """The law in words: with ties its lower side alone."""
    band = bands[0]
    if law == "at_least":
        share = 1 - (1 - band.level) / 2
        return (
            f"scores tie, so the law says at least {expected:.1%}, and at or above "
            f"{band.low:.1%} in {share:.1%} of cohorts"
        )
    return (
        f"the exact law expects {expected:.1%}, {band.level:.0%} of it between "
        f"{band.low:.1%} and {band.high:.1%}"
    )


def _all_regions(summary: "Summary") -> str:
    """Cases of which every region is covered, where that is the promise."""
    every = summary.all_regions
    if every is None or every.found is None:
        return "All regions at once: no case counts in every region."
    found = every.found
    text = (
        f"All regions at once: {found.n_covered} of {every.n_counted} cases are "
        f"covered ({found.coverage:.1%})"
    )
    if not summary.held_out:
        return f"{text}."
    if found.expected is None or found.band is None:
        return f"{text}; at least {1 - summary.alpha:.1%} is promised."
    return f"{text}; {_law(found.law, found.expected, found.band)}."


def _risks(result: "CutResult | FoldCutResult", *, held_out: bool) -> str:
    """Mean losses beside their levels."""
    risks = [
        f"mean {risk.loss} loss {risk.mean:.4g}, level {risk.level}"
        for risk in result.risks or ()
        if risk.mean is not None
    ]
    if not risks:
        return "The loss is the user's own: its mean was not measured here."
    text = f"{'; '.join(risks)}."
    return text if held_out else f"{text} The level is not for cases already seen."


def _interval_covers(result: "IntervalResult", *, held_out: bool) -> str:
    """How many intervals hold the volume, beside the law where it applies."""
    found = result.interval
    text = f"{found.n_covered} of {result.n_counted} volumes lie in their interval"
    if not held_out or found.expected is None or not found.band:
        return f"{text}."
    return f"{text}; {_law(found.law, found.expected, found.band)}."


def _release_costs(result: "ReleaseResult", *, held_out: bool) -> str:
    """What goes out and what it costs, beside the level."""
    found = result.release
    text = (
        f"{found.n_released} of {result.n_counted} masks go out; the mean loss over "
        f"all cases of what goes out is {found.realised:.4g}, level {found.level}."
    )
    return text if held_out else f"{text} The level is not for cases already seen."


def _release_table(summary: "Summary", result: "ReleaseResult") -> "Table":
    rows = [
        ("released", result.release.share_released, "{:.1%}"),
        ("loss of what goes out, over all cases", result.release.realised, "{:.4f}"),
        ("loss among the released", result.release.loss_of_released, "{:.4f}"),
        ("loss if all went out", result.release.loss_of_all, "{:.4f}"),
    ]
    if (floor := result.floor) is not None:
        rows += [
            ("cases at or above their floor of Dice", floor.coverage, "{:.1%}"),
            ("floor of Dice, median", floor.floor_median, "{:.3f}"),
            ("Dice, median", floor.dice_median, "{:.3f}"),
        ]
    return _one_column(summary, result, "", rows)


def _interval_table(summary: "Summary", result: "IntervalResult") -> "Table":
    found = result.interval
    rows = [
        ("intervals that hold the volume", found.coverage, "{:.1%}"),
        ("reference, mean mL", found.true_ml, "{:.3g}"),
        ("estimate, mean mL", found.volume_ml, "{:.3g}"),
        ("width, mean mL", found.width_ml, "{:.3g}"),
        ("width, median mL", found.width_ml_median, "{:.3g}"),
        ("width, median share of the estimate", found.width_share_median, "{:.1%}"),
    ]
    return _one_column(summary, result, "volume", rows)


def _one_column(
    summary: "Summary",
    result: "IntervalResult | ReleaseResult",
    name: str,
    rows: "Sequence[tuple[str, float | None, str]]",
) -> "Table":
    from rich.table import Table

    where = " ".join(filter(None, [result.region, result.group]))
    table = Table(title=f"{where}, alpha {summary.alpha}", title_justify="left")
    table.add_column("")
    table.add_column(name, justify="right")
    for label, value, form in rows:
        table.add_row(label, "-" if value is None else form.format(value))
    return table


def _left_to_see(result: "SetsResult | FoldSetsResult", *, held_out: bool) -> str:
    """What lies between the sets, and whether the table's law applies."""
    ml = result.uncertain_ml
    text = f"Left to look at between the sets: {ml:.3g} mL a case."
    return text if held_out else f"{text} The law is not that of cases already seen."


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
    from coverax.evaluate import SetsResult

    if isinstance(result, SetsResult):
        each = (result.inner, result.outer, result.joint)
        return [
            ["exact law, 95 %", *[_band(c.band[0] if c.band else None) for c in each]]
        ]
    columns = (result.inner, result.outer, result.joint)
    shares = [c.promised for c in columns]
    promised = ["-" if share is None else f">= {share:.1%}" for share in shares]
    return [
        ["promised", *promised],
        ["true share, 95 %", *[_band(c.observed_band) for c in columns]],
    ]


def _band(band: "Band | None") -> str:
    """A band; where scores tie its lower side."""
    if band is None:
        return "-"
    if band.high is None:
        return f">= {band.low:.1%} (ties)"
    return f"{band.low:.1%} to {band.high:.1%}"


def _cut_table(summary: "Summary", result: "CutResult | FoldCutResult") -> "Table":
    from rich.table import Table

    tolerance = result.tolerance
    where = " ".join(filter(None, [result.region, result.group]))
    table = Table(title=f"{where}, alpha {summary.alpha}", title_justify="left")
    table.add_column("")
    cuts = {"calibrated": result.calibrated, "fixed": result.fixed}
    for name, at in cuts.items():
        cut = at.probability_threshold
        text = "everything" if cut is None else f"{cut:.4g}"
        table.add_column(f"{name}\n{_cut_words(result, name, text)}", justify="right")
    rows = [
        ("FNR, mean", "fnr_mean", "{:.3f}"),
        ("FNR, sd", "fnr_sd", "{:.3f}"),
        ("missed cases (P-FNR)", "p_fnr", "{:.1%}"),
        ("FPR, mean", "fpr", "{:.2%}"),
        ("predicted share of voxels (PC)", "pc", "{:.2%}"),
        ("Dice, mean", "dice", "{:.3f}"),
        ("precision, mean", "precision", "{:.3f}"),
        ("IoU, mean", "iou", "{:.3f}"),
        ("volume, mean mL", "volume_ml", "{:.3g}"),
    ]
    if tolerance is not None:  # a mean loss has no compliance of one case
        rows.insert(0, (f"cases with FNR <= {tolerance} (ECR)", "ecr", "{:.1%}"))
    if result.calibrated.lesion_detection is not None:
        rows += [
            ("lesions detected, mean share", "lesion_detection", "{:.1%}"),
            ("false lesions, mean number", "n_false_lesions", "{:.2f}"),
            ("lesions, mean F1", "lesion_f1", "{:.3f}"),
        ]
    if result.calibrated.nsd is not None:
        rows.append(("surface within the tolerance (NSD)", "nsd", "{:.1%}"))
    for label, field, form in rows:
        values = [getattr(at, field) for at in cuts.values()]
        table.add_row(label, *["-" if v is None else form.format(v) for v in values])
    if result.calibrated.hd95_mm is not None:
        each = [_distances(at.hd95_mm) for at in cuts.values()]
        table.add_row("HD95, median mm (missed cases)", *each)
    bars = [_bars(at.fnr_histogram.counts) for at in cuts.values()]
    table.add_row("FNR of cases, 0 to 1", *bars)
    return table


def _distances(found: "Distances | None") -> str:
    """Median of all cases; what is missed is infinitely far."""
    if found is None:
        return "-"
    median = "inf" if found.median is None else f"{found.median:.2f}"
    return f"{median} ({found.n_infinite})"


def _cut_words(result: "CutResult | FoldCutResult", name: str, cut: str) -> str:
    """What a mask is: a cut of the map, or of the maps of folds."""
    from coverax.evaluate import CutResult

    if isinstance(result, CutResult):
        return f"p >= {cut}"
    if name == "fixed":
        return f"mean p >= {cut}"
    return f"{result.votes_needed} of {len(result.folds)} folds"


def _bars(counts: Sequence[int]) -> str:
    top = max(counts) or 1
    signs = _BLOCKS if can_show(_BLOCKS) else _DIGITS
    return "".join(signs[-(-c * (len(signs) - 1) // top)] for c in counts)
