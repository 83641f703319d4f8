"""The file of a validation, read back."""

from coverax.files import PathLike
from coverax.records import read_record
from coverax.validate.results import Validation


def read_validation(path: PathLike) -> Validation:
    """Read `validation.json`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no validation, of another schema, or was altered.
    """
    return read_record(path, Validation, "validation", 1, "validate")
