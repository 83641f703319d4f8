"""Which unit a case belongs to, where only its name can tell."""

import logging
import re
import warnings
from collections.abc import Iterable

from coverax.volumes.names import some_names

_log = logging.getLogger("coverax")
# BIDS: `sub-XX` is the subject, what follows names session, run, ... of it.
_BIDS = re.compile(r"(sub-[A-Za-z0-9]+)(?:_.*)?")
_SESSION = re.compile(r"sub-[A-Za-z0-9]+_(ses-[A-Za-z0-9]+)(?:_.*)?")


def units_of(case_ids: Iterable[str], pattern: str | None = None) -> dict[str, str]:
    """Unit of each case by its name; the case itself where the name says nothing.

    Names as BIDS gives them (`sub-XX_ses-Y`) are of the unit `sub-XX`, which is said in
    one note.

    Args:
        case_ids: Names of the cases.
        pattern: Regular expression that finds the unit in the name of every case: its
            first group, or all it matches.

    Raises:
        ValueError: The pattern is no regular expression, or finds no unit in a name.
    """
    ids = list(dict.fromkeys(case_ids))
    if pattern is not None:
        return _by_pattern(ids, check_unit_pattern(pattern))
    found = {i: _BIDS.fullmatch(i) for i in ids}
    units = {i: match[1] if match else i for i, match in found.items()}
    named = [i for i in ids if units[i] != i]
    if named:
        n_units = len({units[i] for i in named})
        _log.warning(
            "%d case ids are names of BIDS, as %s: their unit is sub-XX, %d units "
            "(a unit pattern or a column of units says otherwise)",
            len(named),
            named[0],
            n_units,
        )
    return units


def sessions_of(case_ids: Iterable[str]) -> dict[str, str]:
    """The visit `ses-Y` of each case; none at all unless every name is one of BIDS with it."""
    found = {i: _SESSION.fullmatch(i) for i in case_ids}
    visits = {i: match[1] for i, match in found.items() if match}
    return visits if len(visits) == len(found) else {}


def check_unit_pattern(pattern: str) -> re.Pattern[str]:
    """Compile a unit pattern.

    Raises:
        ValueError: It is no regular expression.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of sets within sets
            return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"unit pattern {pattern!r:.80}: {error}") from None


def _by_pattern(ids: list[str], pattern: re.Pattern[str]) -> dict[str, str]:
    units: dict[str, str] = {}
    for case_id in ids:
        match = pattern.search(case_id)
        units[case_id] = "" if match is None else match[min(pattern.groups, 1)] or ""
    if lost := [i for i in ids if not units[i]]:
        raise ValueError(
            f"the unit pattern {pattern.pattern!r:.80} finds no unit in case "
            f"{some_names(lost)}"
        )
    return units
