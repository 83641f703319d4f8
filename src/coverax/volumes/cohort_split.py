"""A cohort in parts, by unit: drawn once, written as cohorts, sealed."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np

from coverax.checks import normal_form
from coverax.files import (
    Json,
    PathLike,
    digest_file,
    publish_rows,
    publish_sealed_json,
)
from coverax.folders import whole_folder
from coverax.rational import Level, as_fraction
from coverax.shown import plural
from coverax.volumes.case import PATHS, REQUIRED, Cohort, read_cohort
from coverax.volumes.names import some_names
from coverax.volumes.rows import Row, read_rows

SCHEMA = 1
PARTS = ("learning", "calibration", "test")


@dataclass(frozen=True, slots=True)
class CohortSplit:
    """Which rows of a cohort lie in which part.

    Attributes:
        cohort: The `cohort.csv` that was split.
        parts: Unit to its part.
        units: Case id to its unit.
        seed: Seed of the draw.
        by: Column of the units.
        balanced_by: Column whose values all parts hold in equal shares; None without.
        shares: Share of the units of each part that was asked for.
        named_units: Case id to `unit` as its name tells, where the file has no such
            column: the parts get one.
    """

    cohort: Path
    parts: dict[str, str]
    units: dict[str, str]
    seed: int
    by: str
    balanced_by: str | None
    shares: dict[str, float]
    named_units: dict[str, str]

    def counts(self) -> dict[str, dict[str, int]]:
        """Units and cases of each part that has some."""
        units = Counter(self.parts.values())
        cases = Counter(self.parts[unit] for unit in self.units.values())
        return {
            part: {"units": units[part], "cases": cases[part]}
            for part in PARTS
            if units[part]
        }


def draw_parts(
    names: Sequence[str],
    shares: Mapping[str, float],
    seed: int | Sequence[int],
) -> dict[str, str]:
    """Draw the part of each unit: a uniform permutation of the sorted names.

    Raises:
        ValueError: A part with a share above 0 would have no unit.
    """
    names = sorted(names)
    order = np.random.default_rng(seed).permutation(len(names))
    ends = np.rint(np.cumsum(list(shares.values())) * len(names)).astype(int)
    parts: dict[str, str] = {}
    for (part, share), start, end in zip(
        shares.items(), [0, *ends[:-1]], ends, strict=True
    ):
        if share > 0 and end == start:
            raise ValueError(
                f"the part {part} (share {share:g}) of {plural(len(names), 'unit')} "
                "would be empty"
            )
        parts |= {names[i]: part for i in order[start:end]}
    return parts


def split_cohort(
    cohort: PathLike,
    *,
    calibration: Level,
    learning: Level = 0,
    by: str = "unit",
    balance: str | None = None,
    seed: int = 0,
    unit_pattern: str | None = None,
) -> CohortSplit:
    """Draw which units of a cohort learn, calibrate, and are held out to test.

    Units of any two parts are exchangeable: the draw is a uniform permutation. With
    `balance` it is one within each value of that column, so that calibration and test
    units of one value are exchangeable: a promise for each value on its own
    (`calibrate --group-by`) is exact, one for all values together is not.

    Args:
        cohort: `cohort.csv`; its files are not opened.
        calibration: Share of the units that calibrate; what is left over tests.
        learning: Share of the units that transforms or a temperature learn from.
        by: Column of what is exchangeable; all cases of one value lie in one part.
        balance: Column whose values are split each on its own.
        seed: Seed of the draw.
        unit_pattern: Finds the unit in a case id, as in `read_cohort`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The shares leave nothing to test, a part would be empty, the cohort
            lacks a column, or a unit has cases of several values of `by` or `balance`.
    """
    own, learns = as_fraction(calibration), as_fraction(learning)
    if not (own > 0 and learns >= 0 and own + learns < 1):
        raise ValueError(
            f"shares of calibration ({calibration}) and learning ({learning}) must leave "
            "some units to test"
        )
    found = read_cohort(cohort, unit_pattern=unit_pattern)
    _one_value(found, "unit", by)  # else cases of one patient lie in two parts
    units = {case.case_id: case.column(by) for case in found.cases}
    if empty := [case_id for case_id, unit in units.items() if not unit]:
        raise ValueError(f"{cohort}: no {by} of case {some_names(empty)}")
    exact = {"learning": learns, "calibration": own, "test": 1 - own - learns}
    shares = {part: float(share) for part, share in exact.items()}
    if balance is None:
        parts = draw_parts(sorted(set(units.values())), shares, seed)
    else:
        parts = _balanced(_one_value(found, by, balance), balance, shares, seed)
    columns = read_rows(cohort, "cohort file", REQUIRED).columns
    named = {} if "unit" in columns else {c.case_id: c.unit for c in found.cases}
    return CohortSplit(Path(cohort), parts, units, seed, by, balance, shares, named)


def write_cohort_split(split: CohortSplit, output: PathLike) -> None:
    """Write one cohort a part, and `split.json`, into a new folder that appears whole.

    Rows keep their columns and order; relative paths lead from the new folder to the
    same files. `split.json` is sealed, with the digest of the cohort and of each part.

    Raises:
        FileExistsError: `output` holds something already.
        ValueError: The cohort has changed since it was drawn from.
    """
    output = Path(output)
    read = read_rows(split.cohort, "cohort file", REQUIRED)
    back = os.path.relpath(split.cohort.parent.resolve(), output.parent.resolve())
    back = PurePath(os.pardir, back)
    parts = {name: [] for name in split.counts()}
    for row in read.rows:
        case_id = normal_form(row.cells["case_id"])
        if case_id not in split.units:
            raise ValueError(f"{split.cohort}: has changed while it was split")
        cells = _moved(row, read.columns, back)
        if split.named_units:
            cells["unit"] = split.named_units[case_id]
        parts[split.parts[split.units[case_id]]].append(cells)
    with whole_folder(output) as folder:
        written = [folder / f"{name}.csv" for name in parts]
        for path, rows in zip(written, parts.values(), strict=True):
            publish_rows(path, rows, as_they_are=True)
        publish_sealed_json(folder / "split.json", _content(split), written)


def _content(split: CohortSplit) -> Json:
    return {
        "schema": SCHEMA,
        "seed": split.seed,
        "by": split.by,
        "balanced_by": split.balanced_by,
        "shares": split.shares,
        "cohort_sha256": digest_file(split.cohort),
        "parts": split.parts,
        "units": split.units,
    }


def _moved(row: Row, columns: tuple[str, ...], back: PurePath) -> dict[str, str]:
    """A row whose relative paths lead from another folder; absolute ones stay."""
    cells = {name: row.cells[name] for name in columns}
    paths = {n: str(back / cells[n]) for n in PATHS if cells.get(n)}
    return cells | paths


def _one_value(cohort: Cohort, of: str, column: str) -> dict[str, str]:
    """The one value of a column that each unit has."""
    values: dict[str, str] = {}
    for case in cohort.cases:
        unit, value = case.column(of), case.column(column)
        if values.setdefault(unit, value) != value:
            raise ValueError(
                f"{of} {unit} has cases of several values of {column} "
                f"({values[unit]}, {value}): its cases must lie in one part"
            )
    return values


def _balanced(
    values: Mapping[str, str], column: str, shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    parts: dict[str, str] = {}
    for place, value in enumerate(sorted(set(values.values()))):
        own = [unit for unit, each in values.items() if each == value]
        try:
            parts |= draw_parts(own, shares, (seed, place))
        except ValueError as error:
            raise ValueError(f"{column} {value!r}: {error}") from None
    return parts
