"""One array of an `.npz` archive, inflated by isal row after row.

Nothing is unpickled, and what an archive declares is checked before it is inflated.
"""

import errno
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from isal import isal_zlib

from coverax.files import one_line
from coverax.volumes.nifti import Buffer
from coverax.volumes.source import MOST_DEFLATE, regular_size

_BLOCK = 1 << 20
_MOST_HEADER = 1 << 14
# The header of an array: type, order and axes, as NumPy writes them.
_HEADER = {
    "descr": re.compile(r"'descr': '([<>|=]?[a-zA-Z]\d*)'"),
    "fortran_order": re.compile(r"'fortran_order': (True|False)"),
    "shape": re.compile(r"'shape': \(((?:\d{1,18}, ?)*(?:\d{1,18})?)\)"),
}
_WHOLE = re.compile(r"\d+")
# The stub of isal types its error as an instance.
_DAMAGED: tuple[type[Exception], ...] = (
    zipfile.BadZipFile,
    zlib.error,
    isal_zlib.error,  # pyright: ignore[reportAssignmentType]
    struct.error,
    EOFError,
    OverflowError,
    RuntimeError,  # of zipfile: encrypted, or compressed otherwise
)
_NO_PLACE = (None, errno.EINVAL)  # of an error that is of the bytes, not of the disk


@dataclass(frozen=True, slots=True)
class NpzArray:
    """Where an array lies in an archive, and what its header says.

    Attributes:
        path: The archive.
        key: Name of the array.
        shape: Its axes.
        dtype: Its type.
        is_fortran: Whether the first axis is the fastest.
        start: Bytes of its own header.
        info: Where the archive says its bytes lie.
    """

    path: Path
    key: str
    shape: tuple[int, ...]
    dtype: np.dtype
    is_fortran: bool
    start: int
    info: zipfile.ZipInfo


def read_npz_header(path: Path, keys: Sequence[str]) -> NpzArray:
    """The header of the first of the arrays `keys` that the archive holds.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no archive, holds none of the keys, or the array holds
            objects or more than its bytes can be.
    """
    with _opened(path) as archive:
        info = _member(archive, path, keys)
        with archive.open(info) as raw:
            start = raw.read(_MOST_HEADER)
        return _parse(start, path, info)


def read_npz_rows(
    array: NpzArray, wanted: Sequence[int], buffer: Buffer | None = None
) -> np.ndarray:
    """Entries of the first axis, each flat in the order of the file: `[wanted, rest]`.

    Raises:
        ValueError: The archive ends early, or its checksum is another.
    """
    n_rows, rest = array.shape[0], array.shape[1:]
    n_bytes = int(np.prod(rest, dtype=object)) * array.dtype.itemsize
    kept = range(n_rows) if array.is_fortran else wanted
    rows = (buffer or Buffer()).take(n_bytes * len(kept)).reshape(len(kept), n_bytes)
    unwanted = np.empty(0 if len(kept) == n_rows else n_bytes, np.uint8)
    targets: list[np.ndarray] = [np.empty(array.start, np.uint8)]
    if array.is_fortran:
        targets.append(rows.reshape(-1))
    else:
        place = {channel: i for i, channel in enumerate(kept)}
        targets += [rows[place[c]] if c in place else unwanted for c in range(n_rows)]
    with _sound(array.path):
        _fill(array.info, array.path, targets)
    values = rows.view(array.dtype)
    if array.is_fortran:
        whole = values.reshape(-1).reshape(array.shape, order="F")
        values = np.ascontiguousarray(whole[list(wanted)]).reshape(len(wanted), -1)
    return values


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    regular_size(path, "an .npz archive")
    with _sound(path), zipfile.ZipFile(path) as archive:
        yield archive


@contextmanager
def _sound(path: Path) -> Iterator[None]:
    """Low-level failures become one clear line."""
    try:
        yield
    except _DAMAGED as error:
        raise ValueError(
            f"{path}: not a sound .npz archive ({one_line(error)})"
        ) from None
    except (OSError, ValueError) as error:  # a directory that leads outside the file
        if str(path) in str(error) or getattr(error, "errno", None) not in _NO_PLACE:
            raise
        raise ValueError(
            f"{path}: not a sound .npz archive ({one_line(error)})"
        ) from None


def _member(
    archive: zipfile.ZipFile, path: Path, keys: Sequence[str]
) -> zipfile.ZipInfo:
    names = {info.filename: info for info in archive.infolist()}
    for key in keys:
        info = names.get(f"{key}.npy")
        if info is not None:
            if info.file_size > MOST_DEFLATE * max(info.compress_size, 1):
                raise ValueError(
                    f"{path}: {key} would inflate to {info.file_size} bytes from "
                    f"{info.compress_size}: not believed"
                )
            return info
    held = (
        ", ".join(one_line(n.removesuffix(".npy")) for n in list(names)[:5])
        or "nothing"
    )
    raise ValueError(f"{path}: holds no array {' or '.join(keys)}, but {held}")


def _parse(start: bytes, path: Path, info: zipfile.ZipInfo) -> NpzArray:
    """What the header of an array says, which is text in a known form.

    It is matched, not evaluated: the parser of Python is not safe in threads.
    """
    text, n_start = _header_text(start)
    found = {name: pattern.search(text) for name, pattern in _HEADER.items()}
    if not all(found.values()):
        raise ValueError(f"{path}: {info.filename} is no array (its header is unsound)")
    code, order, axes = (str(match[1]) for match in found.values() if match)
    try:
        dtype, shape = np.dtype(code), tuple(int(n) for n in _WHOLE.findall(axes))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: {info.filename} is no array ({one_line(error)})"
        ) from None
    is_fortran = order == "True"
    key = info.filename.removesuffix(".npy")
    if dtype.hasobject or dtype.kind != "f" or dtype.itemsize not in (2, 4, 8):
        raise ValueError(
            f"{path}: {key} holds {dtype}; float16, float32 or float64 is read"
        )
    n_bytes = dtype.itemsize * int(np.prod(shape, dtype=object))
    if n_bytes + n_start != info.file_size:
        raise ValueError(
            f"{path}: {key} of shape {shape} takes {n_bytes} bytes, the archive has "
            f"{info.file_size - n_start}"
        )
    return NpzArray(path, key, shape, dtype, is_fortran, n_start, info)


def _header_text(start: bytes) -> tuple[str, int]:
    """The text of an array's header and where its values begin; empty where none is."""
    if start[:6] != b"\x93NUMPY" or len(start) < 12 or start[6] not in (1, 2, 3):
        return "", 0
    before = 10 if start[6] == 1 else 12
    end = before + int.from_bytes(start[8:before], "little")
    return start[before:end].decode("latin-1") if end <= len(start) else "", end


def _fill(
    info: zipfile.ZipInfo,
    path: Path,
    targets: Sequence[np.ndarray],
) -> None:
    """Inflate a member into arrays of bytes, one after the other; check its checksum."""
    checksum = 0
    with path.open("rb") as stream:
        stream.seek(_data_offset(stream, info))
        blocks = _inflated(stream, info)
        left = memoryview(b"")
        for target in targets:
            view, done = memoryview(target), 0  # pyright: ignore[reportArgumentType]
            while done < len(view):
                if not left:
                    left = memoryview(next(blocks, b""))
                    if not left:
                        raise ValueError(
                            f"{path}: truncated: {info.filename} ends early"
                        )
                    checksum = isal_zlib.crc32(left, checksum)
                n = min(len(left), len(view) - done)
                view[done : done + n] = left[:n]
                left, done = left[n:], done + n
        if left or next(blocks, b""):
            raise ValueError(f"{path}: {info.filename} is longer than it says")
    if checksum != info.CRC:
        raise ValueError(f"{path}: {info.filename} is damaged: its checksum is another")


def _data_offset(stream: IO[bytes], info: zipfile.ZipInfo) -> int:
    """Where the bytes of a member begin, behind its local header."""
    stream.seek(info.header_offset)
    local = stream.read(30)
    if len(local) < 30 or local[:4] != b"PK\x03\x04":
        raise zipfile.BadZipFile("a local header is not there")
    n_name, n_extra = (int.from_bytes(local[i : i + 2], "little") for i in (26, 28))
    return info.header_offset + 30 + n_name + n_extra


def _inflated(stream: IO[bytes], info: zipfile.ZipInfo) -> Iterator[bytes]:
    left = info.compress_size
    if info.compress_type == zipfile.ZIP_STORED:
        while left and (block := stream.read(min(left, _BLOCK))):
            left -= len(block)
            yield block
        return
    if info.compress_type != zipfile.ZIP_DEFLATED:
        raise zipfile.BadZipFile("neither stored nor deflated")
    inflater = isal_zlib.decompressobj(wbits=-15)
    while left and (block := stream.read(min(left, _BLOCK))):
        left -= len(block)
        while block:
            yield inflater.decompress(block, 4 * _BLOCK)
            block = inflater.unconsumed_tail
    if rest := inflater.flush():
        yield rest
