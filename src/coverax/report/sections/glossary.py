"""What the words of a report mean."""

from coverax.report.blocks import Section, Terms

_TERMS = (
    ("alpha", "share of new cases on which the promise may fail"),
    ("delta", "share of calibration sets for which the promise may fail"),
    ("case, unit", "a scan with its reference; what is exchangeable, as a patient"),
    ("exchangeable", "every order of the units is as probable as any other"),
    ("tolerance", "share of a reference that a mask may miss"),
    (
        "threshold, cut",
        "a voxel is in the mask where its probability is at least the cut",
    ),
    ("rank", "place of the threshold among the sorted scores of the calibration units"),
    ("ECR", "share of cases whose missed share is within the tolerance"),
    ("FNR, FPR", "missed share of the reference; marked share of the background"),
    ("P-FNR", "share of cases of which the mask misses everything"),
    ("PC", "share of all voxels that the mask marks"),
    ("Dice", "overlap of mask and reference, from 0 to 1"),
    (
        "exact law",
        "the probability of every count of served cases if the promise's assumptions hold",
    ),
    ("95% band", "the counts in the middle of that law that hold 95% of it"),
    ("inner set, outer set", "lies within the reference; holds the reference"),
    ("uncertain shell", "what lies in the outer set and not in the inner one"),
    ("volume ratio", "volume of a set over that of the reference"),
    ("size ratio", "its root by the number of axes: a ratio of lengths"),
    ("FCR", "share of cases that are not covered"),
    ("ECE, ACE, MCE", "expected, average and maximum gap of confidence and frequency"),
    ("held out", "of units that neither calibrated nor were learned from"),
)


def glossary() -> Section:
    """Terms in the order in which a reader meets them."""
    return Section("glossary", "Glossary", [Terms(_TERMS)])
