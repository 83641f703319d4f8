"""A part of a score table: the rows of some of its cases, until all parts are joined."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from coverax._version import __version__
from coverax.files import PathLike, sound
from coverax.table.blocks import digest_columns
from coverax.table.columns import Columns, kinds_of
from coverax.table.definition import ScoreDefinition


class ScoredCase(NamedTuple):
    """What a part says of a case beside its rows.

    Attributes:
        number: Its place in the cohort, from 0.
        case_id: Its name.
        fold: Of whose model its map is; empty where nobody says.
        kind: Channels, storage and mark of its map.
        notes: What reading it left out.
        n_rows: Rows of the table that are its own, one a region.
    """

    number: int
    case_id: str
    fold: str
    kind: tuple[int, str, str]
    notes: dict[str, Any]
    n_rows: int


class LostCase(NamedTuple):
    """A case that failed and was allowed to be missing."""

    number: int
    case_id: str
    why: str


@dataclass(frozen=True, slots=True, eq=False)
class TablePart:
    """Cases of one shard, scored.

    Attributes:
        shard: Which part of how many; the first is 1.
        definition: What the scores mean; the kind of the maps is known of all alone.
        cohort_digest: SHA-256 of all that the cohort says, the same in every part.
        n_cases: Cases of the whole cohort.
        excluded: Reason to case ids of the whole cohort, known before any was read.
        further: Columns of text that the cohort has beside those of a `Case`.
        cases: Cases of this part that were scored, by number.
        lost: Those that failed.
        columns: Their rows; none without cases.
    """

    shard: tuple[int, int]
    definition: ScoreDefinition
    cohort_digest: str
    n_cases: int
    excluded: dict[str, tuple[str, ...]]
    further: tuple[str, ...]
    cases: tuple[ScoredCase, ...]
    lost: tuple[LostCase, ...]
    columns: Columns

    @property
    def n_rows(self) -> int:
        """Cases and regions."""
        return sum(case.n_rows for case in self.cases)

    def write(self, path: PathLike) -> None:
        """Write Parquet; the file appears complete or not at all."""
        from coverax.table.parquet import write_columns

        meta = {
            "coverax": __version__,
            "score_definition": self.definition.to_json(),
            "n_rows": self.n_rows,
            "rows_digest": digest_columns(self.columns),
            "excluded": self.excluded,
            "part": {
                "shard": self.shard,
                "cohort_digest": self.cohort_digest,
                "n_cases": self.n_cases,
                "further": self.further,
                "cases": self.cases,
                "lost": self.lost,
            },
        }
        kinds = kinds_of(self.columns, self.definition)
        write_columns(Path(path), self.columns, kinds, meta)


def is_part(path: PathLike) -> bool:
    """Whether a sound Parquet file is a part of a score table."""
    from coverax.table.parquet import read_meta

    try:
        return "part" in read_meta(Path(path))
    except (FileNotFoundError, ValueError):
        return False  # what is wrong is said where it is read as what it should be


def read_part(path: PathLike) -> TablePart:
    """Read a part of a score table.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no part, one of another version, or altered.
    """
    from coverax.table.parquet import altered, read_columns

    path = Path(path)
    columns, meta = read_columns(path)
    found = _checked(path, columns, meta)
    is_whole = digest_columns(found.columns) == meta["rows_digest"]
    lengths = {len(values) for values in columns.values()} or {0}
    if not is_whole or lengths != {found.n_rows} or found.n_rows != meta["n_rows"]:
        raise altered(path)
    return found


def read_head(path: PathLike) -> TablePart:
    """The same without its rows, which nobody has looked at.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no part, one of another version, or its head was altered.
    """
    from coverax.table.parquet import read_meta

    path = Path(path)
    return _checked(path, {}, read_meta(path))


def _checked(path: Path, columns: Columns, meta: dict[str, Any]) -> TablePart:
    with sound(path, "part of a score table"):
        if "part" not in meta:
            raise ValueError("a whole score table, not a part of one")
        if meta["coverax"] != __version__:
            raise ValueError(
                f"written by version {meta['coverax']!s:.40}, this is {__version__}: "
                "score it again"
            )
        return _part_of(columns, meta)


def _part_of(columns: Columns, meta: dict[str, Any]) -> TablePart:
    own = meta["part"]
    cases = [ScoredCase(*case) for case in own["cases"]]
    index, count = own["shard"]
    return TablePart(
        (int(index), int(count)),
        ScoreDefinition.from_json(meta["score_definition"]),
        str(own["cohort_digest"]),
        int(own["n_cases"]),
        {why: tuple(ids) for why, ids in meta["excluded"].items()},
        tuple(own["further"]),
        tuple(case._replace(kind=tuple(case.kind)) for case in cases),
        tuple(LostCase(*case) for case in own["lost"]),
        columns,
    )
