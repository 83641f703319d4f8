"""The file of a reliability, read back."""

from coverax.files import PathLike
from coverax.records import read_record
from coverax.reliability.results import ReliabilitySummary


def read_reliability(path: PathLike) -> ReliabilitySummary:
    """Read `reliability.json`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no reliability, of another schema, or was altered.
    """
    return read_record(path, ReliabilitySummary, "reliability", 1, "reliability")
