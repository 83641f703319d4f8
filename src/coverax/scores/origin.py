"""What a reader of a score table should know of its maps, one line each."""

import math

from coverax.provenance import count_parts, gap_words, known_column, part_words
from coverax.table.table import ScoreTable

# Maps with a wider gap above 0 were cut, or have very few levels.
_WIDE_GAP = 0.25


def origin_notes(table: ScoreTable) -> list[str]:
    """Lines on cases that something was learned from, and on maps that were cut."""
    lines = []
    parts, gaps = (known_column(table, name) for name in ("part", "gap_above_zero"))
    if parts is not None:
        of_case = dict(zip(table.column("case_id"), parts, strict=True))
        if words := part_words(count_parts(of_case.values())):
            lines.append(f"{words}: they cannot calibrate")
    if gaps is None:
        return lines
    regions = table.column("region")
    for region in dict.fromkeys(regions):
        least = float(gaps[regions == region].min())
        if _WIDE_GAP <= least < math.inf:
            lines.append(f"region {region}: {gap_words(least)}")
    return lines
