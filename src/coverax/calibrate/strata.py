"""Groups that every new case tells by its map: bins of predicted volume or confidence.

A promise over all cases may fail within the small ones. True size is not known of a new
case, but what its map says of itself is: with edges that were fixed on other, learning
units, bins of it are groups as any other, and each has a threshold of its own (Mondrian).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import get_args

import numpy as np
from jaxtyping import Float, Shaped

from coverax.calibrate.map_facts import (
    Counts,
    check_counts,
    check_voxels,
    n_predicted,
    soft_dice_confidence,
)
from coverax.calibrate.seen import Seen, seen_of
from coverax.choices import MapFeature
from coverax.files import Json, JsonRecord
from coverax.table import ScoreTable


@dataclass(frozen=True, slots=True)
class Strata(JsonRecord):
    """Bins of a feature of maps, by edges that were fixed on learning units.

    Attributes:
        feature: `predicted_volume`, mL of the mask at 0.5; or `uncertainty`, one less the
            Soft Dice Confidence.
        n: How many bins.
        edges: By region, the largest value of each bin but the last.
        learned_units: Short hashes of the units that set them.
        learned_cases: Of their case ids.
        learned_maps: Fingerprints of their maps.
    """

    feature: MapFeature
    n: int
    edges: dict[str, list[float]]
    learned_units: list[str] = field(default_factory=list[str])
    learned_cases: list[str] = field(default_factory=list[str])
    learned_maps: list[str] = field(default_factory=list[str])

    @classmethod
    def of(cls, content: Json) -> "Strata":
        """Inverse of `to_json`."""
        return cls(**{f.name: content[f.name] for f in fields(cls)})

    @property
    def name(self) -> str:
        """What the groups are by."""
        return f"{self.feature}:{self.n}"

    @property
    def seen(self) -> Seen:
        """What was looked at."""
        each = (self.learned_units, self.learned_cases, self.learned_maps)
        return Seen(*map(tuple, each))

    def groups(
        self,
        region: str,
        columns: Counts,
        voxel_ml: Float[np.ndarray, " rows"],
    ) -> Shaped[np.ndarray, " rows"]:
        """Bin of each row, `1 of 3` that of the smallest values.

        Args:
            region: Region of the rows.
            columns: Counts and sums of maps, as the score table has them.
            voxel_ml: Volume of a voxel of each.
        """
        values = FEATURES[self.feature](columns, voxel_ml)
        place = np.searchsorted(self.edges[region], values, side="left")
        return np.array([f"{k + 1} of {self.n}" for k in place.tolist()], object)


def _volume(
    columns: Counts, voxel_ml: Float[np.ndarray, " rows"]
) -> Float[np.ndarray, " rows"]:
    return n_predicted(columns, 0.5) * voxel_ml


def _uncertainty(
    columns: Counts, _voxel_ml: Float[np.ndarray, " rows"]
) -> Float[np.ndarray, " rows"]:
    return 1 - soft_dice_confidence(columns)


FEATURES: dict[MapFeature, Callable[[Counts, np.ndarray], np.ndarray]] = {
    "predicted_volume": _volume,
    "uncertainty": _uncertainty,
}


def is_strata(group_by: str | None) -> bool:
    """Whether groups of this name are told by maps, and not by a column."""
    return (group_by or "").partition(":")[0] in get_args(MapFeature)


def learn_strata(table: ScoreTable, by: str, *, unit_column: str = "unit") -> Strata:
    """Fix the edges of bins on learning units, which are then spent.

    Args:
        table: Scores of the learning cohort: its maps alone are looked at.
        by: `predicted_volume:N` or `uncertainty:N`, N bins that hold about as many cases.
        unit_column: Column that names what is exchangeable.

    Raises:
        ValueError: `by` is something else, the table lacks counts or sizes of voxels, or
            there are too few different values for so many bins.
    """
    name, _, number = by.partition(":")
    feature = next((known for known in get_args(MapFeature) if known == name), None)
    n = int(number) if number.isascii() and number.isdigit() else 0
    if feature is None or n < 2:
        raise ValueError(
            f"groups of maps are by {' or '.join(f'{f}:N' for f in FEATURES)}, N of 2 or "
            f"more, got {by!r}"
        )
    _check(table, feature)
    edges: dict[str, list[float]] = {}
    values = FEATURES[feature](table.columns, _voxel_ml(table))
    for region in dict.fromkeys(table.column("region").tolist()):
        mine = table.column("region") == region
        own = dict(zip(table.column("case_id")[mine], values[mine], strict=True))
        ranked = np.sort(np.array(list(own.values())))
        places = [-(-k * ranked.size // n) - 1 for k in range(1, n)]
        found = sorted(set(ranked[places].tolist())) if ranked.size >= n else []
        if len(found) < n - 1 or found[-1] == ranked[-1]:
            raise ValueError(
                f"region {region}: {n} bins of {feature} need as many different values "
                f"among the learning cases, and {len(set(own.values()))} of "
                f"{len(own)} differ: ask for fewer"
            )
        edges[region] = found
    seen = seen_of(table, table.units(unit_column), unit_column)
    return Strata(feature, n, edges, *map(list, seen))


def stratified(table: ScoreTable, strata: Strata) -> ScoreTable:
    """A table with the bin of each row as a column, to be calibrated by it.

    Calibrate it with `group_by=strata.name`, and give the result to `with_strata`.

    Raises:
        ValueError: The table lacks the counts, or was made of other maps or regions than
            those that set the edges.
    """
    _check(table, strata.feature)
    regions = table.column("region")
    if unknown := set(regions.tolist()) - strata.edges.keys():
        raise ValueError(
            f"region {', '.join(sorted(unknown))} has no edges: they were learned for "
            f"{', '.join(sorted(strata.edges))}"
        )
    groups = np.empty(len(regions), object)
    for region in strata.edges:
        mine = regions == region
        own = {name: values[mine] for name, values in table.columns.items()}
        groups[mine] = strata.groups(region, own, _voxel_ml(table)[mine])
    return replace(table, columns={**table.columns, strata.name: groups})


def _check(table: ScoreTable, feature: MapFeature) -> None:
    what = f"grouping by {feature}"
    check_counts(table.definition, what, bins=feature == "uncertainty")
    if feature == "predicted_volume":
        check_voxels(table, what)


def _voxel_ml(table: ScoreTable) -> Float[np.ndarray, " rows"]:
    return np.asarray(table.column("voxel_volume_ml"), float)
