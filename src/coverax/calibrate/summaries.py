"""What a site may send in place of its table: sums over its units, and their number.

A loss is a share of voxels, and a sum of exact shares would tell the sizes: its
denominator holds theirs. So each loss is rounded up to a multiple of `1 / ONE` before it
is added. Sums of whole numbers do not depend on order or on who adds what first, and a
loss that is rounded up promises no more than the loss itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from coverax._version import __version__
from coverax.calibrate.loss_tables import LossTables
from coverax.calibrate.losses import LOSSES, Loss, LossCurves
from coverax.calibrate.policy import DEFAULT_POLICY, Policy
from coverax.calibrate.raters import cases_of
from coverax.calibrate.seal import Part, keep_regions
from coverax.calibrate.units import Kept
from coverax.choices import LossName
from coverax.files import (
    Json,
    PathLike,
    check_fields,
    digest_json,
    publish_sealed_json,
    read_sealed_json,
    sound,
)
from coverax.shown import plural
from coverax.table import ScoreDefinition, ScoreTable
from coverax.table.columns import GRID_CUTS, N_CUTS

SCHEMA = 1
# Losses are counted in parts of this: shares of up to sixteen voxels are exact.
ONE = 720_720
# Units below which a sum is nearly the curve of one of them.
FEWEST = 10
# A share of up to 1e9 voxels is a multiple of 1 / ONE or farther from one than this.
_NEAR = 5e-10

Sums = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RegionSums:
    """A region of the cases of a site: sums and counts, which name none of them.

    Attributes:
        region: Structure.
        n_units: Units that count.
        sums: By loss, its sum over units at each cut of the grid, in parts of `ONE`.
        n_above: By tolerance, the units that miss a larger share at each cut.
    """

    region: str
    n_units: int
    sums: dict[str, Sums]
    n_above: dict[str, Sums]

    def to_json(self) -> Json:
        """As the file holds it."""
        return {
            "region": self.region,
            "n_units": self.n_units,
            "sums": {name: list(values) for name, values in self.sums.items()},
            "n_above": {name: list(values) for name, values in self.n_above.items()},
        }

    @classmethod
    def of(cls, content: Json) -> "RegionSums":
        """Inverse of `to_json`.

        Raises:
            ValueError: A sum is no whole number that so many units can have.
        """
        found = cls(
            content["region"],
            content["n_units"],
            {name: tuple(values) for name, values in content["sums"].items()},
            {name: tuple(values) for name, values in content["n_above"].items()},
        )
        check_fields(found)
        for curves, one in ((found.sums, ONE), (found.n_above, 1)):
            for name, values in curves.items():
                found.check_curve(name, values, one)
        return found

    def is_of(self, other: "RegionSums") -> bool:
        """Whether another is of the same units: of equal sums that tell units apart.

        Counts that jump at one cut alone, as where a model gives 0 to some of every
        reference, are those of any units.
        """
        shared = self.sums.keys() & other.sums.keys()
        return (
            self.n_units == other.n_units
            and self.n_above == other.n_above
            and all(self.sums[name] == other.sums[name] for name in shared)
            and any(len(set(curve)) > 2 for curve in self.n_above.values())
        )

    def check_curve(self, name: str, values: Sums, one: int) -> None:
        """Refuse sums of another length, or that losses in [0, 1] cannot have.

        Raises:
            ValueError: They are.
        """
        most = self.n_units * one
        fits = all(type(value) is int and 0 <= value <= most for value in values)
        if len(values) != N_CUTS or not fits:
            raise ValueError(
                f"region {self.region}, {name}: expected {N_CUTS} whole numbers of at "
                f"most {most}"
            )


@dataclass(frozen=True, slots=True)
class SiteSummary:
    """Sums over the units of one site, or of several that were joined.

    Attributes:
        definition: What the scores mean.
        policy: Which rows counted.
        n_cases: Cases of the table.
        left_out: Reason to the number of cases that do not count.
        regions: One a structure.
        source: File it was read from, for messages; empty in memory.
    """

    definition: ScoreDefinition
    policy: Policy
    n_cases: int
    left_out: dict[str, int]
    regions: tuple[RegionSums, ...]
    source: str = field(default="", compare=False)

    @property
    def losses(self) -> tuple[str, ...]:
        """Losses whose sums it holds."""
        return tuple(self.regions[0].sums)

    def region(self, name: str) -> RegionSums:
        """The sums of a region."""
        return next(region for region in self.regions if region.region == name)

    @property
    def name(self) -> str:
        """How messages call it: by its file, else by its seal."""
        return self.source or f"site {self.digest[:12]}"

    @property
    def digest(self) -> str:
        """SHA-256 of all that it holds: the seal of its file."""
        return digest_json(self.to_json())

    def to_json(self) -> Json:
        """The content of its file, but for the seal: all that leaves the site."""
        return {
            "schema": SCHEMA,
            "coverax": __version__,
            "one": ONE,
            "n_cuts": N_CUTS,
            "n_cases": self.n_cases,
            "left_out": self.left_out,
            "policy": self.policy._asdict(),
            "score_definition": self.definition.to_json(),
            "regions": [region.to_json() for region in self.regions],
        }

    def contents(self) -> list[str]:
        """What leaves the site, in words: a line each."""
        kept = ", ".join(f"{n} {why}" for why, n in self.left_out.items()) or "none"
        curves = (
            f"sums of the loss {', '.join(self.losses)} over all units, and the number "
            "of units that miss more than "
            f"{', '.join(self.regions[0].n_above)}, at {N_CUTS} cuts"
        )
        return [
            f"{plural(self.n_cases, 'case')}, left out: {kept}",
            *(
                f"region {r.region}: {plural(r.n_units, 'unit')}; {curves}"
                for r in self.regions
            ),
            "the score definition (regions, labels, tolerances, how values are stored, "
            "which model made the maps), the rule by which rows count, the version",
            "and nothing else: no case, unit or file name, no size, no date",
        ]

    def write(self, path: PathLike) -> None:
        """Write it sealed; the file appears complete or not at all."""
        publish_sealed_json(path, self.to_json())


def summarise(
    table: ScoreTable,
    losses: Sequence[LossName] = ("fnr",),
    policy: Policy = DEFAULT_POLICY,
    *,
    fewest: int = FEWEST,
) -> SiteSummary:
    """The sums of a site's table, for `calibrate_sites`.

    It names no case, holds no size and no date: tables whose cases have other names,
    another order, or twice the voxels throughout have the same sums. It is no proof of
    privacy: nothing is blurred, and one who knows all other units of a sum knows the
    last one.

    Args:
        table: Scores of the site's cases, with loss curves.
        losses: What to add up: `fnr`, `fpr`, `dice`, `missed_lesions`.
        policy: Which rows count; one case a unit, and no groups.
        fewest: Units below which a region is not summarised.

    Raises:
        ValueError: The table has no curves, its cases cannot calibrate, a region has
            some units but fewer than `fewest`, a loss is named twice or none is, or the
            policy has groups or units that weigh several cases.
    """
    _check_asked(losses, policy, fewest)
    kept = keep_regions(table, policy)
    regions = tuple(
        _sums_of(table, region, found, losses, policy, fewest)
        for region, found in kept.items()
    )
    left_out = {why: set(ids) for why, ids in table.excluded.items()}
    for found in kept.values():
        for why, ids in found.excluded.items():
            left_out.setdefault(why, set()).update(ids)
    return SiteSummary(
        definition=table.definition,
        policy=policy.settled,
        n_cases=len(set(table.column("case_id"))),
        left_out={why: len(ids) for why, ids in sorted(left_out.items())},
        regions=regions,
    )


def read_summary(path: PathLike) -> SiteSummary:
    """Read the file of a site.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no summary, of another schema or grid, or was altered.
    """
    path = Path(path)
    content, _ = read_sealed_json(path, "summary of a site", SCHEMA, "summarise")
    with sound(path, "summary of a site"):
        if (content.get("one"), content.get("n_cuts")) != (ONE, N_CUTS):
            raise ValueError(
                f"no summary of a site with sums in parts of {ONE} at {N_CUTS} cuts, as "
                "this version of `coverax summarise` writes them"
            )
        policy = Policy(**content["policy"])
        check_fields(policy)
        found = SiteSummary(
            definition=ScoreDefinition.from_json(content["score_definition"]),
            policy=policy,
            n_cases=content["n_cases"],
            left_out=content["left_out"],
            regions=tuple(RegionSums.of(region) for region in content["regions"]),
            source=str(path),
        )
        check_fields(found)
        _check_regions(found)
        return found


def _check_regions(site: SiteSummary) -> None:
    """Refuse a file whose regions do not go with each other, or with its definition."""
    names = [region.region for region in site.regions]
    defined = [region.name for region in site.definition.regions]
    if sorted(names) != sorted(defined):
        raise ValueError(f"it has sums of {names}, and its definition has {defined}")
    tolerances = [repr(tolerance) for tolerance in site.definition.tolerances]
    for region in site.regions:
        if tuple(region.sums) != site.losses or list(region.n_above) != tolerances:
            raise ValueError("its regions have sums of other losses or tolerances")
    unknown = [name for name in site.losses if name not in LOSSES]
    if unknown or not site.losses:
        raise ValueError(f"it has sums of {unknown or 'no loss'}")


def _check_asked(losses: Sequence[LossName], policy: Policy, fewest: int) -> None:
    if not losses or len(set(losses)) < len(losses):
        raise ValueError(f"name each loss once, got {', '.join(losses) or 'none'}")
    if policy.group_by is not None:
        raise ValueError("a summary has no groups: summarise each group's own table")
    if policy.per_unit == "all":
        raise ValueError(
            "per_unit 'all' weighs units of several cases, and sums count one case of "
            "each: per_unit='one' (--per-unit one) draws it"
        )
    if fewest < 1:
        raise ValueError(f"fewest must be 1 or more, got {fewest}")


def _sums_of(
    table: ScoreTable,
    region: str,
    found: Kept,
    losses: Sequence[LossName],
    policy: Policy,
    fewest: int,
) -> RegionSums:
    """Sums of one region; all 0 where every reference is empty."""
    rows = np.flatnonzero(found.rows)
    if 0 < rows.size < fewest:
        raise ValueError(
            f"region {region} has {plural(rows.size, 'unit')}, and sums over fewer "
            f"than {fewest} are nearly the curves of single cases; fewest (--fewest) "
            "sets another limit"
        )
    tolerances = table.tolerances
    if not rows.size:
        none = (0,) * N_CUTS
        return RegionSums(
            region, 0, dict.fromkeys(losses, none), {repr(t): none for t in tolerances}
        )
    part = Part(region, "", cases_of(table.column("case_id"), rows, found.references))
    sums = {
        name: _whole(rounded_up(_at_cuts(table, part, LOSSES[name], policy)).sum(0))
        for name in losses
    }
    n_above = {repr(t): _whole(_n_above(table, part, t)) for t in tolerances}
    return RegionSums(region, rows.size, sums, n_above)


def _at_cuts(
    table: ScoreTable, part: Part, loss: Loss | LossCurves, policy: Policy
) -> Float[np.ndarray, "units cuts"]:
    """A loss of every unit at the cuts of the grid, ascending."""
    _, (losses,) = LossTables(table, policy.unit_column, loss).of_part(part, [loss])
    return losses[:, :: loss.safe_sign]


def rounded_up(losses: Float[np.ndarray, "*any"]) -> Int[np.ndarray, "*any"]:
    """Shares of voxels in parts of `ONE`: exact, or the next larger.

    Exact for shares of up to 1e9 voxels: a float64 is within 2e-10 parts of its share,
    and a share that is no whole number of parts is at least 1e-9 away from one.
    """
    parts = np.asarray(losses, np.float64) * ONE
    near = np.rint(parts)
    whole = np.where(np.abs(parts - near) < _NEAR, near, np.ceil(parts))
    return whole.astype(np.int64)


def _n_above(
    table: ScoreTable, part: Part, tolerance: float
) -> Int[np.ndarray, " cuts"]:
    """Units that miss more than a tolerance at each cut: above their critical one."""
    scores = part.cases.worst(0.0 - table.critical_probability(tolerance))
    critical = np.sort(0.0 - scores.astype(np.float32))
    return np.searchsorted(critical, GRID_CUTS, side="left")


def _whole(values: Int[np.ndarray, " cuts"]) -> Sums:
    return tuple(int(value) for value in values)
