"""Every word that an option may take; the library and the command line read them here."""

from typing import Literal

# Where batches are computed, and how.
EngineName = Literal["auto", "host", "device"]
# What voxels of one lesion share.
Neighbours = Literal["face", "edge", "corner"]
# How values of maps are stored in files.
ProbsStorage = Literal["float32", "uint16"]
# Which files masks are written as.
Container = Literal["nii.gz", "mha", "nrrd"]
# Of an integer that a probability is rounded to.
Bits = Literal["16", "8"]

# The two sides of a confidence set.
Side = Literal["inner", "outer"]
# Which guarantee a calibration gives.
Method = Literal["fnr", "crc", "rcps", "ltt", "sets", "volume", "triage"]
# What a case is ranked by for `fnr`: its critical probability, or the mass above it.
FnrScore = Literal["critical", "mass"]
# Which of them control an expected loss, of which sums are enough.
RiskMethod = Literal["crc", "rcps", "ltt"]
# Which of them is validated: `fnr` and `sets` over all splits, the others with each site
# left out.
ValidatedMethod = Literal["fnr", "sets", "crc", "rcps", "ltt"]
# What a calibration gives: one cut of the map, a set on each side of the border (from one
# map, or from one of each fold), an interval of the volume or of its change between
# visits, or masks to release.
Kind = Literal[
    "cut", "sides", "fold_cuts", "fold_sides", "interval", "change", "release"
]
# What the error of a volume is divided by, and the side an interval is open to.
VolumeScale = Literal["mass", "log", "none"]
OneSided = Literal["at-least", "at-most"]
# How masks of folds become one, beside a share of votes.
VoteName = Literal["majority", "union"]
# What an empty reference does; a validation has nothing to refuse.
EmptyPolicy = Literal["exclude", "include", "refuse"]
CountedEmpty = Literal["exclude", "include"]
# How a unit with several cases counts; sets know one way.
PerUnit = Literal["one", "all"]
OnePerUnit = Literal["one"]
# What several references of a case do.
RaterRule = Literal["worst", "draw"]
# What a map says of itself by which cases are grouped.
MapFeature = Literal["predicted_volume", "uncertainty"]
# Which expected loss is controlled, and at which cuts one of a file is small.
LossName = Literal[
    "fnr",
    "fpr",
    "dice",
    "missed_lesions",
    "false_lesions",
    "precision",
    "iou",
    "relative_volume",
]
Safe = Literal["small", "large"]
# What a released mask may lose, what `--loss` takes at all, and what a map is ranked by.
TriageLoss = Literal["dice", "missed", "fnr"]
AnyLoss = Literal[LossName, "missed"]
Confidence = Literal["sdc", "mass"]
# Which values of a column of one's own are the confident ones.
ConfidentAt = Literal["low", "high"]
# Upper bound of a mean loss.
BoundName = Literal[
    "hoeffding", "hoeffding_bentkus", "empirical_bernstein", "wsr", "clopper_pearson"
]
# How multiple tests are paid for.
CorrectionName = Literal["bonferroni", "holm", "fixed_sequence"]
# How the promises of the inner and the outer set hold together, and those of regions.
Joint = Literal["each", "bonferroni", "max", "ranked"]
Regions = Literal["each", "joint"]

# How logits are recalibrated: divided by one number, their sorted gaps scaled by rank, or
# mapped class by class or jointly.
Form = Literal["temperature", "order-preserving", "vector", "matrix"]
# What macro means do with cases that lack a class.
Absent = Literal["skip", "include"]
