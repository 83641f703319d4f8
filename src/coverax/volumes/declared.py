"""How large volumes say they are, before any is inflated."""

from coverax.files import PathLike
from coverax.volumes.case import Case
from coverax.volumes.formats import read_header

_FLOAT = 4  # bytes of a value of a map in memory


def declared_bytes(case: Case | PathLike) -> int:
    """Bytes of the volumes of a case, or of one map, as their headers declare them.

    Values of maps count as float32 or what they are stored as, whichever is longer; all
    channels count, as all are inflated. A file that cannot be looked at counts nothing:
    what is wrong with it is said where it is read.
    """
    if not isinstance(case, Case):
        return _bytes_of(case, _FLOAT)
    others = sum(_bytes_of(path, 1) for path in (case.labels, case.valid) if path)
    return _bytes_of(case.probs, _FLOAT) + others


def _bytes_of(path: PathLike, least: int) -> int:
    try:
        file = read_header(path)
    except (OSError, ValueError):
        return 0
    return file.grid.n_voxels * file.n_channels * max(least, file.dtype.itemsize)
