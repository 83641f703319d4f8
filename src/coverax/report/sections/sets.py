"""Inner and outer sets: coverage and law, margins, sizes, the shell between them."""

from collections.abc import Iterator

from coverax.calibrate import Calibration
from coverax.evaluate import FoldSetsResult, SetsResult, band_words
from coverax.report.blocks import (
    NONE,
    Block,
    Heading,
    Section,
    Table,
    Text,
    number,
    percent,
)
from coverax.report.found import Found
from coverax.report.plots import fcr_figure
from coverax.report.sections.happened import where
from coverax.report.sections.promise import side_words
from coverax.shown import plural
from coverax.table import parse_transform

_ROOTS = {2: "square root", 3: "cube root"}


def sets(found: Found) -> Section | None:
    """One part a region of an evaluation of sets."""
    blocks: list[Block] = []
    for e, item in enumerate(found.evaluations):
        own = found.calibration(item.content.calibration_digest)
        for r, result in enumerate(item.content.results):
            if isinstance(result, SetsResult | FoldSetsResult):
                blocks.append(Heading(f"{where(result)}, {item.name}"))
                blocks.append(_table(result, own))
                blocks.append(_shell(result))
            if isinstance(result, SetsResult) and result.fcr:
                blocks.append(fcr_figure(f"fcr{e}-{r}", result))
    return Section("sets", "Inner and outer sets", blocks) if blocks else None


def _table(
    result: SetsResult | FoldSetsResult, calibration: Calibration | None
) -> Table:
    sides = (result.inner, result.outer)
    head = ("", *(f"{s.sizes.side} ({s.transform})" for s in sides), "both")
    shares = [percent(s.coverage) for s in (*sides, result.joint)]
    root = _ROOTS.get(result.n_axes or 0, "root by the number of axes")
    rows = [["Covered cases", *shares], *_laws(result), *_margins(result, calibration)]
    for label, name in (
        ("Volume ratio, mean", "volume_ratio"),
        (f"Size ratio ({root} of the volume ratio), mean", "size_ratio"),
        ("Volume, mean mL", "ml"),
        ("Wrong voxels, mean", "wrong_voxels"),
        ("Wrong volume, mean mL", "wrong_ml"),
    ):
        rows.append([label, *(number(getattr(s.sizes, name)) for s in sides), NONE])
    return Table(f"Sets of {result.region}, rule {result.rule}", head, rows)


def _laws(result: SetsResult | FoldSetsResult) -> Iterator[list[str]]:
    if isinstance(result, SetsResult):
        each = (result.inner, result.outer, result.joint)
        yield ["Expected by the law", *(percent(c.expected) for c in each)]
        bands = [band_words(c.band[0] if c.band else None) for c in each]
        yield ["95% of the law", *bands]
        return
    each = (result.inner, result.outer, result.joint)
    yield ["Promised, at least", *(percent(c.promised) for c in each)]
    yield ["True share, 95%", *(band_words(c.observed_band) for c in each)]


def _margins(
    result: SetsResult | FoldSetsResult, calibration: Calibration | None
) -> Iterator[list[str]]:
    """Where each set ends."""
    if not isinstance(result, SetsResult):
        return
    cells = [
        "none"
        if side.threshold is None
        else side_words(
            parse_transform(f"{side.sizes.side}={side.transform}"), side.threshold
        )
        for side in (result.inner, result.outer)
    ]
    yield ["Threshold", *cells, NONE]
    if calibration is not None and calibration.parts.refused:
        yield ["Refused", *(p.where for p in calibration.parts.refused[:2]), NONE]


def _shell(result: SetsResult | FoldSetsResult) -> Text:
    shell = number(result.uncertain_ml, "mL")
    text = f"The uncertain shell between the sets has {shell} a case on average."
    n = getattr(result, "n_contradictory", 0)
    if n:
        text += f" In {plural(n, 'case')} the inner set is larger than the outer one."
    return Text(text)
