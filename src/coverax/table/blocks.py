"""Columns as they are filled and read: a block of rows at a time.

The lists of a large table lie in a file without a name, mapped into memory, so that the
system may take back what is not worked on; a small table is in memory.
"""

import hashlib
import json
import mmap
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from coverax.files import PathLike, as_output_error
from coverax.locks import beside as hidden_beside
from coverax.table.columns import NO_COLUMN, Columns, column_values, columns_of
from coverax.table.definition import ScoreDefinition

HELD = (
    1 << 24
)  # bytes of lists that a table holds in memory at most, if it may have a file
ROWS = 256  # at a time
_ALIGNED = 64  # bytes
_ZEROS = 1 << 20  # bytes


def row_blocks(n_rows: int) -> Iterator[slice]:
    """Blocks of rows, in their order."""
    for start in range(0, n_rows, ROWS):
        yield slice(start, min(start + ROWS, n_rows))


def columns_of_rows(
    rows: Iterable[dict[str, Any]],
    n_rows: int,
    definition: ScoreDefinition,
    further: Sequence[str] = (),
    beside: PathLike | None = None,
) -> dict[str, np.ndarray]:
    """Columns of rows of plain values, of which a block is in memory at a time.

    Args:
        rows: One a case and region. What the definition names no column of (a statistic
            of a family of one's own) comes behind the columns it names.
        n_rows: How many there are; of none there are no columns.
        definition: What the scores mean.
        further: Columns of text that the cohort has beside those of a `Case`.
        beside: As for `new_columns`.

    Raises:
        OutputError: There is no room beside it.
        ValueError: A column that the definition does not name has lists of different
            lengths.
    """
    kinds = {kind.name: kind for kind in columns_of(definition)}
    each, out = iter(rows), dict[str, np.ndarray]()
    for place in row_blocks(n_rows):
        block = list(islice(each, place.stop - place.start))
        others = [name for name in block[0] if name not in {*kinds, *further}]
        found = {
            name: column_values(name, kinds.get(name), [row[name] for row in block])
            for name in out or (*kinds, *others, *further)
        }
        out = out or new_columns(found, n_rows, beside)
        for name, values in found.items():
            if values.shape[1:] != out[name].shape[1:]:
                raise ValueError(NO_COLUMN.format(name))
            kind = np.result_type(values, out[name])
            if kind != out[name].dtype:  # of a family of one's own
                out[name] = out[name].astype(kind)
            out[name][place] = values
        forget(out)
    return out


def new_columns(
    like: Columns, n_rows: int, beside: PathLike | None = None
) -> dict[str, np.ndarray]:
    """Columns of so many rows, to be filled, of the types and lengths of others.

    Args:
        like: The others.
        n_rows: How many rows.
        beside: The output that they will be written to, if lists may lie in a file beside
            it that has no name; it goes with the last column. None holds all in memory.

    Raises:
        OutputError: There is no room for the file.
    """
    shapes = {name: (n_rows, *values.shape[1:]) for name, values in like.items()}
    lists = {
        name: -(-n_rows * values[0].nbytes // _ALIGNED) * _ALIGNED
        for name, values in like.items()
        if values.ndim > 1
    }
    n_bytes = sum(lists.values())
    pages = None
    if beside is not None and n_bytes > HELD:
        pages = _pages(beside, n_bytes)
    out, start = dict[str, np.ndarray](), 0
    for name, values in like.items():
        if pages is None or name not in lists:
            out[name] = np.empty(shapes[name], values.dtype)
            continue
        n_values = int(np.prod(shapes[name]))
        flat = np.frombuffer(pages, values.dtype, n_values, start)
        out[name] = flat.reshape(shapes[name])
        start += lists[name]
    return out


def digest_columns(columns: Columns) -> str:
    """SHA-256 of every value, with names and types of columns and lengths of lists."""
    digest = hashlib.sha256()
    for name, values in columns.items():
        kind = values[0].dtype if _is_ragged(values) else values.dtype
        digest.update(f"{name} {kind}\n".encode())
        if values.dtype != object:
            digest.update(json.dumps(values.shape).encode())
            for rows in row_blocks(len(values)):
                digest.update(np.ascontiguousarray(values[rows]).reshape(-1).data)
                forget({name: values})
        elif not _is_ragged(values):
            digest.update(json.dumps(values.tolist()).encode())
        else:
            digest.update(np.array([len(row) for row in values], np.int32).tobytes())
            digest.update(np.concatenate(list(values)).tobytes())
    return digest.hexdigest()


def _is_ragged(values: np.ndarray) -> bool:
    return values.dtype == object and len(values) > 0 and not isinstance(values[0], str)


def forget(columns: Columns) -> None:
    """Have the columns that lie in a file take no memory until they are asked for."""
    for pages in {id(p): p for p in map(_pages_of, columns.values()) if p}.values():
        pages.forget()


class _Pages(mmap.mmap):
    """A file in memory as far as it is looked at; what is forgotten is in the file."""

    def forget(self) -> None:
        if hasattr(mmap, "MADV_DONTNEED"):
            self.madvise(mmap.MADV_DONTNEED)


def _pages(beside: PathLike, n_bytes: int) -> _Pages | None:
    """A new file in memory; None where its file system maps none."""
    path = Path(beside)
    with as_output_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        start = f"{hidden_beside(path, '').name}."
        with tempfile.TemporaryFile(
            dir=path.parent, prefix=start, suffix=".tmp"
        ) as file:
            _fill(file, n_bytes)
            with suppress(OSError):
                return _Pages(file.fileno(), n_bytes)
    return None


def _fill(file: IO[bytes], n_bytes: int) -> None:
    """Give a file its length and its place on the disk: a page that has none is a crash."""
    with suppress(OSError, AttributeError):  # a full disk shows below too
        os.posix_fallocate(file.fileno(), 0, n_bytes)
        return
    for start in range(0, n_bytes, _ZEROS):
        file.write(bytes(min(_ZEROS, n_bytes - start)))
    file.flush()


def _pages_of(values: np.ndarray) -> _Pages | None:
    found: object = values
    while found is not None and not isinstance(found, _Pages):
        found = getattr(found, "obj" if isinstance(found, memoryview) else "base", None)
    return found
