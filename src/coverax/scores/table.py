"""The score table: one row a case and region, everything later steps need."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from coverax import __version__
from coverax.files import digest_ids, publishing
from coverax.scores import curves, extremes, fnr, lesions
from coverax.scores.curves import Curves
from coverax.scores.definition import ScoreDefinition
from coverax.scores.families import all_fields
from coverax.scores.transforms import Side, Transform, parse_transform

SCHEMA = 1
_KEY = b"coverax"

_CASE_FIELDS = [
    pa.field("case_id", pa.string()),
    pa.field("region", pa.string()),
    pa.field("unit", pa.string()),
    pa.field("group", pa.string()),
    pa.field("weight", pa.float64()),
    pa.field("rater", pa.string()),
    pa.field("n_voxels", pa.int64()),
    pa.field("n_foreground", pa.int64()),
    pa.field("voxel_volume_ml", pa.float64()),
    pa.field("overshoot", pa.float32()),
    pa.field("part", pa.string()),
    pa.field("map_fingerprint", pa.uint64()),
    pa.field("gap_above_zero", pa.float32()),
]


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """Sufficient statistics of a cohort.

    Attributes:
        rows: Arrow table, one row a case and region.
        definition: What the scores mean.
        excluded: Reason to case ids, for cases that were allowed to be missing.
    """

    rows: pa.Table
    definition: ScoreDefinition
    excluded: dict[str, tuple[str, ...]]

    @classmethod
    def from_rows(
        cls,
        rows: list[dict[str, Any]],
        definition: ScoreDefinition,
        excluded: dict[str, tuple[str, ...]] | None = None,
    ) -> "ScoreTable":
        """Build a table from rows of plain values, in their order."""
        fields = _CASE_FIELDS + all_fields(definition)
        columns = {f.name: pa.array([r[f.name] for r in rows], f.type) for f in fields}
        return cls(
            pa.table(columns, schema=pa.schema(fields)), definition, excluded or {}
        )

    @property
    def tolerances(self) -> tuple[float, ...]:
        """Tolerances the table holds scores for."""
        return self.definition.tolerances

    @property
    def cases_digest(self) -> str:
        """SHA-256 of the case ids."""
        return digest_ids(self.rows.column("case_id").to_pylist())

    @property
    def rows_digest(self) -> str:
        """SHA-256 of every value of the table, with the names of its columns."""
        digest = hashlib.sha256()
        for name in self.rows.column_names:
            digest.update(f"{name}\n".encode())
            _hash_array(digest, self.rows.column(name).combine_chunks())
        return digest.hexdigest()

    def column(self, name: str) -> np.ndarray:
        """A column as a NumPy array.

        Raises:
            ValueError: There is no such column.
        """
        if name not in self.rows.column_names:
            raise ValueError(
                f"the score table has no column {name!r}; it has "
                f"{', '.join(self.rows.column_names)}"
            )
        return self.rows.column(name).to_numpy(zero_copy_only=False)

    def critical_probability(self, tolerance: float) -> np.ndarray:
        """Critical probabilities at a tolerance, float32, one per row."""
        return self.column(fnr.column_name(tolerance))

    def counts(self, name: str) -> np.ndarray:
        """A column of equally long lists, `[rows, entries]`."""
        lists = self.rows.column(name).combine_chunks()
        return lists.flatten().to_numpy().reshape(len(lists), -1)

    def grid_curves(self) -> Curves:
        """Voxel counts of every row at the fixed grid of cuts.

        Raises:
            ValueError: The table was written without them.
        """
        if curves.GRID_PREDICTED not in self.rows.column_names:
            raise ValueError(
                "the table has no loss curves; score again without --no-grid"
            )
        return Curves(
            curves.GRID_CUTS,
            self.counts(curves.GRID_PREDICTED),
            self.counts(curves.GRID_TRUE_POSITIVE),
        )

    def critical_curves(self, region: str) -> Curves | None:
        """Voxel counts of a region's rows at its own critical probabilities.

        None where the table was scored without the second pass (`--curves`).
        """
        if curves.CRITICAL_PREDICTED not in self.rows.column_names:
            return None
        mine = ScoreTable(
            self.rows.filter(pa.array(self.column("region") == region)),
            self.definition,
            self.excluded,
        )
        return Curves(
            self.critical_cuts(region),
            mine.counts(curves.CRITICAL_PREDICTED),
            mine.counts(curves.CRITICAL_TRUE_POSITIVE),
        )

    def critical_cuts(self, region: str) -> np.ndarray:
        """Finite critical probabilities of a region at every tolerance, ascending."""
        mine = self.column("region") == region
        each = [self.critical_probability(t)[mine] for t in self.tolerances]
        cuts = np.unique(np.concatenate(each))
        return cuts[np.isfinite(cuts)]

    def lesion_peaks(self) -> list[np.ndarray] | None:
        """Critical probability of each lesion of each row, ascending.

        None where the table was scored without `--lesions`.
        """
        if lesions.PEAKS not in self.rows.column_names:
            return None
        column = self.rows.column(lesions.PEAKS).combine_chunks()
        ends = np.cumsum(column.value_lengths().to_numpy(zero_copy_only=False))
        return np.split(column.flatten().to_numpy(zero_copy_only=False), ends[:-1])

    def set_transform(self, side: Side, spec: str | None = None) -> Transform:
        """The transform of one side that was asked for, or the only one.

        Raises:
            ValueError: The table has none such, or several and none was named.
        """
        have = [t for t in self.definition.transforms if t.side == side]
        names = ", ".join(t.spec for t in have)
        if not have:
            raise ValueError(
                f"the table has no {side} scores; score again with --transform "
                f"{side}={spec or 'NAME'}"
            )
        if spec is None:
            if len(have) != 1:
                raise ValueError(
                    f"the table has {side} transforms {names}: choose one with "
                    f"--{side}, or score again with --transform"
                )
            return have[0]
        wanted = parse_transform(f"{side}={spec}")
        if wanted not in have:
            raise ValueError(
                f"the table has no {side} scores for {wanted.spec}, only for {names}; "
                "score again with --transform"
            )
        return wanted

    def set_scores(self, transform: Transform) -> np.ndarray:
        """Inner or outer scores of a transform, float64, one per row."""
        return self.column(extremes.score_column(transform.side, transform.spec))

    def set_sizes(self, transform: Transform) -> tuple[np.ndarray, np.ndarray]:
        """Cuts of the score map, and voxels at or above each, `[rows, cuts]`.

        Raises:
            ValueError: The table was made without them.
        """
        if not self.definition.set_sizes:
            raise ValueError(
                "the table has no set sizes; score the learning part with --set-sizes"
            )
        column = self.column(extremes.size_column(transform.side, transform.spec))
        return extremes.size_cuts(transform), np.stack(list(column)).astype(np.int64)

    def write(self, path: Path) -> None:
        """Write Parquet; the file appears complete or not at all."""
        meta = {
            "schema": SCHEMA,
            "coverax": __version__,
            "score_definition": self.definition.to_json(),
            "dtype": "float32",
            "n_rows": self.rows.num_rows,
            "cases_digest": self.cases_digest,
            "rows_digest": self.rows_digest,
            "excluded": self.excluded,
        }
        rows = self.rows.replace_schema_metadata({_KEY: json.dumps(meta).encode()})
        with publishing(path) as temporary:
            pq.write_table(rows, temporary)


def read_table(path: Path) -> ScoreTable:
    """Read a score table.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no score table, one of another schema, or altered.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such score table")
    try:
        rows = pq.read_table(path)
    except (pa.ArrowInvalid, OSError):
        raise ValueError(f"{path}: not a Parquet file, or damaged") from None
    meta = json.loads((rows.schema.metadata or {}).get(_KEY, b"null"))
    if not isinstance(meta, dict) or "schema" not in meta:
        raise ValueError(f"{path}: a Parquet file, but not a coverax score table")
    if meta["schema"] != SCHEMA:
        raise ValueError(
            f"{path}: score table of schema {meta['schema']}, this version reads {SCHEMA}"
        )
    excluded = {why: tuple(ids) for why, ids in meta["excluded"].items()}
    try:
        definition = ScoreDefinition.from_json(meta["score_definition"])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    table = ScoreTable(rows.replace_schema_metadata(None), definition, excluded)
    if table.rows_digest != meta["rows_digest"]:
        raise ValueError(
            f"{path}: altered after it was written (its digest does not match); "
            "run `coverax score` again"
        )
    return table


def _hash_array(digest: "hashlib._Hash", array: pa.Array) -> None:
    """Feed the values of an array, nested or not, to a digest."""
    if pa.types.is_nested(array.type):
        digest.update(array.value_lengths().to_numpy(zero_copy_only=False).tobytes())
        _hash_array(digest, array.flatten())
    elif pa.types.is_string(array.type):
        digest.update(json.dumps(array.to_pylist()).encode())
    else:
        digest.update(array.to_numpy(zero_copy_only=False).tobytes())
