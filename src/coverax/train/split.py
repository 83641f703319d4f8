"""The split of a cohort into parts, by unit: drawn once, written, sealed.

A guarantee holds for new units only if the model never saw the units that calibrate it.
So a unit, with all its cases, belongs to one part, and whoever trains asks here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coverax.files import PathLike, digest_json, publish_sealed_json, read_sealed_json
from coverax.train.config import DataConfig
from coverax.volumes import draw_parts, read_groups, units_of

SCHEMA = 1
PARTS = ("train", "learning", "calibration", "test")


@dataclass(frozen=True, slots=True)
class Split:
    """Which unit lies in which part.

    Attributes:
        parts: Unit to its part.
        units: Case id to its unit.
        seed: Seed of the draw.
    """

    parts: dict[str, str]
    units: dict[str, str]
    seed: int

    def cases(self, part: str) -> tuple[str, ...]:
        """Case ids of a part, sorted.

        Raises:
            ValueError: There is no such part.
        """
        if part not in PARTS:
            raise ValueError(f"no part {part!r}; there are {', '.join(PARTS)}")
        return tuple(
            sorted(i for i, unit in self.units.items() if self.parts[unit] == part)
        )

    @property
    def digest(self) -> str:
        """SHA-256 of everything in it, as its file says."""
        return digest_json(_content(self))

    def part_of(self, case_id: str) -> str | None:
        """Part of a case; None for a case the split does not know."""
        unit = self.units.get(case_id)
        return None if unit is None else self.parts[unit]

    def check_disjoint(self, case_ids: Iterable[str], part: str = "train") -> None:
        """Refuse cases that do not belong to a part: the guard against leaks.

        Raises:
            ValueError: A case belongs to a unit of another part, or to none.
        """
        for case_id in case_ids:
            found = self.part_of(case_id)
            if found is None:
                raise ValueError(f"case {case_id} is in no part of the split")
            if found != part:
                raise ValueError(
                    f"case {case_id} belongs to unit {self.units[case_id]} of the part "
                    f"{found} and must not be seen as {part}"
                )


def split_units(
    units: Mapping[str, str], shares: Mapping[str, float], seed: int
) -> Split:
    """Draw the parts at random, unit by unit.

    Units of any two parts are exchangeable: the draw is a uniform permutation of the
    units, whatever the order of the cases.

    Args:
        units: Case id to its unit.
        shares: Share of the units of each part; they sum to 1.
        seed: Seed of the draw.

    Raises:
        ValueError: A part with a share above 0 would have no unit.
    """
    wanted = {part: shares.get(part, 0.0) for part in PARTS}
    parts = draw_parts(sorted(set(units.values())), wanted, seed)
    return Split(parts, dict(units), seed)


def split_of(config: DataConfig, case_ids: Iterable[str]) -> Split:
    """The split of a run: read from its file, or drawn as the config says.

    Raises:
        FileNotFoundError: The split or the file of units is missing.
        ValueError: A case has no unit, or is unknown to the split that was given.
    """
    ids = sorted(case_ids)
    if config.split is not None:
        split = read_split(config.split)
        if unknown := [i for i in ids if split.part_of(i) is None]:
            raise ValueError(f"{config.split}: does not know case {_some(unknown)}")
        return split
    units = units_of(ids, config.unit_pattern) if config.units is None else {}
    if config.units is not None:
        named = read_groups(config.units, column="unit")
        if missing := [i for i in ids if i not in named]:
            raise ValueError(f"{config.units}: no unit for case {_some(missing)}")
        units = {i: named[i] for i in ids}
    return split_units(units, config.shares, config.split_seed)


def write_split(path: PathLike, split: Split) -> None:
    """Write a split as JSON with a digest of its content."""
    path = Path(path)
    publish_sealed_json(path, _content(split))


def read_split(path: PathLike) -> Split:
    """Read a split.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is something else, or was altered after it was written.
    """
    path = Path(path)
    content, _ = read_sealed_json(path, "split", SCHEMA, "train")
    return Split(content["parts"], content["units"], content["seed"])


def _content(split: Split) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "seed": split.seed,
        "parts": split.parts,
        "units": split.units,
    }


def _some(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
