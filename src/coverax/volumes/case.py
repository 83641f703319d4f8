"""Cases and cohorts: which files belong together."""

import csv
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from coverax.table.region import Region, parse_regions
from coverax.volumes.nifti import file_stem

_REQUIRED = ("case_id", "probs", "labels")
_OPTIONAL = ("image", "unit", "group", "weight", "region", "valid", "rater")


@dataclass(frozen=True, slots=True)
class Case:
    """One subject with its files.

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
    """

    case_id: str
    probs: Path
    labels: Path | None
    unit: str
    group: str = ""
    weight: float = 1.0
    region: str | None = None
    valid: Path | None = None
    image: Path | None = None
    rater: str = ""


@dataclass(frozen=True, slots=True)
class Cohort:
    """Cases in manifest order, and what was left out with the reason.

    Attributes:
        cases: The cases to read.
        excluded: Reason to case ids, for files without a partner that the user allowed.
    """

    cases: tuple[Case, ...]
    excluded: dict[str, tuple[str, ...]]


def read_cohort(path: Path) -> Cohort:
    """Read `cohort.csv`; paths in it are relative to the file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A column is missing or unknown, a row is incomplete, or a case
            occurs twice.
        ExceptionGroup: Several rows are wrong; one exception each.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such cohort file")
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            _check_columns(tuple(reader.fieldnames or ()), path)
            cases = _cases_of_rows(reader, path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV file in UTF-8 ({error})") from None
    if not cases:
        raise ValueError(f"{path}: the cohort has no case")
    _check_unique(cases, str(path))
    return Cohort(cases, {})


def read_groups(path: Path, column: str = "group") -> dict[str, str]:
    """Read a CSV of `case_id` and `group`, or another column.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A column is missing, a cell is empty, or a case occurs twice.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of {column}s")
    groups: dict[str, str] = {}
    with path.open(newline="", encoding="utf-8-sig") as stream:
        for number, row in enumerate(csv.DictReader(stream), 2):
            case_id, group = row.get("case_id"), row.get(column)
            if not case_id or not group:
                raise ValueError(
                    f"{path}, line {number}: case_id or {column} is missing"
                )
            if case_id in groups:
                raise ValueError(f"{path}: case {case_id} occurs twice")
            groups[case_id] = group
    return groups


def match_folders(
    probs_dir: Path, labels_dir: Path, *, allow_missing: bool = False
) -> Cohort:
    """Pair the NIfTI files of two folders by file stem, sorted by name.

    A folder of references that holds folders and no file has one of them a rater.

    Raises:
        FileNotFoundError: A folder does not exist.
        ValueError: A folder holds no NIfTI file, two files share a stem, or a file has
            no partner (all of them are named; `allow_missing` records them instead).
        ExceptionGroup: Several files have no partner; one exception each.
    """
    raters = _rater_folders(labels_dir)
    if raters:
        return _match_raters(probs_dir, raters, allow_missing=allow_missing)
    probs, labels = nifti_files(probs_dir), nifti_files(labels_dir)
    no_labels = sorted(probs.keys() - labels.keys())
    no_probs = sorted(labels.keys() - probs.keys())
    if (no_labels or no_probs) and not allow_missing:
        lines = [
            f"{probs[s]} (case {s}): no reference in {labels_dir}" for s in no_labels
        ]
        lines += [f"{labels[s]} (case {s}): no map in {probs_dir}" for s in no_probs]
        raise ExceptionGroup(
            f"{len(lines)} files have no partner", [ValueError(line) for line in lines]
        )
    both = sorted(probs.keys() & labels.keys())
    if not both:
        raise ValueError(f"no file of {probs_dir} has a partner in {labels_dir}")
    cases = tuple(Case(s, probs[s], labels[s], unit=s) for s in both)
    unmatched = {"no_reference": tuple(no_labels), "no_map": tuple(no_probs)}
    return Cohort(cases, {why: ids for why, ids in unmatched.items() if ids})


def _rater_folders(folder: Path) -> list[Path]:
    """Folders of raters, sorted by name; none where the folder holds files."""
    entries = [] if not folder.is_dir() else sorted(folder.iterdir())
    shown = [path for path in entries if not path.name.startswith(".")]
    return shown if shown and all(path.is_dir() for path in shown) else []


def _match_raters(
    probs_dir: Path, raters: list[Path], *, allow_missing: bool
) -> Cohort:
    """One row a case and rater; what one rater lacks is recorded with their name."""
    each = [match_folders(probs_dir, r, allow_missing=allow_missing) for r in raters]
    cases = [
        replace(case, rater=folder.name)
        for folder, cohort in zip(raters, each, strict=True)
        for case in cohort.cases
    ]
    excluded = {
        f"{why} ({folder.name})": ids
        for folder, cohort in zip(raters, each, strict=True)
        for why, ids in cohort.excluded.items()
    }
    return Cohort(tuple(sorted(cases, key=lambda c: (c.case_id, c.rater))), excluded)


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


def nifti_files(folder: Path) -> dict[str, Path]:
    """File stem to path of the NIfTI files in a folder; other files are passed over.

    Raises:
        FileNotFoundError: The folder does not exist.
        ValueError: It holds no NIfTI file, or two with one stem.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        stem = file_stem(path)
        if stem is None or path.name.startswith(".") or path.is_dir():
            continue
        if stem in files:
            raise ValueError(
                f"case {stem} occurs twice: {files[stem].name} and {path.name} "
                f"in {folder}"
            )
        files[stem] = path
    if not files:
        raise ValueError(f"{folder}: holds no .nii or .nii.gz file")
    return files


def _check_columns(columns: tuple[str, ...], path: Path) -> None:
    missing = [c for c in _REQUIRED if c not in columns]
    if missing:
        raise ValueError(
            f"{path}: column {', '.join(missing)} is missing; the first line names the "
            "columns, separated by commas"
        )
    unknown = [c for c in columns if c not in _REQUIRED + _OPTIONAL]
    if unknown:
        raise ValueError(
            f"{path}: unknown column {', '.join(unknown)}; known are "
            f"{', '.join(_REQUIRED + _OPTIONAL)}"
        )
    twice = [c for c, count in Counter(columns).items() if count > 1]
    if twice:
        raise ValueError(f"{path}: column {', '.join(twice)} occurs twice")


def _cases_of_rows(reader: "csv.DictReader[str]", path: Path) -> tuple[Case, ...]:
    """Every row is tried; all that are wrong are named."""
    cases: list[Case] = []
    errors: list[ValueError] = []
    for row in reader:
        try:
            cases.append(_case_of_row(row, path, reader.line_num))
        except ValueError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise ExceptionGroup(f"{path}: {len(errors)} lines are wrong", errors)
    return tuple(cases)


def _case_of_row(row: dict[str, str], path: Path, number: int) -> Case:
    cells = {key: (value or "").strip() for key, value in row.items() if key}
    if None in row:
        raise ValueError(f"{path}, line {number}: more cells than columns")
    for column in _REQUIRED:
        if not cells[column]:
            raise ValueError(f"{path}, line {number}: {column} is empty")
    case_id = cells["case_id"]
    names_a_file = Path(case_id).name == case_id and case_id.isprintable()
    if not names_a_file or case_id.startswith("."):
        raise ValueError(
            f"{path}, line {number}: case_id {case_id!r} cannot name a file"
        )
    try:
        weight = float(cells.get("weight") or 1.0)
    except ValueError:
        weight = math.nan
    if not 0 <= weight < math.inf:
        raise ValueError(
            f"{path}, line {number}: weight of case {case_id} must be a finite number "
            f">= 0, got {cells['weight']!r}"
        )

    def file(column: str) -> Path | None:
        return path.parent / cells[column] if cells.get(column) else None

    return Case(
        case_id=case_id,
        probs=path.parent / cells["probs"],
        labels=file("labels"),
        unit=cells.get("unit") or case_id,
        group=cells.get("group", ""),
        weight=weight,
        region=cells.get("region") or None,
        valid=file("valid"),
        image=file("image"),
        rater=cells.get("rater", ""),
    )


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
