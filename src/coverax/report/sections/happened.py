"""What happened on new cases, against the exact law and against the fixed cut 0.5."""

from collections.abc import Iterator

from coverax.evaluate import (
    AtCut,
    Coverage,
    CutResult,
    FoldCutResult,
    FoldSetsResult,
    IntervalResult,
    RegionResult,
    SetsResult,
    all_regions_words,
    law_words,
    measure_rows,
    sentence,
)
from coverax.report.blocks import (
    Block,
    Figure,
    Heading,
    Section,
    Table,
    Text,
)
from coverax.report.found import Found
from coverax.report.plots import fnr_figure, law_figure


def happened(found: Found) -> Section | None:
    """A sentence a region, and the law with the observed count where one applies."""
    blocks: list[Block] = []
    for e, item in enumerate(found.evaluations):
        if len(found.evaluations) > 1:
            blocks.append(Heading(item.name))
        summary = item.content
        for r, result in enumerate(summary.results):
            if len(summary.results) > 1:
                blocks.append(Heading(where(result)))
            is_sets = isinstance(result, SetsResult | FoldSetsResult)
            if is_sets:
                blocks.append(Text(_both_sets(result), "lead"))
            text = sentence(result, held_out=summary.held_out)
            blocks.append(Text(text, "plain" if is_sets else "lead"))
            blocks.extend(_laws(f"law{e}-{r}", result))
        if summary.all_regions is not None:
            blocks.append(Text(all_regions_words(summary)))
    title = "What happened, against the exact law?"
    return Section("happened", title, blocks) if blocks else None


def where(result: RegionResult) -> str:
    """Region, and group where each has its own threshold."""
    return result.region + (f", group {result.group}" if result.group else "")


def _both_sets(result: SetsResult | FoldSetsResult) -> str:
    """How many cases are covered on both sides, beside the law where there is one."""
    found = result.joint
    text = f"{found.n_covered} of {result.n_counted} cases have both sets right"
    band = getattr(found, "band", None)
    if isinstance(found, Coverage) and band and found.expected is not None:
        return f"{text}; {law_words(found.law, found.expected, band)}."
    return f"{text}."


def _laws(name: str, result: RegionResult) -> Iterator[Figure]:
    """The law of each count that has one and a rank."""
    n_units, n = result.n_calibration_units, result.n_counted
    if isinstance(result, CutResult):
        n_hits = result.calibrated.n_compliant
        if result.rank and n_hits is not None and result.expected_ecr is not None:
            band = result.ecr_band[0]
            words = law_words(result.law, result.expected_ecr, [band])
            yield law_figure(
                name, n_units, result.rank, n, n_hits, band, "comply", words
            )
    elif isinstance(result, SetsResult):
        ranks = {"inner": result.inner.rank, "outer": result.outer.rank}
        # Both sides share a rank where they share a score.
        ranks["joint"] = result.inner.rank
        sides = {"inner": result.inner, "outer": result.outer, "joint": result.joint}
        for side, found in sides.items():
            yield from _coverage(
                f"{name}-{side}", n_units, ranks[side], n, found, _COVERED[side]
            )
    elif isinstance(result, IntervalResult):
        what = "lie in their interval"
        yield from _coverage(name, n_units, result.rank, n, result.interval, what)


_COVERED = {
    "inner": "hold their inner set",
    "outer": "lie in their outer set",
    "joint": "have both sets right",
}


def _coverage(
    name: str, n_units: int, rank: int | None, n: int, found: Coverage, what: str
) -> Iterator[Figure]:
    if rank and found.band and found.expected is not None:
        band, n_hits = found.band[0], found.n_covered
        words = law_words(found.law, found.expected, [band])
        yield law_figure(name, n_units, rank, n, n_hits, band, what, words)


def cuts(found: Found) -> Section | None:
    """Measures at the calibrated cut beside those at 0.5."""
    blocks: list[Block] = []
    for e, item in enumerate(found.evaluations):
        for r, result in enumerate(item.content.results):
            if isinstance(result, CutResult | FoldCutResult):
                blocks.append(_cut_table(f"{item.name}: {where(result)}", result))
                name = f"fnr{e}-{r}"
                bars = (result.fixed.fnr_histogram, result.calibrated.fnr_histogram)
                blocks.append(fnr_figure(name, *bars, result.tolerance))
    return Section("cuts", "Calibrated against 0.5", blocks) if blocks else None


def _cut_table(title: str, result: CutResult | FoldCutResult) -> Table:
    head = ("", _head(result), f"fixed, p ≥ {_cut(result.fixed)}")
    return Table(title, head, measure_rows(result))


def _head(result: CutResult | FoldCutResult) -> str:
    if isinstance(result, FoldCutResult):
        return f"calibrated, {result.votes_needed} of {len(result.folds)} folds"
    if result.score == "mass":
        return "calibrated, a cut a map by mass"
    return f"calibrated, p ≥ {_cut(result.calibrated)}"


def _cut(at: AtCut) -> str:
    cut = at.probability_threshold
    return "anything" if cut is None else f"{cut:.4g}"
