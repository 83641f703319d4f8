"""Bags of exchangeable cases, scored once, of which each unit is left out in turn."""

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
from scipy.ndimage import label

import coverax as cx
from coverax.volumes import Region
from tests.sets_cohort import blobs

TOLERANCE = 0.1
SPACING_MM = (1.0, 1.5, 2.0)


@dataclass(frozen=True, eq=False)
class Bag:
    """Rows of a table, with the arrays they were scored from.

    Attributes:
        table: All rows.
        probs: Map of each row.
        labels: Reference of each row.
    """

    table: Any
    probs: Any
    labels: Any

    def column(self, name):
        return self.table.column(name)

    @property
    def units(self):
        return list(dict.fromkeys(self.column("unit")))

    def rows(self, unit):
        return np.flatnonzero(self.column("unit") == unit)

    def without(self, unit):
        """The table of all other units."""
        return self.table.select(self.column("unit") != unit)

    def aside(self, unit):
        """The whole table, the unit in a region of its own: draws by names stay."""
        mine = self.column("unit") == unit
        region = np.where(mine, "aside", self.column("region")).astype(object)
        return with_column(self.table, "region", region)


def with_column(table, name, values):
    """The table with a column replaced."""
    return replace(table, columns={**table.columns, name: values})


def joined(tables, regions):
    """Tables of one region each as one of all."""
    columns = {
        name: np.concatenate([table.column(name) for table in tables])
        for name in tables[0].columns
    }
    definition = replace(
        tables[0].definition, regions=tuple(Region(r, (0,), (1,)) for r in regions)
    )
    return replace(tables[0], columns=columns, definition=definition)


def maps(n, seed, *, levels=None, shape=(5, 4, 3)):
    """Random maps and references; with levels all values are k / levels."""
    rng = np.random.default_rng(seed)
    labels = rng.random((n, *shape)) < rng.uniform(0.1, 0.6, (n, 1, 1, 1))
    labels[:, 0, 0, 0] = True
    probs = rng.random((n, *shape)) ** rng.uniform(0.2, 2.0, (n, 1, 1, 1))
    probs = np.where(labels, np.sqrt(probs), probs)
    if levels:
        probs = np.round(probs * levels) / levels
    return probs.astype(np.float32), labels


def scored(probs, labels, engine, **columns):
    table = cx.scores.score_arrays(
        probs, labels, [TOLERANCE], engine=engine, n_bins=0, **columns
    )
    return Bag(table, probs, labels)


@cache
def distinct(engine, n=20):
    return scored(*maps(n, 1), engine, spacing_mm=SPACING_MM, lesions="corner")


@cache
def tied(engine, n=20):
    return scored(*maps(n, 2, levels=8), engine)


@cache
def grouped(engine):
    """Four groups, of 12, 6, 5 and 2."""
    groups = ["a"] * 12 + ["b"] * 6 + ["c"] * 5 + ["d"] * 2
    return scored(*maps(len(groups), 3), engine, groups=groups)


@cache
def singletons(engine):
    """20 groups of one easy unit and 10 of two hard ones.

    Counting the easy ones for `other` without ever serving their like covers 16 of the
    20 that are served.
    """
    probs, labels = maps(40, 4)
    own = np.linspace(0.9, 0.1, 40, dtype=np.float32)[:, None, None, None]
    probs = np.where(labels, own, np.float32(0.01) * probs).astype(np.float32)
    groups = [f"s{i}" for i in range(20)] + [f"p{i // 2}" for i in range(20)]
    return scored(probs, labels, engine, groups=groups)


@cache
def weighted(engine):
    weights = (np.random.default_rng(5).integers(1, 30, 20) / 10).tolist()
    return scored(*maps(20, 5), engine, weights=weights)


@cache
def several(engine):
    """12 units of one to three cases each."""
    units = [f"p{k}" for k in range(12) for _ in range(k % 3 + 1)]
    return scored(*maps(len(units), 6), engine, units=units)


@cache
def raters(engine):
    """20 cases that two or three raters read."""
    who = [(k, r) for k in range(20) for r in range(2 + k % 2)]
    probs, labels = maps(20, 7)
    _, others = maps(len(who), 8)
    read = np.stack([labels[k] | (others[i] & (r > 0)) for i, (k, r) in enumerate(who)])
    return scored(
        np.stack([probs[k] for k, _ in who]),
        read,
        engine,
        case_ids=[f"case_{k}" for k, _ in who],
        units=[f"case_{k}" for k, _ in who],
        raters=[f"r{r}" for _, r in who],
    )


@cache
def sets(engine, n_axes, transforms, n=20, seed=9, prefix="case", sizes=False):
    shape = (9, 11, 8) if n_axes == 3 else (18, 16)
    probs, labels = blobs(n, seed, shape)
    return scored(
        probs,
        labels,
        engine,
        transforms=transforms,
        spacing_mm=SPACING_MM[:n_axes],
        case_ids=[f"{prefix}_{i}" for i in range(n)],
        units=[f"{prefix}_{i}" for i in range(n)],
        set_sizes=sizes,
        voxel_volume_ml=0.003,
    )


@cache
def two_regions(engine, n_axes, transforms):
    """Every case has two regions."""
    one, other = (sets(engine, n_axes, transforms, seed=seed) for seed in (10, 11))
    names = ("left", "right")
    tables = [
        with_column(bag.table, "region", np.full(bag.table.n_rows, name, object))
        for name, bag in zip(names, (one, other), strict=True)
    ]
    both = joined(tables, names)
    return Bag(
        both,
        np.concatenate([one.probs, other.probs]),
        np.concatenate([one.labels, other.labels]),
    )


def n_lesions_missed(mask, reference):
    """Components of the reference (26 neighbours) that the mask does not touch."""
    found, n = label(reference, np.ones((3,) * reference.ndim))
    return n, n - np.unique(found[mask & (found > 0)]).size


def mask_of(calibration, bag, row, region="foreground"):
    own = calibration.of_group(bag.column("group")[row] or "none")
    threshold = own.of_case(bag.column("case_id")[row]).threshold_of(region)
    return cx.predict.threshold_mask(bag.probs[row], threshold.probability)


def complies(calibration, bag, row):
    mask, reference = mask_of(calibration, bag, row), bag.labels[row]
    n = int(reference.sum())
    missed = int((reference & ~mask).sum())
    return missed <= Fraction(str(TOLERANCE)) * n


def served(calibration, bag, unit):
    """The share of the unit's cases that comply; all its raters at once."""
    ids = bag.column("case_id")
    hits = {}
    for row in bag.rows(unit):
        hits[ids[row]] = hits.get(ids[row], True) and complies(calibration, bag, row)
    return [Fraction(sum(hits.values()), len(hits))]


def drawn_served(calibration, bag, unit):
    """Whether the one case of the unit that is drawn complies."""
    ids, units = bag.column("case_id"), bag.column("unit")
    everything = np.ones(len(ids), bool)
    drawn = cx.calibrate.draw_one_per_unit(ids, units, everything, seed=3)
    (row,) = np.flatnonzero(drawn & (units == unit))
    return [Fraction(complies(calibration, bag, row))]


def rater_served(calibration, bag, unit):
    """Whether the case complies with the rater who is drawn."""
    ids = bag.column("case_id")
    everything = np.ones(len(ids), bool)
    kept = cx.calibrate.settle_raters(ids, bag.column("rater"), everything, "draw", 3)
    (row,) = np.flatnonzero(kept & (ids == unit))
    return [Fraction(complies(calibration, bag, row))]


def loss_of(name, mask, reference):
    if name == "fnr":
        return Fraction(int((reference & ~mask).sum()), int(reference.sum()))
    if name == "fpr":
        return Fraction(int((mask & ~reference).sum()), int((~reference).sum()))
    n, n_missed = n_lesions_missed(mask, reference)
    return Fraction(n_missed, n)


def mean_loss(name, calibration, bag, unit):
    """Mean over the cases of a unit of their loss, the worst over raters."""
    ids = bag.column("case_id")
    losses = {}
    for row in bag.rows(unit):
        own = loss_of(name, mask_of(calibration, bag, row), bag.labels[row])
        losses[ids[row]] = max(own, losses.get(ids[row], Fraction(0)))
    return [sum(losses.values()) / len(losses)]


def set_served(calibration, bag, unit):
    """Inner, outer, and both, over all regions of the case that are promised together."""
    hits = []
    for row in bag.rows(unit):
        region = bag.column("region")[row]
        each = []
        for side in ("inner", "outer"):
            transform = bag.table.side_transform(side, calibration.options[side])
            score = bag.table.side_scores(transform)[row]
            each.append(score <= calibration.threshold_of(region, side).value)
        hits.append((*each, all(each)))
    return [Fraction(all(hit[k] for hit in hits)) for k in range(3)]
