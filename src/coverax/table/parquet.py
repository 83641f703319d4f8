"""How tables lie on disk: the only module that knows Parquet."""

# pyright: basic
# pyarrow ships no types.

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from coverax.files import digest_json, is_sealed, publishing, sound
from coverax.kinds import instead
from coverax.table.blocks import forget, row_blocks
from coverax.table.columns import RAGGED, Column, Columns

SCHEMA = 1
_KEY = b"coverax"
_SMALL = 1 << 24  # bytes of a file
_KINDS = {
    "text": pa.string(),
    "int64": pa.int64(),
    "uint64": pa.uint64(),
    "float64": pa.float64(),
    "float32": pa.float32(),
}


def to_arrow(columns: Columns, kinds: Sequence[Column]) -> Any:
    """Columns as an Arrow table in memory."""
    fields = _fields(columns, kinds)
    arrays = [_to_arrow(columns[field.name], field.type) for field in fields]
    return pa.table(arrays, schema=pa.schema(fields))


def _fields(columns: Columns, kinds: Sequence[Column]) -> list[pa.Field]:
    """Name and type of each column.

    Raises:
        ValueError: A column is none of these kinds.
    """
    types = {kind.name: _type(kind) for kind in kinds}
    unknown = columns.keys() - types.keys()
    if unknown:
        raise ValueError(f"a score table has no column {', '.join(sorted(unknown))}")
    return [pa.field(name, types[name]) for name in columns]


def write_columns(
    path: Path, columns: Columns, kinds: Sequence[Column], meta: dict[str, Any]
) -> None:
    """Write columns with what they mean; the file appears complete or not at all.

    Raises:
        ValueError: A column is none of these kinds.
    """
    fields = _fields(columns, kinds)
    about = {"schema": SCHEMA} | meta
    sealed = json.dumps(about | {"digest": digest_json(about)}).encode()
    schema = pa.schema(fields, metadata={_KEY: sealed})
    n_rows = max((len(columns[field.name]) for field in fields), default=0)
    with (
        publishing(path, ".parquet") as temporary,
        pq.ParquetWriter(temporary, schema) as writer,
    ):
        for rows in row_blocks(n_rows) if n_rows else [slice(0)]:
            arrays = [_to_arrow(columns[f.name][rows], f.type) for f in fields]
            writer.write_table(pa.table(arrays, schema=schema))
            del arrays  # they look at the columns
            forget(columns)


def read_columns(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The columns of a score table, and what they mean, which is as it was written.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no score table, one of another schema, or what the columns mean
            is not sealed or was altered.
    """
    if not path.is_file():
        found = instead(path, "score table", "score")
        raise FileNotFoundError(f"{path}: no such score table{found}")
    try:
        # Of a small file, as a part is, Arrow's threads cost more than they save.
        with pq.ParquetFile(path) as file:
            rows = file.read(use_threads=path.stat().st_size > _SMALL)
    except (pa.ArrowException, OSError, RuntimeError, ValueError):
        raise _damaged(path) from None
    try:
        with sound(path, "score table"):
            return _columns_of(path, rows)
    except pa.ArrowException:  # text that is none shows only when it is taken out
        raise _damaged(path) from None


def _damaged(path: Path) -> ValueError:
    """What is wrong with a file that Arrow does not read, and what it is instead."""
    text = f"{path}: not a Parquet file, or damaged"
    found = instead(path, "score table", "score")
    return ValueError(text if "Parquet" in found else text + found)


def read_meta(path: Path) -> dict[str, Any]:
    """What the columns of a table mean, as it was written; the columns are not read.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no score table, or this was altered.
    """
    if not path.is_file():
        found = instead(path, "score table", "score")
        raise FileNotFoundError(f"{path}: no such score table{found}")
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError, RuntimeError, ValueError):
        raise _damaged(path) from None
    with sound(path, "score table"):
        return _sealed_meta(path, schema)


def _columns_of(
    path: Path, rows: pa.Table
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    meta = _sealed_meta(path, rows.schema)
    return {
        name: _from_arrow(name, rows.column(name)) for name in rows.column_names
    }, meta


def _sealed_meta(path: Path, schema: pa.Schema) -> dict[str, Any]:
    meta = json.loads((schema.metadata or {}).get(_KEY, b"null"))
    if not isinstance(meta, dict) or "schema" not in meta:
        raise ValueError(f"{path}: a Parquet file, but not a coverax score table")
    if meta["schema"] != SCHEMA:
        raise ValueError(
            f"{path}: score table of schema {meta['schema']!r:.40}, this version reads "
            f"{SCHEMA}"
        )
    if "digest" not in meta:
        raise ValueError(
            f"{path}: its score definition carries no digest, as earlier versions wrote "
            "it; run `coverax score` again"
        )
    if not is_sealed(meta):
        raise altered(path)
    return meta


def altered(path: Path) -> ValueError:
    """What is said of a table that is not as it was written."""
    return ValueError(
        f"{path}: altered after it was written (its digest does not match); "
        "run `coverax score` again"
    )


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write plain rows, columns as the first has them, complete or not at all."""
    with publishing(path, ".parquet") as temporary:
        pq.write_table(pa.Table.from_pylist(rows), temporary)


def _type(column: Column) -> pa.DataType:
    kind = _KINDS[column.kind]
    if column.form == "value":
        return kind
    # The name that Parquet gives the entries, so that a table comes back as it was.
    return pa.list_(pa.field("element", kind), column.n_bins or -1)


def _to_arrow(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    """One value a row, or a list a row: a row of a matrix, which is not copied."""
    if not pa.types.is_nested(kind):
        return pa.array(values, kind)
    if values.dtype == object:
        return pa.array(list(values), kind)
    flat = pa.array(np.ascontiguousarray(values).reshape(-1), kind.value_type)
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(flat, type=kind)
    starts = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    return pa.ListArray.from_arrays(starts, flat, type=kind)


def _from_arrow(name: str, column: pa.ChunkedArray) -> np.ndarray:
    one = column.num_chunks == 1
    whole = column.chunk(0) if one else column.combine_chunks()
    if not pa.types.is_nested(column.type):
        return whole.to_numpy(zero_copy_only=False)
    flat = whole.flatten().to_numpy(zero_copy_only=False)
    lengths = whole.value_lengths().to_numpy(zero_copy_only=False)
    if name not in RAGGED:
        return flat.reshape(len(lengths), -1)
    out = np.empty(len(lengths), object)
    out[:] = np.split(flat, np.cumsum(lengths)[:-1]) if len(lengths) else []
    return out
