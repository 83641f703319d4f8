"""What of a score table is validated, and which of its scores that is of."""

from dataclasses import dataclass

from coverax.choices import CountedEmpty, FnrScore, RaterRule, ValidatedMethod
from coverax.rational import Level
from coverax.scores import ScoreTable
from coverax.validate.validated import Validated, scores_of_sets, scores_of_tolerances


@dataclass(frozen=True, slots=True)
class Plan:
    """What to validate.

    Attributes:
        alphas: Tolerated miscoverages.
        fractions: Shares of units that calibrate.
        n_splits: Random splits beside all splits; 0 for none.
        seed: Seed of the splits, and of the draw of one case a unit.
        empty: Whether empty references count; by default as calibration has it: they
            do for sets, and do not for `fnr`.
        hold_out_by: Column of groups that are held out in turn.
        order_by: Column of the order of acquisition, sorted by `acquisition_order`.
        raters: What several references of a case do: `worst` or `draw`.
        method: `fnr` or `sets`; to be named where the table holds scores of sets.
        inner: Transform of the inner set, for `sets`; the table's only one by default.
        outer: Transform of the outer set, likewise.
        score: What ranks cases for `fnr`: the critical probability, or the mass score.
        closed: Only what is in closed form: no count of splits of whole units.
    """

    alphas: tuple[Level, ...]
    fractions: tuple[Level, ...] = ("0.5",)
    n_splits: int = 0
    seed: int = 0
    empty: CountedEmpty | None = None
    hold_out_by: str | None = None
    order_by: str | None = None
    raters: RaterRule | None = None
    method: ValidatedMethod | None = None
    inner: str | None = None
    outer: str | None = None
    score: FnrScore = "critical"
    closed: bool = False

    @property
    def counts_empty(self) -> CountedEmpty:
        """Whether empty references count."""
        return self.empty or ("include" if self.method == "sets" else "exclude")


def check_method(table: ScoreTable, plan: Plan) -> None:
    """Never answer a question about one method with the numbers of another."""
    if plan.method not in (None, "fnr", "sets"):
        raise ValueError(
            f"method {plan.method} is not validated on a table: the law of all splits is "
            "that of a rank (fnr, sets). leave_site_out (validate --sites) looks at it on "
            "summaries of sites"
        )
    transforms = [f"{t.side}={t.spec}" for t in table.definition.transforms]
    if transforms and plan.method is None:
        raise ValueError(
            f"the table holds scores of sets ({', '.join(transforms)}): name "
            "method='sets' (--method sets), or method='fnr' (--method fnr) for the "
            "threshold on the false-negative rate"
        )
    if plan.method == "sets" and plan.score != "critical":
        raise ValueError("score mass goes with method fnr, not with sets")
    if plan.method != "sets" and (plan.inner or plan.outer):
        raise ValueError("transforms (inner, outer) go with method sets")


def scores_of(table: ScoreTable, plan: Plan) -> list[Validated]:
    """The scores of a table that a plan asks about."""
    if plan.method == "sets":
        return scores_of_sets(table, plan.inner, plan.outer)
    return scores_of_tolerances(table, plan.score)
