"""Cases and cohorts: which files belong together."""

import functools
import logging
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from coverax.checks import normal_form
from coverax.files import PathLike
from coverax.table.columns import FOLD, VISIT
from coverax.table.region import Region, parse_regions
from coverax.volumes.formats import file_stem
from coverax.volumes.names import check_case_id, check_name, some_names
from coverax.volumes.origin import known_parts
from coverax.volumes.rows import Row, Rows, read_rows
from coverax.volumes.unit_names import sessions_of, units_of

_log = logging.getLogger("coverax")
REQUIRED = ("case_id", "probs", "labels")
PATHS = ("probs", "labels", "valid", "image")
_OPTIONAL = ("image", "unit", "group", "weight", "region", "valid", "rater")
# A column of these is given for all rows or for none.
_WHOLE = ("unit", "group", "weight", FOLD)
# How libraries write a cell that is not there.
_NO_VALUE = ("nan", "<na>", "nat", "null")
_REGION_NAME = re.compile(r"[\w.-]+")
# A further column this close to a known name is taken for a slip.
_LIKENESS = 0.85


@dataclass(frozen=True, slots=True)
class Case:
    """One subject with its files; paths may be given as text.

    Attributes:
        case_id: Name of the case, unique in the cohort (together with `region` and
            `rater`).
        probs: Probability map.
        labels: Reference, None where only a prediction is wanted.
        unit: What is exchangeable, usually the patient; the case itself by default.
        group: Category known without the reference (site, scanner).
        weight: Likelihood ratio under shift; 1 without shift.
        region: The one region this row speaks of; None means every region.
        valid: Mask of the voxels that count; None means all.
        image: The scan itself, for overlays.
        rater: Who made the reference, where a case has several; one row each.
        part: Part of the split that a record beside the map names; empty where none.
        columns: Further columns of `cohort.csv`, as pairs of name and text; `fold` is
            the one whose model made the map and did not see the case.
    """

    case_id: str
    probs: PathLike
    labels: PathLike | None
    unit: str
    group: str = ""
    weight: float = 1.0
    region: str | None = None
    valid: PathLike | None = None
    image: PathLike | None = None
    rater: str = ""
    columns: tuple[tuple[str, str], ...] = ()
    part: str = ""

    def __post_init__(self) -> None:
        for name in PATHS:
            path = getattr(self, name)
            if path is not None:
                object.__setattr__(self, name, Path(path))

    def column(self, name: str) -> str:
        """What the cohort says of the case in a column of text.

        Raises:
            ValueError: The cohort has no such column.
        """
        own = {"case_id": self.case_id, "unit": self.unit, "group": self.group}
        own |= {"rater": self.rater, **dict(self.columns)}
        if name not in own:
            raise ValueError(
                f"the cohort has no column {name}; it has {', '.join(own)} (further "
                "columns stand in cohort.csv)"
            )
        return own[name]


@dataclass(frozen=True, slots=True)
class Cohort:
    """Cases in manifest order, and what was left out with the reason.

    Attributes:
        cases: The cases to read.
        excluded: Reason to case ids, for files without a partner that the user allowed.
    """

    cases: tuple[Case, ...]
    excluded: dict[str, tuple[str, ...]]


def read_cohort(
    path: PathLike, *, unit_pattern: str | None = None, needs_labels: bool = True
) -> Cohort:
    """Read `cohort.csv`; paths in it are relative to the file.

    Columns beyond those of a `Case` are carried along, which is said in a note.

    Args:
        path: The file.
        unit_pattern: Finds the unit in a case id (see `units_of`), where the file has
            no column `unit`.
        needs_labels: Refuse a case without a reference.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A column is missing or looks misspelt, a row is incomplete, a case
            occurs twice, or two cases have one map.
        ExceptionGroup: Several rows are wrong; one exception each.
    """
    required = REQUIRED if needs_labels else ("case_id", "probs")
    read = read_rows(path, "cohort file", required)
    further = _further_columns(read)
    given = {c for c in _WHOLE if any(row.cells.get(c) for row in read.rows)}
    if "unit" in given and unit_pattern is not None:
        raise ValueError(f"{path}: has a column unit; leave the unit pattern out")
    cases = _cases_of_rows(read, required, given, further)
    if not cases:
        raise ValueError(f"{path}: the cohort has no case")
    _check_unique(cases, str(path))
    check_maps_differ(((case.case_id, case.probs) for case in cases), f"{path}")
    if "unit" not in given:
        cases = with_units(cases, unit_pattern)
    if unknown := [c for c in further if c != FOLD]:
        _log.warning("%s: further columns are kept: %s", path, ", ".join(unknown))
    return Cohort(with_parts(cases), {})


def read_groups(
    path: PathLike, column: str = "group", *, instead: str | None = None
) -> dict[str, str]:
    """Read a CSV of `case_id` and `group`, or another column.

    Args:
        path: The file.
        column: The column to read.
        instead: The column that is read where that one is not there.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A column is missing, a cell is empty, or a case occurs twice.
    """
    read = read_rows(path, f"file of {column}s", ("case_id",))
    if column not in read.columns:
        asked = [column] if instead in (None, column) else [column, instead]
        column = next((name for name in asked if name in read.columns), "")
        if not column:
            raise ValueError(
                f"{path}: column {' or '.join(map(str, asked))} is missing; it has "
                f"{', '.join(read.columns)}"
            )
    groups: dict[str, str] = {}
    for line, cells in read.rows:
        case_id, group = cells["case_id"], cells[column]
        if not case_id or not group:
            raise ValueError(f"{path}, line {line}: case_id or {column} is missing")
        try:
            case_id = check_name("case_id", case_id)
            group = _check_value(column, group)
        except ValueError as error:
            raise ValueError(f"{path}, line {line}: {error}") from None
        if case_id in groups:
            raise ValueError(f"{path}: case {case_id} occurs twice")
        groups[case_id] = group
    return groups


def with_units(cases: Sequence[Case], pattern: str | None) -> tuple[Case, ...]:
    """The cases with the unit that their names tell, see `units_of`.

    Where names of BIDS tell the unit and the session of every case, that is its `visit`.
    """
    ids = [case.case_id for case in cases]
    units, visits = units_of(ids, pattern), {}
    if pattern is None and not any(VISIT in dict(case.columns) for case in cases):
        visits = sessions_of(ids)
    named = {i: ((VISIT, visit),) for i, visit in visits.items()}
    return tuple(
        replace(
            case,
            unit=units[case.case_id],
            columns=(*case.columns, *named.get(case.case_id, ())),
        )
        for case in cases
    )


def with_parts(cases: Iterable[Case]) -> tuple[Case, ...]:
    """The cases, each with the part that the record beside its map names."""
    parts = functools.lru_cache(None)(known_parts)

    def part_of(path: Path) -> str:
        return parts(path.parent).get(normal_form(file_stem(path) or ""), "")

    return tuple(replace(c, part=part_of(Path(c.probs))) for c in cases)


def check_maps_differ(maps: Iterable[tuple[str, PathLike]], where: str) -> None:
    """Refuse one file under two case ids: it would count as two patients.

    Links are followed. A file that is not there is told by its path.

    Raises:
        ValueError: Two case ids name one file.
    """
    owners: dict[object, dict[str, PathLike]] = {}
    for case_id, path in maps:
        owners.setdefault(_identity(path), {})[case_id] = path
    for names in owners.values():
        if len(names) > 1:
            raise ValueError(
                f"{where}: case {some_names(names)} are one file, "
                f"{next(iter(names.values()))}: it would count as {len(names)} cases"
            )


def _identity(path: PathLike) -> object:
    """What two names of one file share."""
    try:
        stat = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):  # not there, or no name of a file
        return os.path.abspath(path)  # noqa: PTH100
    return (stat.st_dev, stat.st_ino)


def maps_of_cases(cohort: Cohort) -> dict[str, Path]:
    """Case id to its map, where a case has one.

    Raises:
        ValueError: The rows of a case name several maps, one a region.
    """
    maps: dict[str, Path] = {}
    for case in cohort.cases:
        path = Path(case.probs)
        if maps.setdefault(case.case_id, path) != path:
            raise ValueError(
                f"case {case.case_id} has several maps ({maps[case.case_id]}, {path}), "
                "and masks are made of one map a case: join them as channels"
            )
    return maps


def cohort_regions(cohort: Cohort, specs: list[str]) -> tuple[Region, ...]:
    """Regions to score: those asked for, else those the cohort names, else one.

    Raises:
        ValueError: A spec is malformed, or the cohort names a region that has none.
    """
    named = list(dict.fromkeys(c.region for c in cohort.cases if c.region))
    if not specs and named:
        return tuple(Region(name, (0,), (1,)) for name in named)
    regions = parse_regions(specs)
    unknown = sorted(set(named) - {region.name for region in regions})
    if unknown:
        raise ValueError(
            f"the cohort names region {', '.join(unknown)} without a --region"
        )
    return regions


def _further_columns(read: Rows) -> tuple[str, ...]:
    """Columns to carry along; none that looks like a known one misspelt."""
    known = (*REQUIRED, *_OPTIONAL, FOLD)
    further = tuple(c for c in read.columns if c not in (*REQUIRED, *_OPTIONAL))
    for column in (c for c in further if c != FOLD):
        lower = column.lower()
        close = [name for name in known if sorted(name) == sorted(lower)]
        close += get_close_matches(lower, known, 1, _LIKENESS)
        if close:
            raise ValueError(
                f"{read.path}: unknown column {column}: is it {close[0]}? Another name "
                "makes it a column that is carried along"
            )
    return further


def _cases_of_rows(
    read: Rows, required: Sequence[str], given: set[str], further: tuple[str, ...]
) -> tuple[Case, ...]:
    """Every row is tried; all that are wrong are named."""
    cases: list[Case] = []
    errors: list[Exception] = []
    for row in read.rows:
        try:
            if empty := next((c for c in required if not row.cells[c]), None):
                raise ValueError(f"{empty} is empty")
            cases.append(_case_of_row(row, read.path, given, further))
        except ValueError as error:
            errors.append(ValueError(f"{read.path}, line {row.line}: {error}"))
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ExceptionGroup(f"{read.path}: {len(errors)} lines are wrong", errors)
    return tuple(cases)


def _case_of_row(
    row: Row, path: Path, given: set[str], further: tuple[str, ...]
) -> Case:
    cells = row.cells
    case_id = check_case_id(cells["case_id"])
    for column in sorted(given):
        if not cells[column]:
            raise ValueError(
                f"{column} of case {case_id} is empty, and other rows have one: a "
                "column is given for all rows or for none"
            )
    named = {
        column: _check_value(f"{column} of case {case_id}", cells[column])
        for column in ("unit", "group", "region", "rater", *further)
        if cells.get(column)
    }

    def file(column: str) -> Path | None:
        return path.parent / cells[column] if cells.get(column) else None

    return Case(
        case_id=case_id,
        probs=path.parent / cells["probs"],
        labels=file("labels"),
        unit=named.get("unit", case_id),
        group=named.get("group", ""),
        weight=_weight(cells.get("weight") or "1", case_id),
        region=_region_name(named.get("region")),
        valid=file("valid"),
        image=file("image"),
        rater=named.get("rater", ""),
        columns=tuple((column, named.get(column, "")) for column in further),
    )


def _check_value(what: str, value: str) -> str:
    """A cell in its normal form; refused where it says nothing, or nothing shows it."""
    if value.lower() in _NO_VALUE:
        raise ValueError(f"{what} is {value!r}: leave the cell empty, or name it")
    return check_name(what, value)


def _weight(text: str, case_id: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 <= weight < math.inf:
        raise ValueError(
            f"weight of case {case_id} must be a finite number >= 0, got {text!r:.80}"
        )
    return weight


def _region_name(name: str | None) -> str | None:
    if name is not None and not _REGION_NAME.fullmatch(name):
        raise ValueError(
            f"region {name!r:.80} must be of letters, digits, '.', '_' and '-'"
        )
    return name


def _check_unique(cases: Sequence[Case], where: str) -> None:
    keys = Counter((case.case_id, case.region, case.rater) for case in cases)
    regions: dict[str, set[str | None]] = {}
    for case in cases:
        regions.setdefault(case.case_id, set()).add(case.region)
    twice = {key[0] for key, count in keys.items() if count > 1}
    twice |= {i for i, names in regions.items() if None in names and len(names) > 1}
    if twice:
        raise ValueError(f"{where}: case {', '.join(sorted(twice)[:5])} occurs twice")
    _check_raters(cases, where)


def _check_raters(cases: Sequence[Case], where: str) -> None:
    """The rows of a case may differ in rater and reference alone."""
    first: dict[tuple[str, str | None], Case] = {}
    for case in cases:
        known = first.setdefault((case.case_id, case.region), case)
        if known is case:
            continue
        if not (case.rater and known.rater):
            raise ValueError(
                f"{where}: case {case.case_id} occurs twice, and one row names no rater"
            )
        if replace(case, labels=known.labels, rater=known.rater) != known:
            raise ValueError(
                f"{where}: the rows of case {case.case_id} for raters {known.rater} and "
                f"{case.rater} differ in more than the reference"
            )
