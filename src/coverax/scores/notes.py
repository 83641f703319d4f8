"""What reading a case left out, and the line that says so of a cohort."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from coverax.shown import plural
from coverax.volumes import ProbMap, Region, some_names

_UNCLAIMED, _VOID, TURNED = "unclaimed_labels", "void_values", "turned"
_SEGMENTS = "unclaimed_segments"


def case_notes(
    prob_map: ProbMap,
    labels: np.ndarray,
    regions: tuple[Region, ...],
    ignore_label: int | None,
    others: Sequence[str] | None = None,
) -> dict[str, Any]:
    """What was left out of one case, as plain data.

    Args:
        prob_map: Its map.
        labels: Its reference.
        regions: Every region of the definition.
        ignore_label: A label whose voxels do not count.
        others: Of a reference of segments, the names of those that are of no region.
    """
    notes: dict[str, Any] = {}
    if prob_map.has_void:
        notes[_VOID] = True
    if others is not None:
        return notes | ({_SEGMENTS: list(others)} if others else {})
    claimed = {label for region in regions for label in region.labels}
    claimed |= {0} if ignore_label is None else {0, ignore_label}
    takes_all = not all(region.labels for region in regions)
    # No table of values is made where none is missing up to the largest.
    if takes_all or claimed >= set(range(int(labels.max(initial=0)) + 1)):
        return notes
    unclaimed = np.unique(labels[~np.isin(labels, list(claimed))])
    return notes | ({_UNCLAIMED: unclaimed.tolist()} if unclaimed.size else {})


def turn_notes(turns: dict[str, str]) -> dict[str, Any]:
    """How files of one case were turned to the order of the map, as plain data."""
    return {TURNED: turns} if turns else {}


def cohort_notes(cases: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Lines for the user, from the notes of every case."""
    cases = list(cases)
    unclaimed = [case[_UNCLAIMED] for case in cases if _UNCLAIMED in case]
    if unclaimed:
        every = sorted(set().union(*unclaimed))
        more = f" and {len(every) - 5} more" if len(every) > 5 else ""
        yield (
            f"label {', '.join(map(str, every[:5]))}{more} belongs to no region: "
            f"background in {len(unclaimed)} references (--region NAME=CHANNEL:any "
            "takes every label above 0)"
        )
    others = [case[_SEGMENTS] for case in cases if _SEGMENTS in case]
    if others:
        names = sorted(set().union(*others))
        yield (
            f"segment {some_names(names, 5)} belongs to no region: background in "
            f"{len(others)} references"
        )
    yield from turned_notes(cases)
    n_void = sum(_VOID in case for case in cases)
    if n_void:
        yield (
            f"{plural(n_void, 'map', 'holds', 'hold')} no probabilities where no voxel "
            "counts; predict has no such mask and refuses them: write 0 there in maps "
            "of new cases"
        )


def turned_notes(cases: Iterable[dict[str, Any]]) -> Iterator[str]:
    """A line where files were turned to the order of their maps."""
    turned = [case[TURNED] for case in cases if TURNED in case]
    if turned:
        ways = sorted({way for turns in turned for way in turns.values()})
        yield (
            f"references or masks of {plural(len(turned), 'case')} are stored in another "
            f"orientation than their maps (axes {'; '.join(ways)}) and were turned by "
            "whole voxels, without loss"
        )
