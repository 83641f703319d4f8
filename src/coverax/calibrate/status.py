"""Whether a guarantee can be given, and whether it says anything."""

from enum import IntEnum


class Status(IntEnum):
    """Whether a guarantee can be given."""

    OK = 0
    TOO_FEW_CASES = 1
    INFEASIBLE = 2
    NONFINITE_SCORE = 3
    EMPTY_GROUP = 4
    VACUOUS = 5

    @property
    def sentence(self) -> str:
        """What the status means, for people."""
        return _SENTENCES[self]


_SENTENCES = {
    Status.OK: "The guarantee holds.",
    Status.TOO_FEW_CASES: "There are too few calibration units for this level.",
    Status.INFEASIBLE: "No threshold meets the risk at this level.",
    Status.NONFINITE_SCORE: "The threshold fell on a score that is not finite.",
    Status.EMPTY_GROUP: "A group has no calibration unit.",
    Status.VACUOUS: "The promise holds for the whole volume alone, which says nothing.",
}


def informative(status: Status, value: float, whole_at: float = 0.0) -> Status:
    """The status of a threshold, VACUOUS where it leaves no voxel out.

    Args:
        status: What the method says.
        value: The threshold.
        whole_at: Least value at which every voxel of any map is kept; a score is the
            negative of a probability, so 0 where the map itself is cut.
    """
    return Status.VACUOUS if status == Status.OK and value >= whole_at else status
