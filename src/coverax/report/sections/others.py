"""Volumes, masks that go out unread, all splits of a table, and the monitor."""

import math
from collections.abc import Iterator

from coverax.evaluate import IntervalResult, ReleaseResult, measure_rows, read_cases
from coverax.report.blocks import (
    Block,
    Heading,
    Section,
    Table,
    Text,
    number,
    percent,
)
from coverax.report.cases import rows_of
from coverax.report.found import Found, Item
from coverax.report.plots import (
    capital_figure,
    intervals_figure,
    release_figure,
    splits_figure,
)
from coverax.report.sections.happened import where
from coverax.shown import plural
from coverax.validate import (
    Memory,
    ScoresResult,
    Validation,
    watched,
    watched_capitals,
)
from coverax.validate.watch import MEANING


def volumes(found: Found) -> Section | None:
    """Intervals of volumes: their measures, and each beside its reference."""
    blocks: list[Block] = []
    for e, item in enumerate(found.evaluations):
        for r, result in enumerate(item.content.results):
            if isinstance(result, IntervalResult):
                title = f"{where(result)}, {item.name}"
                blocks.append(Table(title, ("", "Volume"), measure_rows(result)))
                rows = rows_of(read_cases(item.path.with_name("cases.csv")), result)
                if all(math.isfinite(row["true_ml"]) for row in rows):
                    blocks.append(intervals_figure(f"volume{e}-{r}", rows))
    return Section("volumes", "Volumes", blocks) if blocks else None


def triage(found: Found) -> Section | None:
    """What goes out unread, and what that costs."""
    blocks: list[Block] = []
    for e, item in enumerate(found.evaluations):
        for r, result in enumerate(item.content.results):
            if isinstance(result, ReleaseResult):
                title = f"{where(result)}, {item.name}"
                blocks.append(Table(title, ("", "Value"), measure_rows(result)))
                blocks.append(release_figure(f"triage{e}-{r}", result.release))
    return Section("triage", "Masks that go out unread", blocks) if blocks else None


def splits(found: Found) -> Section | None:
    """All splits of a table in two, against the law."""
    blocks: list[Block] = []
    for v, item in enumerate(found.validations):
        if len(found.validations) > 1:
            blocks.append(Heading(item.name))
        for r, result in enumerate(item.content.results):
            blocks.extend(_of_scores(f"splits{v}-{r}", result))
        blocks.append(Text(_evidence(item.content), "note"))
    title = "All splits of the cohort, against the law"
    return Section("splits", title, blocks) if blocks else None


_NAMES = {
    "fnr": "FNR",
    "p_fnr": "P-FNR",
    "fpr": "FPR",
    "pc": "PC",
    "dice": "Dice",
    "volume_ml": "mL",
    "lesion_detection": "lesions detected",
}


def _of_scores(name: str, result: ScoresResult) -> Iterator[Block]:
    fold = "" if result.fold is None else f"fold {result.fold}, "
    names = list(dict.fromkeys(n for row in result.splits for n in row.metrics))
    shown = [_NAMES.get(name, name) for name in names]
    head = ("Alpha", "Calibrate / test", "Expected", "Coverage, mean", "sd", *shown)
    rows = [
        [
            f"{row.alpha:g}",
            f"{row.n_calibration} / {row.n_test}",
            percent(row.expected, 2),
            percent(row.coverage_mean, 2),
            percent(row.coverage_sd, 2),
            *(number(row.metrics[n].mean if n in row.metrics else None) for n in names),
        ]
        for row in result.splits
    ]
    units = plural(result.n_units, "unit")
    yield Table(f"{fold}{result.region}, {result.of_what}, {units}", head, rows)
    for k, row in enumerate(result.splits):
        if row.random is not None:
            bars, n = row.random.histogram, row.random.n_splits
            yield splits_figure(f"{name}-{k}", bars, row.expected, row.band, n)
    if result.order is not None:
        found = result.order
        yield Text(
            f"Order of acquisition by {found.by}, as {found.sorted_as}: p-value "
            f"{found.p_value_capital:.3g} of {plural(found.n, 'unit')}."
        )


def _evidence(validation: Validation) -> str:
    own = {k: text for k, text in validation.evidence.items() if k != "hold_out"}
    return " ".join(own.values()) + f" Metrics: {validation.metrics}."


def monitor(found: Found) -> Section | None:
    """The capital of each monitor, and what an alarm would say."""
    blocks: list[Block] = []
    for m, item in enumerate(found.monitors):
        if len(found.monitors) > 1:
            blocks.append(Heading(item.name))
        blocks.extend(_watched(f"monitor{m}", found, item))
    if not blocks:
        return None
    blocks.append(Text(MEANING, "note"))
    return Section("monitor", "Does the promise still hold?", blocks)


def _watched(name: str, found: Found, item: Item[Memory]) -> Iterator[Block]:
    memory = item.content
    n_maps, n_references = len(memory.maps), len(memory.references)
    seen = (
        f"{plural(len(memory.looks), 'look')} at {plural(n_maps, 'new map')} and "
        f"{plural(n_references, 'reference')}, level {memory.level} of a false alarm, ever."
    )
    calibration = found.calibration(memory.calibration_digest)
    if calibration is None:
        yield Text(f"{seen} The calibration that it watches is not among the folders.")
        return
    state = watched(calibration, memory)
    yield Text(f"{state.sentence}.", "warning" if state.alarm else "lead")
    yield Text(seen)
    paths = watched_capitals(calibration, memory)
    yield capital_figure(name, paths, state.alarm_at)
