"""Groups and regions: where results differ, and where failures gather."""

from collections.abc import Iterator

from coverax.evaluate import CutResult, FoldCutResult, RegionResult, band_words
from coverax.evaluate.other_results import IntervalResult, ReleaseResult
from coverax.report.blocks import NONE, Block, Heading, Section, Table, Text, percent
from coverax.report.found import Found
from coverax.report.plots import audit_figure
from coverax.report.sections.happened import where


def groups(found: Found) -> Section | None:
    """Regions and groups side by side, their audits, and groups held out in turn."""
    blocks: list[Block] = []
    for e, item in enumerate(found.evaluations):
        results = item.content.results
        if len(results) > 1:
            head = ("Region", "Group", "Cases", "Served", "Law, 95%")
            rows = [_row(result) for result in results]
            blocks.append(Table(f"Regions and groups of {item.name}", head, rows))
        for r, result in enumerate(results):
            if result.audit is not None:
                blocks.append(Heading(f"{where(result)}, {item.name}"))
                blocks.append(audit_figure(f"audit{e}-{r}", result.audit))
    blocks.extend(_held_out(found))
    return Section("groups", "Groups and regions", blocks) if blocks else None


def _row(result: RegionResult) -> list[str]:
    share, band = _served(result)
    group = result.group or "all"
    return [result.region, group, f"{result.n_counted:,}", percent(share), band]


def _served(result: RegionResult) -> tuple[float | None, str]:
    """Share of the cases that are served, and its band."""
    if isinstance(result, CutResult):
        first = result.ecr_band[0] if result.ecr_band else None
        return result.calibrated.ecr, band_words(first)
    if isinstance(result, FoldCutResult):
        return result.calibrated.ecr, band_words(result.observed_band)
    if isinstance(result, ReleaseResult):
        return result.release.share_released, NONE
    found = result.interval if isinstance(result, IntervalResult) else result.joint
    band = getattr(found, "band", None)
    return found.coverage, band_words(band[0] if band else None)


def _held_out(found: Found) -> Iterator[Block]:
    """Groups that were left out of calibration in turn."""
    for item in found.validations:
        rows = [
            [
                f"{result.region}, {result.of_what}",
                row.group,
                f"{row.alpha:g}",
                percent(row.coverage),
                band_words(row.band),
                "inside" if row.in_band else "OUTSIDE",
            ]
            for result in item.content.results
            for row in result.hold_out or ()
        ]
        if rows:
            head = ("Region, tolerance", "Group", "Alpha", "Coverage", "95% band", "")
            yield Table(f"Groups held out in turn, {item.name}", head, rows)
            yield Text(item.content.evidence["hold_out"], "note")
