"""The bytes of a NIfTI file, inflated where it is gzip, and what its first bytes tell."""

import errno
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from isal import igzip, igzip_lib

# The stub of isal types its error as an instance.
_DAMAGED: tuple[type[Exception], ...] = (
    igzip.BadGzipFile,
    igzip_lib.IsalError,  # pyright: ignore[reportAssignmentType]
    zlib.error,
)
# Deflate shrinks at most this much; a header that promises more is not believed, so
# that a damaged one costs an error and not the memory of the machine.
MOST_DEFLATE = 1032
_PIECE = 1 << 18  # bytes that are held at a time beside what is read
_GZIP = b"\x1f\x8b"
_POINTERS = {b"version https://git-lfs": "git-lfs", b"/annex/objects/": "git-annex"}
# What `Path.exists` takes for no file.
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.EBADF, errno.ELOOP)
# Sizes of NIfTI headers, in which a file begins.
HEADER_SIZES = (348, 540)


class Source:
    """Bytes of a file in order.

    Attributes:
        path: The file.
        n_most: Bytes there can be: its size, or what that can inflate to.
    """

    def __init__(self, stream: Any, path: Path, n_most: int):
        self._stream = stream
        self.path = path
        self.n_most = n_most

    def read(self, n_bytes: int) -> bytes:
        """The next bytes, fewer at the end."""
        return self._stream.read(n_bytes)

    def fill(self, row: np.ndarray) -> int:
        """Read until `row` is full or the stream ends; return the bytes read."""
        view, done = memoryview(row), 0  # pyright: ignore[reportArgumentType]
        while done < len(view):
            # gzip would make a second copy of all that it is asked for at once.
            got = self._stream.readinto(view[done : done + _PIECE])
            if not got:
                break
            done += got
        return done

    def skip(self, n_bytes: int) -> int:
        """Pass over bytes in pieces; return how many there were."""
        done = 0
        while done < n_bytes:
            got = len(self._stream.read(min(n_bytes - done, _PIECE)))
            if not got:
                break
            done += got
        return done

    def finish(self) -> None:
        """Read to the end, which makes gzip check its checksum."""
        while self._stream.read(_PIECE):
            pass


def regular_size(path: Path, expected: str) -> int:
    """Bytes of a regular file, asked of the system once.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is a folder, or a pipe, which would wait for ever.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as error:  # no name of a file either
        if isinstance(error, OSError) and error.errno not in _NOT_THERE:
            raise
        raise FileNotFoundError(f"{path}: no such file") from None
    if stat.S_ISDIR(found.st_mode):
        raise ValueError(f"{path}: is a folder, expected {expected}")
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{path}: is no regular file, expected {expected}")
    return found.st_size


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """Open a NIfTI file; low-level failures become one clear line.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no regular file, not what its name says, or damaged.
    """
    size = regular_size(path, "a NIfTI file")
    is_gzip = path.name.lower().endswith(".gz")
    with path.open("rb") as raw:
        _check_content(path, raw.read(64), is_gzip)
        raw.seek(0)
        stream = igzip.open(raw, "rb") if is_gzip else raw
        try:
            yield Source(stream, path, size * (MOST_DEFLATE if is_gzip else 1))
        except EOFError:
            raise ValueError(f"{path}: truncated gzip file") from None
        except _DAMAGED as error:
            raise ValueError(f"{path}: not a sound gzip file ({error})") from None


def header_size(start: bytes) -> tuple[int, str] | None:
    """Size and byte order of the NIfTI header that begins so; None where none does."""
    for order in ("little", "big"):
        size = int.from_bytes(start[:4], order)
        if size in HEADER_SIZES:
            return size, "<" if order == "little" else ">"
    return None


def _check_content(path: Path, start: bytes, is_gzip: bool) -> None:
    """What the first bytes tell that the name does not."""
    for words, tool in _POINTERS.items():
        if start.startswith(words):
            raise ValueError(
                f"{path}: is a {tool} pointer, its content was never fetched"
            )
    if is_gzip and start and not start.startswith(_GZIP):
        if header_size(start):
            raise ValueError(
                f"{path}: named .gz but not compressed (no gzip); name it .nii"
            )
        raise ValueError(f"{path}: not a sound gzip file (it begins otherwise)")
    if not is_gzip and start.startswith(_GZIP):
        raise ValueError(f"{path}: compressed with gzip; name it .nii.gz")
