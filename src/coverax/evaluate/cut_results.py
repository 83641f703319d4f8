"""What an evaluation says of a region whose mask is a cut: its part of the file."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from coverax.calibrate import Audit, Band, Histogram
from coverax.choices import FnrScore, RaterRule
from coverax.files import MAYBE, JsonRecord

Law = Literal["exact", "at_least"]


@dataclass(frozen=True, slots=True)
class Distances(JsonRecord):
    """Distances of the cases that have a surface to measure, in mm.

    Attributes:
        n: Cases with a mask, a reference, or both.
        n_infinite: Those with one of them alone: a missed structure is infinitely far.
        median: Over all `n`; None where it is infinite.
        mean: Over all `n`; None where one of them is infinite.
    """

    n: int
    n_infinite: int
    median: float | None
    mean: float | None


@dataclass(frozen=True, slots=True)
class AtCut(JsonRecord):
    """Compliance and metrics of the cases that count at one cut.

    Attributes:
        probability_threshold: The cut; None where the mask is everything, or a vote, or
            each map has its own.
        ecr: Share of cases that comply; None where a mean is controlled.
        n_compliant: Their number.
        fnr_mean: Mean missed share of the reference.
        fnr_sd: Its standard deviation; None for one case.
        p_fnr: Share of cases that are missed altogether.
        fpr: Mean predicted share of the background; None where it applies to no case, as
            for all means below.
        pc: Mean predicted share of all voxels.
        dice: Mean Dice coefficient.
        volume_ml: Mean volume of the mask.
        lesion_detection: Mean share of the lesions that the mask touches.
        fnr_histogram: Cases by their missed share; an edge is in the bar that it ends.
        precision: Mean true share of the mask.
        iou: Mean intersection over union.
        relative_volume_error: Mean error of the volume as a share of the true one.
        lesion_precision: Mean share of the mask's components that touch the reference.
        lesion_f1: Mean F1 of lesions touched, false components and missed lesions.
        n_false_lesions: Mean number of components that touch no reference.
        hd95_mm: 95th percentile of the distances between surfaces.
        assd_mm: Mean distance between surfaces.
        nsd: Mean share of the surfaces within the tolerance of each other.
    """

    probability_threshold: float | None
    ecr: float | None
    n_compliant: int | None
    fnr_mean: float
    fnr_sd: float | None
    p_fnr: float
    fpr: float | None
    pc: float | None
    dice: float | None
    volume_ml: float | None
    lesion_detection: float | None
    fnr_histogram: Histogram
    precision: float | None
    iou: float | None
    relative_volume_error: float | None
    lesion_precision: float | None = field(default=None, metadata=MAYBE)
    lesion_f1: float | None = field(default=None, metadata=MAYBE)
    n_false_lesions: float | None = field(default=None, metadata=MAYBE)
    hd95_mm: Distances | None = field(default=None, metadata=MAYBE)
    assd_mm: Distances | None = field(default=None, metadata=MAYBE)
    nsd: float | None = field(default=None, metadata=MAYBE)


@dataclass(frozen=True, slots=True)
class MeanLoss(JsonRecord):
    """A controlled loss; `mean` is None for one of the user's own."""

    loss: str
    level: float
    mean: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CutResult(JsonRecord):
    """A region whose mask is a cut of its map.

    Attributes:
        region: Structure.
        tolerance: Tolerated missed share of a case; None where a mean is controlled.
        n_counted: Cases that count.
        n_empty_reference: Cases without foreground.
        n_calibration_units: Units that calibrated.
        rank: Of the threshold among them; None where it is no plain one.
        raters: What several references of a case do.
        law: How exact the law of compliance is; None where there is none.
        n_tied: Units whose score equals the threshold.
        expected_ecr: Share of cases that should comply.
        ecr_band: Bands of that share, by level.
        calibrated: At the calibrated cut.
        risks: Controlled losses, for methods that control a mean.
        score: `mass` where each map has a cut of its own; None where there is one.
        fixed: At the fixed cut.
        group: Group it is of, where each has its own threshold.
        audit: Compliance of its parts.
    """

    region: str
    tolerance: float | None
    n_counted: int
    n_empty_reference: int
    n_calibration_units: int
    rank: int | None
    raters: RaterRule | None
    law: Law | None
    n_tied: int
    expected_ecr: float | None
    ecr_band: Sequence[Band]
    calibrated: AtCut
    risks: Sequence[MeanLoss] | None = field(default=None, metadata=MAYBE)
    score: FnrScore | None = field(default=None, metadata=MAYBE)
    fixed: AtCut
    group: str | None = field(default=None, metadata=MAYBE)
    audit: Audit | None = field(default=None, metadata=MAYBE)

    def without_law(self) -> "CutResult":
        """The same of cases already seen, which have no law."""
        return replace(self, expected_ecr=None, ecr_band=())


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldCutResult(JsonRecord):
    """A region whose mask is a vote of the maps of folds; as `CutResult`.

    Attributes:
        region: Structure.
        folds: Names of the folds.
        votes_needed: Folds that must mark a voxel.
        n_counted: Cases that count.
        n_empty_reference: Cases without foreground.
        n_calibration_units: Units that calibrated, of all folds.
        raters: What several references of a case do.
        tolerance: Tolerated missed share of a case; None where a mean is controlled.
        calibrated: The mask by votes.
        risks: Controlled losses, for methods that control a mean.
        promised: Least share of cases that comply.
        observed_band: Where the true share lies, by the observed one.
        fixed: The mean of the maps at the fixed cut.
        group: Group it is of, where each has its own threshold.
        audit: Compliance of its parts.
    """

    region: str
    folds: Sequence[str]
    votes_needed: int | None
    n_counted: int
    n_empty_reference: int
    n_calibration_units: int
    raters: RaterRule | None
    tolerance: float | None
    calibrated: AtCut
    risks: Sequence[MeanLoss] | None = field(default=None, metadata=MAYBE)
    promised: float | None = field(default=None, metadata=MAYBE)
    observed_band: Band | None = field(default=None, metadata=MAYBE)
    fixed: AtCut
    group: str | None = field(default=None, metadata=MAYBE)
    audit: Audit | None = field(default=None, metadata=MAYBE)

    def without_law(self) -> "FoldCutResult":
        """The same of cases already seen, which say nothing of new ones."""
        return replace(self, observed_band=None)
