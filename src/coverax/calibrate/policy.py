"""Which rows of a table count: one answer, whatever the method."""

from typing import NamedTuple

from coverax.calibrate.groups import MERGED
from coverax.choices import EmptyPolicy, PerUnit, RaterRule
from coverax.files import Json
from coverax.rational import Level


class Policy(NamedTuple):
    """Which rows count, and what is calibrated on its own.

    Attributes:
        empty: What an empty reference does: `exclude` (the guarantee speaks of cases
            with foreground), `include` (score -inf, always served), `refuse`.
        unit_column: Column that names what is exchangeable.
        per_unit: `one` draws one case of each unit; `all` keeps all of them, each unit
            weighing the same; None refuses units with several cases.
        seed: Seed of the draws. It gives every name a fixed priority, so they depend
            neither on the order of the table nor on the scores.
        group_by: Column of groups, each with a threshold of its own.
        group_floor: Groups of fewer units count as one, `other`.
        raters: What several references of a case do: `worst`, `draw`, or None to
            refuse them; see `settle_raters`. The draw comes before empty references
            are put aside.
    """

    empty: EmptyPolicy = "exclude"
    unit_column: str = "unit"
    per_unit: PerUnit | None = None
    seed: int = 0
    group_by: str | None = None
    group_floor: int = 0
    raters: RaterRule | None = None

    @property
    def has_draw(self) -> bool:
        """Whether a case of each unit, or a rater of each case, is drawn."""
        return self.per_unit == "one" or self.raters == "draw"

    def check_no_weights(self) -> None:
        """Refuse units that weigh their cases, for methods that know one case of each.

        Raises:
            ValueError: `per_unit` is `all`.
        """
        if self.per_unit not in (None, "one"):
            raise ValueError(
                f"sets count one case of each unit: per_unit must be 'one', got "
                f"{self.per_unit!r}"
            )

    @classmethod
    def of(cls, options: Json) -> "Policy":
        """The policy that options of a calibration record."""
        return cls(
            options["empty"],
            options["unit_column"],
            options.get("per_unit"),
            options.get("seed") or 0,
            options.get("group_by"),
            options.get("group_floor") or 0,
            options.get("raters"),
        )

    def check_floor(self, delta: Level | None) -> None:
        """Refuse small groups that count as one, where confidence is promised.

        Whom `other` serves depends on the calibration set: on those with a rare group
        unmet, `other` may serve it alone by units of others. Averaged over the sets
        the promise holds, but sets that fail may be more than a share `delta`.

        Raises:
            ValueError: There are a floor of groups and a delta.
        """
        if delta is not None and self.settled.group_floor:
            raise ValueError(
                "with group_floor (--group-floor) no confidence can be promised: whom "
                f"{MERGED} serves depends on the calibration set; leave out the floor, "
                "or delta (--delta)"
            )

    @property
    def settled(self) -> "Policy":
        """The same without what has no effect: a seed of no draw, a floor of no groups."""
        return self._replace(
            seed=self.seed if self.has_draw else 0,
            group_floor=self.group_floor if self.group_by is not None else 0,
        )

    def recorded(self) -> dict[str, str | int | None]:
        """What a calibration says of it; groups are recorded with their names."""
        return {
            "empty": self.empty,
            "unit_column": self.unit_column,
            "per_unit": self.per_unit,
            "seed": self.seed if self.has_draw else None,
            "raters": self.raters,
        }


DEFAULT_POLICY = Policy()
