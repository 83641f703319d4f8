"""What the maps of several folds say together, counted one map at a time."""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from coverax.calibrate import Calibration, Folds, MeanP
from coverax.choices import Side
from coverax.predict.masks import RegionMasks, threshold_mask, volume_ml
from coverax.predict.sets import label_sets, score_maps_of
from coverax.scores import View, side_cut, side_transforms
from coverax.table import Transform

_CHUNK = 1 << 17  # voxels whose counts are in memory at a time


class Votes:
    """How many folds mark each voxel."""

    def __init__(self, calibration: Calibration, region: str):
        self._folds = folds_of(calibration)
        found = [t for t in calibration.thresholds if t.region == region]
        self._own = {t.fold: t for t in found}
        self._count: np.ndarray | None = None

    def add(self, fold: int, view: View) -> None:
        """Count the voxels that a fold marks."""
        if self._count is None:
            self._count = np.zeros(view.probs.size, np.uint16)
        threshold = self._own[self._folds.names[fold]]
        self._count += threshold_mask(view.probs, threshold.probability)

    def mask(self) -> Bool[np.ndarray, " voxels"]:
        """Voxels that enough folds mark."""
        return np.asarray(self._count) >= (self._folds.votes or 0)

    def masks(self, view: View) -> RegionMasks:
        """The mask, and what the sidecar says of it."""
        mask, first = self.mask(), next(iter(self._own.values()))
        n_predicted = int(np.count_nonzero(mask))
        cuts = {name: t.probability.hex() for name, t in self._own.items()}
        entry = {
            "tolerance": first.tolerance,
            "votes_needed": self._folds.votes,
            "probability_thresholds": cuts,
            "status": max(t.status for t in self._own.values()).name,
            "whole_volume": n_predicted == mask.size,
            "n_predicted": n_predicted,
            "volume_ml": volume_ml(n_predicted, view),
        }
        return RegionMasks({"": mask}, 1, entry)


class Sides:
    """Sums of the p-values of each voxel, for the inner and the outer set."""

    def __init__(self, calibration: Calibration, region: str):
        self._calibration, self._region = calibration, region
        asked, folds = calibration.sets, folds_of(calibration)
        self._transforms = side_transforms(asked.inner, asked.outer)
        self._sides = {t.side: folds.side(region, t.side) for t in self._transforms}
        self._sums: dict[str, MeanP] = {}

    def add(self, fold: int, view: View) -> None:
        """Count, for each voxel, the scores of a fold that are at least its own."""
        maps = score_maps_of(self._calibration, view)
        for transform in self._transforms:
            side = self._sides[transform.side]
            if transform.side not in self._sums:
                sizes = side.known.sizes
                shape = (view.probs.size,)
                self._sums[transform.side] = MeanP(sizes, side.level, shape)
            sums = self._sums[transform.side]
            scores = tuple(side.known.scores[fold].tolist())
            shell = _shell(transform, scores, sums.enough(fold))
            _count(sums, fold, shell, maps[transform.side])

    def sets(self) -> dict[Side, Bool[np.ndarray, " voxels"]]:
        """The inner and the outer set."""
        return {
            "inner": ~self._sums["inner"].above(),
            "outer": self._sums["outer"].above(),
        }

    def masks(self, view: View) -> RegionMasks:
        """The label map, both sets, and what the sidecar says of them."""
        found = {
            t.side: self._calibration.threshold_of(self._region, t.side)
            for t in self._transforms
        }
        described: dict[Side, dict[str, Any]] = {
            t.side: {
                "transform": t.spec,
                "mean_p_level": str(self._sides[t.side].level),
                "left_out_where_all_exceed": found[t.side].value.hex(),
            }
            for t in self._transforms
        }
        status = max(threshold.status for threshold in found.values())
        joint = self._calibration.sets.joint
        return label_sets(self.sets(), view, described, joint=joint, status=status)


def new_tally(calibration: Calibration, region: str) -> Votes | Sides:
    """What counts the maps of a region under a calibration from folds."""
    kind = Sides if calibration.has_sides else Votes
    return kind(calibration, region)


def folds_of(calibration: Calibration) -> Folds:
    """The folds of a calibration.

    Raises:
        ValueError: It is of one model.
    """
    if calibration.folds is None:
        raise ValueError(
            "the calibration is of one model, and takes the maps of one: give --probs once"
        )
    return calibration.folds


class _Shell(NamedTuple):
    """What a fold can say of the voxels of a score map.

    Above `last` or below `first` all voxels have one count; on the far side of `sure`
    the fold alone settles them. Only those between need be looked up.

    Attributes:
        cuts: Of the score map, ascending: a voxel is in the set at a score from its cut
            on. A voxel is in the outer set at a threshold iff its score is at most
            that, and in the inner one iff its score is more: so cuts tell counts.
        is_outer: Whether voxels count the cuts that they reach, or those they do not.
        size: Scores of the fold.
        rest: The least count.
        least: Where counts begin to differ from the least.
        sure: From where on, or up to where for the inner set, the fold settles it; NaN
            is reached nowhere.
    """

    cuts: np.ndarray
    is_outer: bool
    size: int
    rest: int
    least: np.floating
    sure: np.floating


@lru_cache(maxsize=512)  # the same for all cases
def _shell(transform: Transform, scores: tuple[float, ...], enough: int) -> _Shell:
    """The cuts of a side and fold, and where they say enough."""
    found = np.array([side_cut(transform, score) for score in scores], np.float32)
    cuts = np.sort(found[~np.isnan(found)])  # NaN: no voxel is in the inner set there
    cuts.flags.writeable = False
    size, never, always = len(scores), np.float32(np.nan), np.float32(-np.inf)
    if transform.side == "outer":
        least = cuts[0] if cuts.size else never
        sure = cuts[enough - 1] if 0 < enough <= cuts.size else never
        return _Shell(cuts, True, size, 0, least, sure if enough else always)
    fewest = size - enough  # cuts that are reached at most where it is settled
    if fewest >= cuts.size:
        return _Shell(cuts, False, size, size - cuts.size, never, never)
    sure = cuts[fewest] if fewest >= 0 else always
    return _Shell(cuts, False, size, size - cuts.size, cuts[-1], sure)


def _count(sums: MeanP, fold: int, shell: _Shell, values: np.ndarray) -> None:
    """Add the p-values of a fold, in pieces; most voxels need no look at the cuts."""
    sums.add_rest(fold, shell.rest)
    for start in range(0, values.size, _CHUNK):
        piece = values[start : start + _CHUNK]
        sure = piece >= shell.sure
        between = sure ^ (piece >= shell.least)
        where = slice(start, start + piece.size)
        settled = sums.settle(where, sure if shell.is_outer else ~sure)
        places = np.flatnonzero(between & ~settled)
        if places.size:
            reached = np.searchsorted(shell.cuts, piece[places], side="right")
            counts = reached if shell.is_outer else shell.size - reached
            sums.add_few(fold, places + start, counts, shell.rest)
