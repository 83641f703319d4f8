"""Score tables from their files, as they were written or refused."""

from pathlib import Path
from typing import Any

from coverax.files import PathLike, sound
from coverax.table.columns import Columns
from coverax.table.definition import ScoreDefinition
from coverax.table.table import ScoreTable


def read_table(path: PathLike) -> ScoreTable:
    """Read a score table.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no score table, one of another schema, or altered.
    """
    from coverax.table.parquet import read_columns

    path = Path(path)
    columns, meta = read_columns(path)
    with sound(path, "score table"):
        return _checked_table(path, columns, meta)


def _checked_table(path: Path, columns: Columns, meta: dict[str, Any]) -> ScoreTable:
    from coverax.table.parquet import altered

    if "part" in meta:
        index, count = meta["part"]["shard"]
        raise ValueError(
            f"part {index} of {count} of a score table: join the parts with "
            "`coverax merge`"
        )
    excluded = {why: tuple(ids) for why, ids in meta["excluded"].items()}
    definition = ScoreDefinition.from_json(meta["score_definition"])
    turned = {i: dict(turns) for i, turns in meta.get("turned", {}).items()}
    table = ScoreTable(columns, definition, excluded, turned)
    is_whole = table.rows_digest == meta["rows_digest"]
    if not is_whole or table.n_rows != meta["n_rows"]:
        raise altered(path)
    return table
