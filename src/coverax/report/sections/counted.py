"""Who was counted, and who was left out, by reason."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from coverax.evaluate import Summary, why_not_held_out
from coverax.report.blocks import NONE, Block, Section, Table, Text
from coverax.report.found import Found
from coverax.shown import plural

# Names of a reason that are listed; their number always is.
_NAMED = 12
_REASONS = {
    "empty_reference": "the reference is empty",
    "not_drawn": "another case of the unit was drawn",
    "failed": "the files could not be read",
}


def counted(found: Found) -> Section | None:
    """Cases of each file, and the reasons of those that are not among them."""
    sizes: list[list[str]] = []
    lost: list[list[str]] = []
    for kind, name, n_cases, n_units, excluded in _files(found):
        sizes.append([kind, name, f"{n_cases:,}", f"{n_units:,}"])
        lost += _lost(kind, name, excluded)
    for item in found.evaluations:
        lost += _uncounted(item.name, item.content)
    if not sizes:
        return None
    blocks: list[Block] = [
        Table("Cases and units", ("What", "File", "Cases", "Units"), sizes)
    ]
    if lost:
        head = ("What", "File", "Reason", "Cases", "Which")
        blocks.append(Table("Left out", head, lost))
    else:
        blocks.append(Text("No case was left out."))
    blocks.extend(_seen(found))
    return Section("counted", "Who was counted, and who was left out?", blocks)


class _File(NamedTuple):
    """What a file says of its cases."""

    kind: str
    name: str
    n_cases: int
    n_units: int
    excluded: Mapping[str, Sequence[str]]


def _files(found: Found) -> Iterator[_File]:
    """Files that name cases, in the order of the flow."""
    for name, table in ((item.name, item.content) for item in found.tables):
        n_cases, n_units = (
            len(set(table.column(of).tolist())) for of in ("case_id", "unit")
        )
        yield _File("score table", name, n_cases, n_units, table.excluded)
    for kind, items in (
        ("calibration", found.calibrations),
        ("evaluation", found.evaluations),
    ):
        for item in items:
            own = item.content
            yield _File(kind, item.name, own.n_cases, own.n_units, own.excluded)
    for item in found.reliabilities:
        own = item.content
        n_cases = max((region.n_cases for region in own.regions), default=0)
        n_units = max((region.n_units for region in own.regions), default=0)
        yield _File("reliability", item.name, n_cases, n_units, own.excluded)


def _lost(
    kind: str, name: str, excluded: Mapping[str, Sequence[str]]
) -> Iterator[list[str]]:
    for reason, ids in excluded.items():
        if ids:
            more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
            named = ", ".join(ids[:_NAMED]) + more
            yield [kind, name, _REASONS.get(reason, reason), f"{len(ids):,}", named]


def _uncounted(name: str, summary: Summary) -> Iterator[list[str]]:
    for result in summary.results:
        if result.n_empty_reference:
            n = f"{result.n_empty_reference:,}"
            yield [
                "evaluation",
                name,
                f"the reference is empty in {result.region}",
                n,
                NONE,
            ]
    for where, why in summary.not_evaluated.items():
        yield ["evaluation", name, f"{where}: {why}", "all", NONE]


def _seen(found: Found) -> Iterator[Block]:
    for item in found.evaluations:
        if why := why_not_held_out(item.content):
            yield Text(f"{item.name} is not held out: {why}", "warning")
        elif item.content.n_cases != item.content.n_units:
            units = plural(item.content.n_units, "unit")
            yield Text(f"{item.name}: one case of each of {units} was drawn.", "note")
