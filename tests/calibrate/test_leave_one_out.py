"""Every promise as an identity: leave each unit of a bag out, calibrate, count.

The coverage theorems are averages over one bag of exchangeable units, so for any bag the
count is exact where scores are distinct, and at least that where they tie: no
randomness, no tolerance. Covered is what the masks do, on both engines. RCPS and LTT
promise something of the calibration set itself and have no such identity: for them
`test_every_calibration_set` enumerates all sets of a small size, with their chances.
"""

from collections.abc import Callable
from fractions import Fraction
from functools import cache, partial
from typing import NamedTuple

import numpy as np
import pytest
from tests import bags

import coverax as cx
from coverax.calibrate import (
    Counts,
    Loss,
    LossCurves,
    Policy,
    conformal_rank,
    pac_rank,
)

ALPHA, DELTA = Fraction(1, 5), Fraction(1, 4)
C = cx.calibrate


class Claim(NamedTuple):
    """A method, a bag for it, what is counted of a unit left out, and what that must be.

    Attributes:
        name: Of the test.
        bag: From an engine.
        calibrate: A calibration from the table of all other units.
        covers: What the unit left out counts, one number a promise.
        law: From the bag and the numbers, units first: what must be true.
        aside: Keep the unit in the table, in a region of its own: where a case or rater
            is drawn by names, which are those of the table.
    """

    name: str
    bag: Callable
    calibrate: Callable
    covers: Callable
    law: Callable
    aside: bool = False


def exactly(*ranks):
    """As many units as each rank says, for every promise that has one; None has none."""

    def check(bag, counts):
        n = len(bag.units) - 1
        for rank, column in zip(ranks, zip(*counts, strict=True), strict=True):
            if rank is not None:
                assert sum(column) == rank(n)

    return check


def at_least(*ranks):
    def check(bag, counts):
        n = len(bag.units) - 1
        for rank, column in zip(ranks, zip(*counts, strict=True), strict=True):
            assert sum(column) >= rank(n)

    return check


def marginal(alpha=ALPHA):
    return lambda n: conformal_rank(n, alpha)


def confident(alpha=ALPHA, delta=DELTA):
    return lambda n: pac_rank(n, alpha, delta)


def at_least_share(bag, counts):
    """At least 1 - alpha of the units, which is less than a rank says."""
    assert sum(count for (count,) in counts) >= (1 - ALPHA) * len(bag.units)


def heavy_share(bag, counts):
    """At least 1 - alpha of the weight of the units."""
    weights = [Fraction(str(w)) for w in bag.column("weight")]
    covered = sum(w for w, (hit,) in zip(weights, counts, strict=True) if hit)
    assert covered >= (1 - ALPHA) * sum(weights)


def mean_at_most(bag, counts):
    assert 0 < sum(count for (count,) in counts) <= ALPHA * len(bag.units)


def within_groups(floor, bag, counts):
    """Exactly the rank within each group that stands whoever is new; the rest as one."""
    groups = bag.column("group")
    sizes = {group: int((groups == group).sum()) for group in groups}
    served_by = [g if sizes[g] > floor else "other" for g in groups]
    for name in set(served_by):
        mine = [
            count for (count,), by in zip(counts, served_by, strict=True) if by == name
        ]
        rank = conformal_rank(len(mine) - 1, ALPHA)
        assert sum(mine) == min(rank, len(mine)), name


def fnr(table, _bag, **options):
    return C.calibrate_fnr(table, ALPHA, **options)


def crc(loss, table, _bag, **policy):
    return C.calibrate_crc(table, ALPHA, Policy(**policy), loss=loss)


def own_fnr(counts: Counts):
    return (counts.n_foreground - counts.n_true_positive) / counts.n_foreground


def is_over(counts: Counts):
    missed = counts.n_foreground - counts.n_true_positive
    return (10 * missed > counts.n_foreground).astype(float)


OWN = Loss(own_fnr, "missed share", -1, True, "own_fnr")
BINARY = Loss(is_over, "failure", -1, True, "failure")


def binary_curves(table, bag):
    """The binary loss on all critical probabilities of the bag, which are its jumps."""
    critical = bag.table.critical_probability(bags.TOLERANCE)
    cuts = np.unique(np.append(critical, np.float32(0)))
    of_case = {
        case: (cuts > q).astype(float)
        for case, q in zip(bag.column("case_id"), critical, strict=True)
    }
    return C.calibrate_crc(table, ALPHA, loss=LossCurves(cuts, of_case, -1))


def set_calibration(table, _bag, **options):
    return C.calibrate_sets(table, ALPHA, **options)


@cache
def learned(engine, n_axes):
    """Transforms learned from other units, on the scale of these."""
    bag = bags.sets(engine, n_axes, CHOICES, n=15, seed=12, prefix="learn", sizes=True)
    return C.learn_sets(
        bag.table, "0.5", n_folds=3, shares=(Fraction(2, 5),), n_axes=n_axes
    )


SURFACE = ("inner=surface", "outer=surface")
MIXED = ("inner=identity", "outer=smooth:fwhm=3")
CHOICES = (*SURFACE, *MIXED)
PART = Fraction(1, 20)


def set_claims(n_axes):
    """The rules of confidence sets."""
    surface = partial(bags.sets, n_axes=n_axes, transforms=SURFACE)
    mixed = partial(bags.sets, n_axes=n_axes, transforms=MIXED)
    regions = partial(bags.two_regions, n_axes=n_axes, transforms=SURFACE)
    two = (marginal(), marginal(), None)
    split = (marginal(PART), marginal(ALPHA - PART), None)
    both = (None, None, marginal())

    def choices(engine):
        return bags.sets(engine, n_axes, CHOICES, n=10)

    def ranked(table, bag, **options):
        engine = bag.table.definition.engine
        return set_calibration(
            table, bag, joint="ranked", learned=learned(engine, n_axes), **options
        )

    def rule(joint, **options):
        return partial(set_calibration, joint=joint, **options)

    rows = [
        ("each", surface, rule("each"), exactly(*two)),
        ("each_of_two_transforms", mixed, rule("each"), exactly(*two)),
        ("bonferroni", surface, rule("bonferroni", alpha_inner=PART), exactly(*split)),
        ("max", surface, rule("max"), exactly(*both)),
        ("ranked_learned", choices, ranked, exactly(*both)),
        (
            "each_delta",
            surface,
            rule("each", delta=DELTA),
            exactly(confident(), confident(), None),
        ),
        (
            "max_delta",
            surface,
            rule("max", delta=DELTA),
            exactly(None, None, confident()),
        ),
        ("max_of_regions", regions, rule("max", regions="joint"), exactly(*both)),
        ("each_of_regions", regions, rule("each", regions="joint"), exactly(*two)),
    ]
    return [
        Claim(f"sets_{name}_{n_axes}d", bag, calibrate, bags.set_served, law)
        for name, bag, calibrate, law in rows
    ]


_SLOW = (
    "learned_2d",
    "ranked_learned_3d",
)  # learns transforms, and looks for thresholds bit by bit
CLAIMS = [
    Claim("fnr", bags.distinct, fnr, bags.served, exactly(marginal())),
    Claim(
        "fnr_delta",
        bags.distinct,
        partial(fnr, delta=DELTA),
        bags.served,
        exactly(confident()),
    ),
    Claim("fnr_tied", bags.tied, fnr, bags.served, at_least(marginal())),
    Claim(
        "fnr_ties_broken",
        bags.tied,
        partial(fnr, break_ties=True),
        bags.served,
        exactly(marginal()),
    ),
    Claim(
        "fnr_groups",
        bags.grouped,
        partial(fnr, group_by="group"),
        bags.served,
        partial(within_groups, 0),
    ),
    Claim(
        "fnr_group_floor",
        bags.grouped,
        partial(fnr, group_by="group", group_floor=5),
        bags.served,
        partial(within_groups, 5),
    ),
    Claim(
        "fnr_group_floor_of_new_groups",
        bags.singletons,
        partial(fnr, group_by="group", group_floor=5),
        bags.served,
        partial(within_groups, 5),
    ),
    Claim(
        "fnr_weights",
        bags.weighted,
        partial(fnr, weights="weight", largest_weight=3),
        bags.served,
        heavy_share,
    ),
    Claim(
        "fnr_equal_weights",
        bags.distinct,
        partial(fnr, weights="weight"),
        bags.served,
        exactly(marginal()),
    ),
    Claim(
        "fnr_unit_one",
        bags.several,
        partial(fnr, per_unit="one", seed=3),
        bags.drawn_served,
        exactly(marginal()),
        aside=True,
    ),
    Claim(
        "fnr_unit_all",
        bags.several,
        partial(fnr, per_unit="all"),
        bags.served,
        at_least_share,
    ),
    Claim(
        "fnr_units_of_one_case",
        bags.distinct,
        partial(fnr, per_unit="all"),
        bags.served,
        exactly(marginal()),
    ),
    Claim(
        "fnr_raters_worst",
        bags.raters,
        partial(fnr, raters="worst"),
        bags.served,
        exactly(marginal()),
    ),
    Claim(
        "fnr_raters_draw",
        bags.raters,
        partial(fnr, raters="draw", seed=3),
        bags.rater_served,
        exactly(marginal()),
        aside=True,
    ),
    *(
        Claim(
            f"crc_{loss}",
            bags.distinct,
            partial(crc, loss),
            partial(bags.mean_loss, loss),
            mean_at_most,
        )
        for loss in ("fnr", "fpr", "missed_lesions")
    ),
    Claim(
        "crc_own_loss",
        bags.distinct,
        partial(crc, OWN),
        partial(bags.mean_loss, "fnr"),
        mean_at_most,
    ),
    Claim(
        "crc_binary_curves",
        bags.distinct,
        binary_curves,
        bags.served,
        exactly(marginal()),
    ),
    Claim(
        "crc_binary_grid",
        bags.distinct,
        partial(crc, BINARY),
        bags.served,
        at_least(marginal()),
    ),
    Claim(
        "crc_units",
        bags.several,
        partial(crc, "fnr", per_unit="all"),
        partial(bags.mean_loss, "fnr"),
        mean_at_most,
    ),
    Claim(
        "crc_raters_worst",
        bags.raters,
        partial(crc, "fnr", raters="worst"),
        partial(bags.mean_loss, "fnr"),
        mean_at_most,
    ),
    *set_claims(2),
    *set_claims(3),
]


@pytest.mark.parametrize(
    "claim",
    [
        pytest.param(
            claim, id=claim.name, marks=[pytest.mark.slow] * claim.name.endswith(_SLOW)
        )
        for claim in CLAIMS
    ],
)
def test_leaving_each_unit_out_keeps_the_promise(claim, engine):
    bag = claim.bag(engine)
    counts = []
    for unit in bag.units:
        rest = bag.aside(unit) if claim.aside else bag.without(unit)
        calibration = claim.calibrate(rest, bag)
        counts.append(claim.covers(calibration, bag, unit))
    claim.law(bag, counts)
