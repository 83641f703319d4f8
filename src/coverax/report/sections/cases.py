"""Which cases to look at: the worst, the median and the best, with their slices."""

from collections.abc import Iterator

from coverax.evaluate import Summary, read_cases
from coverax.report.blocks import (
    NONE,
    Block,
    Heading,
    Section,
    Table,
    Text,
    Viewer,
    number,
)
from coverax.report.cases import (
    Measure,
    Pictures,
    Row,
    chosen,
    draw_case,
    measure_of,
    rows_of,
)
from coverax.report.found import Found, Item
from coverax.report.sections.happened import where
from coverax.report.slices import strip

# Cases that are drawn in a page; the tables name all.
_MOST_DRAWN = 10


def cases(found: Found, pictures: Pictures | None) -> Section | None:
    """Tables of the cases of each region, and their slices where these can be drawn.

    Args:
        found: All that lies there.
        pictures: Where maps, references and scans lie; None where nobody says.
    """
    blocks: list[Block] = []
    n_drawn = 0
    for e, item in enumerate(found.evaluations):
        rows = read_cases(item.path.with_name("cases.csv"))
        for r, result in enumerate(item.content.results):
            blocks.append(Heading(f"{where(result)}, {item.name}"))
            mine, measure = rows_of(rows, result), measure_of(result)
            if not mine:
                text = "cases.csv does not tell which cases are of this group."
                blocks.append(Text(text, "note"))
                continue
            picked = chosen(mine, measure)
            blocks.append(_table(measure, picked))
            if pictures is not None:
                drawn = list(
                    _viewers(f"case{e}-{r}", found, item, pictures, picked, n_drawn)
                )
                n_drawn += sum(isinstance(block, Viewer) for block in drawn)
                blocks.extend(drawn)
    if not blocks:
        return None
    if pictures is None:
        text = "No slices: maps and references were not given (--probs, --labels)."
        blocks.append(Text(text, "note"))
    return Section("cases", "Which cases to look at?", blocks)


def _table(measure: Measure, picked: list[tuple[str, Row]]) -> Table:
    rows = [
        [
            row["case_id"],
            place,
            *(_cell(row[column]) for column in measure.about.values()),
        ]
        for place, row in picked
    ]
    return Table(f"By {measure.name}", ("Case", "Place", *measure.about), rows)


def _cell(value: bool | float | None) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return NONE if value is None else number(value)


def _viewers(
    name: str,
    found: Found,
    item: Item[Summary],
    pictures: Pictures,
    picked: list[tuple[str, Row]],
    n_before: int,
) -> Iterator[Block]:
    calibration = found.calibration(item.content.calibration_digest)
    for k, (place, row) in enumerate(picked):
        if n_before + k >= _MOST_DRAWN:
            text = f"{row['case_id']} is not drawn: a page draws {_MOST_DRAWN} cases."
            yield Text(text, "note")
            continue
        stack, note = draw_case(calibration, pictures, row)
        if stack is None:
            yield Text(f"{row['case_id']} is not drawn: {note}.", "note")
            continue
        title = f"{row['case_id']}, {place}"
        yield Viewer(f"{name}-{k}", title, stack, strip(stack))
        if note:
            yield Text(f"{row['case_id']}: {note}.", "note")
