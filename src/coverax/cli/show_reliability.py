"""A reliability in the terminal."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from coverax.cli import terminal

if TYPE_CHECKING:
    from rich.table import Table

    from coverax.reliability import (
        ClassResult,
        Difference,
        GroupResult,
        Measured,
        ReliabilitySummary,
        TopLabel,
    )

# Columns of the tables that are printed: title, of which kind of mean, measure.
_COLUMNS = (
    ("ECE", "pooled", "ece"),
    ("ACE", "pooled", "ace"),
    ("MCE", "pooled", "mce"),
    ("Brier", "pooled", "brier"),
    ("NLL", "pooled", "nll"),
    ("macro\nECE", "macro", "ece"),
)


def show_summary(summary: "ReliabilitySummary") -> None:
    """Print the tables of a reliability, and what must be known to read them."""
    from coverax.reliability import Measured

    console = terminal.results()
    level = f"{100 * summary.level:g} %"
    title = f"Calibration, pooled over voxels (from, to: {level} interval)"
    shown = _table(title, "region")
    results = summary.regions
    for result in results:
        _add_rows(shown, result.region, result.n_cases, result)
    if len(results) > 1:
        _add_rows(shown, "mean of regions", None, summary.mean_over_regions)
    if summary.top_label is not None:
        _add_rows(shown, "top label", None, summary.top_label)
    if (scores := summary.softmax) is not None:
        every = Measured(
            macro={},
            macro_interval=None,
            pooled={"nll": scores.nll, "brier": scores.brier},
            pooled_interval=scores.interval,
        )
        _add_rows(shown, "softmax", None, every)
    console.print(shown)
    if summary.n_soft_bins:
        _print_soft(console.print, results)
    if summary.n_draws:
        console.print("A pooled MCE has no lower end: maxima of noise lie above it.")
    if any(result.groups for result in results):
        shown = _table("By group", "region, group")
        for result in results:
            for name, group in (result.groups or {}).items():
                _add_rows(shown, f"{result.region}, {name}", group.n_cases, group)
        console.print(shown)
    macro = "left out of" if summary.absent == "skip" else "kept in"
    for result in results:
        if result.n_absent:
            console.print(
                f"{result.region}: absent from {result.n_absent} of "
                f"{result.n_cases} references; these cases are {macro} macro means "
                "and kept in pooled measures",
                highlight=False,
            )
    if summary.against is not None:
        for name, measures in summary.against.found.regions.items():
            _print_differences(console.print, name, measures)


def _table(title: str, names: str) -> "Table":
    """An empty table; narrow, so that 60 columns hold every number."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    # Only names of regions are folded.
    shown = Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, padding=0, pad_edge=False
    )
    shown.add_column(names, overflow="fold", min_width=6)
    for column in ("cases", *[name for name, _, _ in _COLUMNS]):
        shown.add_column(column, justify="right", no_wrap=True)
    return shown


def _add_rows(
    shown: "Table",
    label: str,
    n_cases: int | None,
    result: "Measured | ClassResult | GroupResult | TopLabel",
) -> None:
    """A row of values, and below it two of the ends of their intervals."""
    values = [getattr(result, how).get(k) for _, how, k in _COLUMNS]
    count = "" if n_cases is None else str(n_cases)
    shown.add_row(label, count, *[_number(value) for value in values])
    ends = [(getattr(result, f"{how}_interval") or {}).get(k) for _, how, k in _COLUMNS]
    if any(ends):
        for side, name in enumerate((" from", " to")):
            cells = [_number(pair[side]) if pair else "" for pair in ends]
            shown.add_row(name, "", *cells, style="dim")


def _print_soft(
    print_line: Callable[..., None], results: "Sequence[ClassResult]"
) -> None:
    """Soft ACE beside hard ACE, the mean of cases and pooled."""
    for result in results:
        each = [
            f"{how} {_number(values.get('soft_ace'))} (hard {_number(values.get('ace'))})"
            for how, values in (("macro", result.macro), ("pooled", result.pooled))
        ]
        print_line(f"{result.region}, soft ACE: {', '.join(each)}", highlight=False)


def _print_differences(
    print_line: Callable[..., None], name: str, measures: "Mapping[str, Difference]"
) -> None:
    for measure in ("nll", "brier", "ece", "ace", "soft_ace"):
        if measure not in measures:
            continue
        found = measures[measure]
        ends = ""
        if found.interval:
            low, high = (_number(end, signed=True) for end in found.interval)
            ends = f" ({low} to {high})"
        print_line(
            f"{name}, {measure}: {_number(found.first)} -> "
            f"{_number(found.second)}, difference "
            f"{_number(found.difference, signed=True)}{ends}",
            highlight=False,
        )


def _number(value: float | None, *, signed: bool = False) -> str:
    if value is None:
        return "-"
    return f"{value:+.5f}" if signed else f"{value:.4f}"
