"""The score table: one row a case and region, everything later steps need."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from coverax._version import __version__
from coverax.choices import Side
from coverax.engine.results import ComponentEvents
from coverax.files import PathLike, digest_ids
from coverax.shown import Shown, few
from coverax.table import columns as names
from coverax.table.blocks import columns_of_rows, digest_columns
from coverax.table.columns import Columns, Curves
from coverax.table.definition import ScoreDefinition
from coverax.table.transforms import Transform, parse_transform

# Text that the cohort does not fill: `part` is of the record beside a map.
_NO_COHORT = (*names.RAGGED, "region", "part")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ScoreTable(Shown):
    """Sufficient statistics of a cohort.

    Attributes:
        columns: By name, in their order; one entry a case and region. Read-only.
        definition: What the scores mean.
        excluded: Reason to case ids, for cases that were allowed to be missing.
        turned: Case id to what was turned by whole voxels to lie as its map does
            (`labels`, `valid`), and how.
    """

    columns: Columns
    definition: ScoreDefinition
    excluded: dict[str, tuple[str, ...]]
    turned: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])

    def __post_init__(self):
        lengths = {name: len(values) for name, values in self.columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"the columns of a table differ in length: {lengths}")
        frozen = {name: values.view() for name, values in self.columns.items()}
        for values in frozen.values():
            values.flags.writeable = False
        object.__setattr__(self, "columns", MappingProxyType(frozen))

    @classmethod
    def from_rows(
        cls,
        rows: list[dict[str, Any]],
        definition: ScoreDefinition,
        excluded: dict[str, tuple[str, ...]] | None = None,
        further: Sequence[str] = (),
    ) -> "ScoreTable":
        """Build a table from rows of plain values, in their order.

        Args:
            rows: As `columns_of_rows` takes them, which does the same for many.
            definition: What the scores mean.
            excluded: Reason to case ids.
            further: Columns of text that the cohort has beside those of a `Case`.

        Raises:
            ValueError: A further column has the name of one of the table's own, or one
                that the definition does not name has lists of different lengths.
        """
        names.check_further(further, definition)
        columns = columns_of_rows(rows, len(rows), definition, further)
        return cls(columns, definition, excluded or {})

    def _facts(self) -> dict[str, object]:
        held = {
            name: self.columns.get(name, np.zeros(0)) for name in ("case_id", "unit")
        }
        return {
            "cases": len(set(held["case_id"].tolist())),
            "units": len(set(held["unit"].tolist())),
            "rows": self.n_rows,
            "columns": len(self.columns),
            "regions": few(self.definition.regions),
            "tolerances": few(self.tolerances),
            "transforms": few(self.definition.transforms) or "none",
            "left out": sum(map(len, self.excluded.values())),
        }

    @property
    def n_rows(self) -> int:
        """Cases and regions."""
        return len(self.columns["case_id"])

    @property
    def cohort_columns(self) -> tuple[str, ...]:
        """Columns of text, which the cohort and not a reference or a map filled."""
        return tuple(
            name
            for name, values in self.columns.items()
            if values.dtype.kind in "OU" and name not in _NO_COHORT
        )

    def grouping(self, name: str) -> Shaped[np.ndarray, " rows"]:
        """A column that can group cases: known before there is a reference.

        Raises:
            ValueError: There is no such column, or it is a statistic of maps and
                references and not of the cohort.
        """
        candidates = [c for c in self.cohort_columns if c not in ("case_id", "rater")]
        if name in candidates:
            return self.column(name)
        why = f"the score table has no column {name!r}"
        if name in self.columns:
            why = f"{name} is known from map and reference alone"
        raise ValueError(
            f"{why}; groups must be known for a new case: {', '.join(candidates)} are "
            "(further columns of cohort.csv are carried along)"
        )

    def units(self, name: str) -> Shaped[np.ndarray, " rows"]:
        """A column that can name what is exchangeable.

        Raises:
            ValueError: There is no such column of the cohort.
        """
        candidates = [c for c in self.cohort_columns if c != "rater"]
        return self._one_of(candidates, name, "units")

    def weights(self, name: str) -> Shaped[np.ndarray, " rows"]:
        """A column that can weigh cases: numbers that the cohort gives.

        Raises:
            ValueError: There is no such column of the cohort.
        """
        if (
            name in self.cohort_columns
        ):  # a cell that is no number is named by its value
            return self.column(name)
        numbers = [c for c in self.cohort_columns if _is_numeric(self.columns[c])]
        return self._one_of(["weight", *numbers], name, "weights")

    def _one_of(self, candidates: list[str], name: str, what: str) -> np.ndarray:
        if name not in candidates:
            raise ValueError(
                f"no column {name!r} for {what}: the cohort gives "
                f"{', '.join(candidates)} (further columns of cohort.csv are carried along)"
            )
        return self.column(name)

    @property
    def rows(self) -> Any:
        """The table as Arrow, for other tools: `rows.to_pylist()`, `rows.to_pandas()`."""
        from coverax.table.parquet import to_arrow

        return to_arrow(self.columns, names.kinds_of(self.columns, self.definition))

    def to_pandas(self) -> Any:
        """The table as a frame of pandas, for notebooks; `from_pandas` takes it back.

        What the columns mean goes along, sealed, in `frame.attrs`.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        from coverax.table.frames import to_frame

        return to_frame(self)

    @classmethod
    def from_pandas(
        cls, frame: Any, definition: ScoreDefinition | None = None
    ) -> "ScoreTable":
        """A table from such a frame, or from rows of it; the same bits.

        Args:
            frame: Of all columns of `to_pandas`, and further ones, as a site.
            definition: What the scores mean, where a join or concat lost it.

        Raises:
            ValueError: Columns are missing or hold what they cannot hold, or the frame
                does not say what they mean.
        """
        from coverax.table.frames import from_frame

        return from_frame(frame, definition)

    @property
    def folds(self) -> tuple[str, ...]:
        """Folds whose models made the maps, sorted; none where nobody says.

        Scores of several folds come from several models: they are no one sample.
        """
        values = self.columns.get(names.FOLD)
        return () if values is None else tuple(sorted(set(map(str, values)) - {""}))

    @property
    def tolerances(self) -> tuple[float, ...]:
        """Tolerances the table holds scores for."""
        return self.definition.tolerances

    @property
    def cases_digest(self) -> str:
        """SHA-256 of the case ids."""
        return digest_ids(self.column("case_id").tolist())

    @property
    def rows_digest(self) -> str:
        """SHA-256 of every value of the table, with the names of its columns."""
        return digest_columns(self.columns)

    def select(
        self, rows: Bool[np.ndarray, " rows"] | Int[np.ndarray, " chosen"]
    ) -> "ScoreTable":
        """The table of some of its rows, chosen by a mask or by their places."""
        chosen = {name: values[rows] for name, values in self.columns.items()}
        found = replace(self, columns=chosen)
        if names.CRITICAL_PREDICTED not in chosen:
            return found
        return replace(found, columns=chosen | self._counts_kept_by(found))

    def column(self, name: str) -> Shaped[np.ndarray, "rows *entries"]:
        """A column, one entry a row.

        Raises:
            ValueError: There is no such column.
        """
        if name not in self.columns:
            raise ValueError(
                f"the score table has no column {name!r}; it has "
                f"{', '.join(self.columns)}"
            )
        return self.columns[name]

    def critical_probability(self, tolerance: float) -> Float[np.ndarray, " rows"]:
        """Critical probabilities at a tolerance, float32, one per row."""
        return self.column(names.critical_column(tolerance))

    def grid_curves(self) -> Curves:
        """Voxel counts of every row at the fixed grid of cuts.

        Raises:
            ValueError: The table was written without them.
        """
        if names.GRID_PREDICTED not in self.columns:
            raise ValueError(
                "the table has no loss curves; score again without --no-grid"
            )
        return Curves(
            names.GRID_CUTS,
            self.column(names.GRID_PREDICTED),
            self.column(names.GRID_TRUE_POSITIVE),
        )

    def critical_curves(self, region: str) -> Curves | None:
        """Voxel counts of a region's rows at its own critical probabilities.

        None where the table was scored without the second pass (`--curves`).
        """
        if names.CRITICAL_PREDICTED not in self.columns:
            return None
        mine = self.column("region") == region
        predicted, hits = (
            np.stack(list(self.column(name)[mine]))
            for name in (names.CRITICAL_PREDICTED, names.CRITICAL_TRUE_POSITIVE)
        )
        return Curves(self.critical_cuts(region), predicted, hits)

    def _counts_kept_by(self, found: "ScoreTable") -> dict[str, np.ndarray]:
        """Counts of some rows at the critical cuts of these alone."""
        regions = found.column("region").tolist()
        kept = {
            name: np.searchsorted(self.critical_cuts(name), found.critical_cuts(name))
            for name in set(regions)
        }
        out: dict[str, np.ndarray] = {}
        for column in (names.CRITICAL_PREDICTED, names.CRITICAL_TRUE_POSITIVE):
            each = np.empty(len(regions), object)
            each[:] = [
                counts[kept[region]]
                for counts, region in zip(found.column(column), regions, strict=True)
            ]
            out[column] = each
        return out

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
        if names.LESION_PEAKS not in self.columns:
            return None
        return list(self.column(names.LESION_PEAKS))

    def component_events(self) -> list[ComponentEvents] | None:
        """Components of the masks of each row, at every cut of the grid and above.

        None where the table was scored without `--mask-lesions`.
        """
        if names.COMPONENTS[0] not in self.columns:
            return None
        each = zip(*(self.column(name) for name in names.COMPONENTS), strict=True)
        return [ComponentEvents(*row) for row in each]

    def side_transform(self, side: Side, spec: str | None = None) -> Transform:
        """The transform of one side that was asked for, or the only one.

        Raises:
            ValueError: The table has none such, or several and none was named.
        """
        have = [t for t in self.definition.transforms if t.side == side]
        known = ", ".join(t.spec for t in have)
        if not have:
            raise ValueError(
                f"the table has no {side} scores; score again with --transform "
                f"{side}={spec or 'NAME'}"
            )
        if spec is None:
            if len(have) != 1:
                raise ValueError(
                    f"the table has {side} transforms {known}: choose one with "
                    f"--{side}, or score again with --transform"
                )
            return have[0]
        wanted = parse_transform(f"{side}={spec}")
        if wanted not in have:
            raise ValueError(
                f"the table has no {side} scores for {wanted.spec}, only for {known}; "
                "score again with --transform"
            )
        return wanted

    def side_scores(self, transform: Transform) -> np.ndarray:
        """Inner or outer scores of a transform, float64, one per row."""
        return self.column(names.score_column(transform.side, transform.spec))

    def side_sizes(self, transform: Transform) -> tuple[np.ndarray, np.ndarray]:
        """Cuts of the score map, and voxels at or above each, `[rows, cuts]`.

        Raises:
            ValueError: The table was made without them.
        """
        if not self.definition.set_sizes:
            raise ValueError(
                "the table has no set sizes; score the learning part with --set-sizes"
            )
        column = names.size_column(transform.side, transform.spec)
        return names.size_cuts(transform), self.column(column)

    def write(self, path: PathLike) -> None:
        """Write Parquet; the file appears complete or not at all."""
        from coverax.table.parquet import write_columns

        meta = {
            "coverax": __version__,
            "score_definition": self.definition.to_json(),
            "dtype": "float32",
            "n_rows": self.n_rows,
            "cases_digest": self.cases_digest,
            "rows_digest": self.rows_digest,
            "excluded": self.excluded,
        }
        if self.turned:
            meta["turned"] = self.turned
        kinds = names.kinds_of(self.columns, self.definition)
        write_columns(Path(path), self.columns, kinds, meta)


def _is_numeric(values: np.ndarray) -> bool:
    """Whether every text is a number."""
    try:
        return bool(np.isfinite(values.astype(float)).all())
    except (TypeError, ValueError):
        return False
