"""Whether a guarantee can be given, and whether it says anything."""

from enum import IntEnum


class Status(IntEnum):
    """Whether a guarantee can be given; `sentence` says what that means, for people."""

    sentence: str

    OK = 0, "The guarantee holds."
    TOO_FEW_CASES = 1, "There are too few calibration units for this level."
    INFEASIBLE = 2, "No threshold meets the risk at this level."
    EMPTY_GROUP = 4, "A group has no calibration unit."
    VACUOUS = 5, "The promise holds for the whole volume alone, which says nothing."

    def __new__(cls, value: int, sentence: str):
        """A member of this value."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        return member


def informative(status: Status, value: float, whole_at: float = 0.0) -> Status:
    """The status of a threshold, VACUOUS where it leaves no voxel out.

    Args:
        status: What the method says.
        value: The threshold.
        whole_at: Least value at which every voxel of any map is kept; a score is the
            negative of a probability, so 0 where the map itself is cut.
    """
    return Status.VACUOUS if status == Status.OK and value >= whole_at else status
