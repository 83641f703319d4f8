"""Columns of the score table: their names, their shapes, and who reads them how.

A value a row is an array `[rows]`, as many entries in every row an array `[rows, entries]`,
and rows of their own lengths an array of arrays. A family of statistics computes its
columns in `coverax.scores`; what they are called, and what they hold, stands here.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from coverax.choices import Side
from coverax.engine.results import BinStatistics, ProperScores, SoftBinStatistics
from coverax.table.definition import ScoreDefinition
from coverax.table.transforms import Transform

Columns = Mapping[str, Shaped[np.ndarray, "rows *entries"]]

MIN_FOREGROUND = "min_foreground_probability"
# A power of two: k / N_CUTS is exact in float32, and so is every comparison with it.
N_CUTS = 1024
GRID_CUTS = np.arange(N_CUTS, dtype=np.float32) / N_CUTS
GRID_PREDICTED, GRID_TRUE_POSITIVE = "grid_predicted", "grid_true_positive"
CRITICAL_PREDICTED = "critical_predicted"
CRITICAL_TRUE_POSITIVE = "critical_true_positive"
LESION_PEAKS = "lesion_peaks"
# Where the components of the mask change: cuts, components from there, false ones.
COMPONENTS = ("lesion_cuts", "lesion_components", "lesion_false_components")
VISIT = "visit"  # of cohort.csv: which of the visits of its unit a case is
FOLD = "fold"  # of cohort.csv: whose model made the map of a case
REGION, TOP_LABEL, BACKGROUND = "bin_", "top_label_", "background_"
SOFT = "soft_"
N_SIZE_CUTS = 125
NO_COLUMN = (
    "column {} holds neither a number nor a list of one length in every row: say what it "
    "is in coverax.table.columns"
)
# What statistics of other definitions are called.
_RESERVED = (
    "bin_",
    "band_",
    "grid_",
    "critical_",
    "lesion_",
    "top_label_",
    "background_",
    "soft_",
    "mass_",
)
_WHOLE_NUMBERS = ("count", "sum_y", "zero_count", "zero_sum_y", "n_refused")


class Column(NamedTuple):
    """What a column holds.

    Attributes:
        name: Its name.
        kind: Type of its values.
        form: One `value` a row; `bins`, as many in every row of every table; a `list`, as
            many in every row of a table; `ragged`, of its own length in each row.
        n_bins: How many bins; 0 where there are none.
    """

    name: str
    kind: Literal["text", "int64", "uint64", "float64", "float32"]
    form: Literal["value", "bins", "list", "ragged"] = "value"
    n_bins: int = 0


class Curves(NamedTuple):
    """Voxels in `{probs >= cut}`, and foreground among them, of each row and cut."""

    cuts: Float[np.ndarray, " cuts"]
    n_predicted: Int[np.ndarray, "rows cuts"]
    n_true_positive: Int[np.ndarray, "rows cuts"]


CASE_COLUMNS = (
    Column("case_id", "text"),
    Column("region", "text"),
    Column("unit", "text"),
    Column("group", "text"),
    Column("weight", "float64"),
    Column("rater", "text"),
    Column("n_voxels", "int64"),
    Column("n_foreground", "int64"),
    Column("voxel_volume_ml", "float64"),
    Column("overshoot", "float32"),
    Column("part", "text"),
    Column("map_fingerprint", "uint64"),
    Column("gap_above_zero", "float32"),
)
# What the second pass adds, where it was asked for: each region has its own cuts.
CRITICAL_COLUMNS = (
    Column(CRITICAL_PREDICTED, "int64", "ragged"),
    Column(CRITICAL_TRUE_POSITIVE, "int64", "ragged"),
)
_PEAKS = Column(LESION_PEAKS, "float32", "ragged")
_COMPONENTS = (
    Column(COMPONENTS[0], "float32", "ragged"),
    *(Column(name, "int64", "ragged") for name in COMPONENTS[1:]),
)
RAGGED = tuple(column.name for column in (*CRITICAL_COLUMNS, _PEAKS, *_COMPONENTS))


def columns_of(definition: ScoreDefinition) -> tuple[Column, ...]:
    """The columns of a table of this definition, in their order."""
    families = (_fnr, _sets, _curves, _bins, _soft, _bands, _lesions)
    own = [column for family in families for column in family(definition)]
    return (*CASE_COLUMNS, *own)


def check_further(further: Sequence[str], definition: ScoreDefinition) -> None:
    """Refuse a further column of the cohort that is called as one of the table's own.

    Raises:
        ValueError: One is.
    """
    own = {column.name for column in columns_of(definition)}
    taken = [c for c in further if c in own or c.startswith(_RESERVED) or "@" in c]
    if taken:
        raise ValueError(
            f"column {', '.join(taken)} of the cohort is called as columns of the score "
            "table are: rename it"
        )


def column_values(name: str, kind: Column | None, values: Sequence[Any]) -> np.ndarray:
    """Plain values of the rows as an array of their kind, or of what they look like."""
    if kind is None:
        if len({np.shape(value) for value in values}) > 1:
            raise ValueError(NO_COLUMN.format(name))
        return np.array(values, object if isinstance(values[0], str) else None)
    if kind.form == "ragged":
        out = np.empty(len(values), object)
        out[:] = [np.asarray(row, kind.kind) for row in values]
        return out
    return np.array(values, object if kind.kind == "text" else kind.kind)


def column_kind(name: str, values: Shaped[np.ndarray, "rows *entries"]) -> Column:
    """What a column holds that no definition names: text, numbers, or lists of them.

    Raises:
        ValueError: Its lists differ in length from row to row; such a column is one of
            `columns_of`.
    """
    if values.ndim > 2 or (values.dtype == object and not isinstance(values[0], str)):
        raise ValueError(NO_COLUMN.format(name))
    form = "value" if values.ndim < 2 else "list"
    if values.dtype.kind in "OU":
        return Column(name, "text", form)
    return Column(name, "float64" if values.dtype.kind == "f" else "int64", form)


def kinds_of(columns: Columns, definition: ScoreDefinition) -> list[Column]:
    """What the entries of each column of a table are, as they lie on disk."""
    own = (*columns_of(definition), *CRITICAL_COLUMNS)
    known = {kind.name: kind for kind in own}
    return [
        known.get(name) or column_kind(name, values) for name, values in columns.items()
    ]


def critical_column(tolerance: float) -> str:
    """Column of the critical probability at a tolerance."""
    return f"critical_probability@{tolerance!r}"


def mass_column(tolerance: float) -> str:
    """Column of the mass score at a tolerance."""
    return f"mass_score@{tolerance!r}"


def score_column(side: Side, spec: str) -> str:
    """Column of the scores of a transform."""
    return f"{side}_score@{spec}"


def size_column(side: Side, spec: str) -> str:
    """Column of the set sizes of a transform, one entry a cut of `size_cuts`."""
    return f"{side}_size@{spec}"


def size_cuts(transform: Transform) -> Float[np.ndarray, " cuts"]:
    """Cuts of the score map at which sizes are kept, ascending.

    Log-odds and distances are spaced evenly near the border and geometrically away from
    it: maps smoothed wide live in a narrow range.
    """
    steps = np.linspace(-1, 1, N_SIZE_CUTS)
    if (step := transform.kind.step) is not None:
        # In mm up to 166 mm, 0.1 mm apart at the border.
        return step * np.sinh(6.5 * steps)
    return 1 / (1 + np.exp(-0.5 * np.sinh(4.16 * steps)))  # log-odds up to 16


def band_prefix(band: int) -> str:
    """Start of the names of the columns of a band, counted from the outermost."""
    return f"band_{band}_"


def n_bands(definition: ScoreDefinition) -> int:
    """Bands of a definition: one more than edges, none without."""
    return len(definition.band_edges_mm) + 1 if definition.band_edges_mm else 0


def read_bins(columns: Columns, prefix: str = REGION) -> BinStatistics:
    """Bin statistics of the rows of a table, `[rows, bins]`.

    Args:
        columns: Columns of a score table.
        prefix: `REGION`, `TOP_LABEL`, `BACKGROUND`, or that of a band.

    Raises:
        ValueError: The table holds none.
    """
    prefix = prefix + REGION if prefix == BACKGROUND else prefix
    if prefix + BinStatistics._fields[0] not in columns:
        raise ValueError(
            "the score table holds no such bins; score with --bins and, for what "
            "concerns all classes, --softmax"
        )
    return BinStatistics(*[columns[prefix + name] for name in BinStatistics._fields])


def read_soft_bins(columns: Columns, prefix: str = REGION) -> SoftBinStatistics | None:
    """Soft bin statistics of the rows of a table; None where it was scored without.

    Args:
        columns: Columns of a score table.
        prefix: `REGION` or `BACKGROUND`.
    """
    start = prefix + SOFT if prefix == BACKGROUND else SOFT
    if start + SoftBinStatistics._fields[0] not in columns:
        return None
    return SoftBinStatistics(*[columns[start + n] for n in SoftBinStatistics._fields])


def read_proper_scores(columns: Columns, prefix: str = REGION) -> ProperScores:
    """Proper scores of the rows of a table, `[rows, 2]`: outside, inside the class."""
    start = prefix if prefix == BACKGROUND else ""
    return ProperScores(*[columns[start + name] for name in ProperScores._fields])


def _fnr(definition: ScoreDefinition) -> Iterable[Column]:
    names = (MIN_FOREGROUND, *map(critical_column, definition.tolerances))
    yield from (Column(name, "float32") for name in names)
    for tolerance in definition.tolerances if definition.mass else ():
        yield Column(mass_column(tolerance), "float64")


def _sets(definition: ScoreDefinition) -> Iterable[Column]:
    transforms = definition.transforms
    yield from (Column(score_column(t.side, t.spec), "float64") for t in transforms)
    if definition.set_sizes:
        for t in transforms:
            yield Column(size_column(t.side, t.spec), "int64", "list")


def _curves(definition: ScoreDefinition) -> Iterable[Column]:
    names = (GRID_PREDICTED, GRID_TRUE_POSITIVE) if definition.grid else ()
    return [Column(name, "int64", "list") for name in names]


def _bins(definition: ScoreDefinition) -> Iterable[Column]:
    n_bins = definition.n_bins
    if not n_bins:
        return
    yield from _bin_columns(REGION, n_bins)
    yield from _proper_columns("")
    if definition.softmax:
        yield from _bin_columns(TOP_LABEL, n_bins)
        yield from _bin_columns(BACKGROUND + REGION, n_bins)
        yield from _proper_columns(BACKGROUND)


def _soft(definition: ScoreDefinition) -> Iterable[Column]:
    prefixes = (SOFT, BACKGROUND + SOFT) if definition.softmax else (SOFT,)
    for prefix in prefixes if definition.n_soft_bins else ():
        for name in ("weight", "sum_p", "sum_y"):
            yield Column(prefix + name, "float64", "bins", definition.n_soft_bins)
        yield Column(prefix + "n_refused", "int64")


def _bands(definition: ScoreDefinition) -> Iterable[Column]:
    for band in range(n_bands(definition)):
        yield from _bin_columns(band_prefix(band), definition.n_bins)


def _lesions(definition: ScoreDefinition) -> Iterable[Column]:
    if definition.lesions is None:
        return []
    return [_PEAKS, *(_COMPONENTS if definition.mask_lesions else ())]


def _bin_columns(prefix: str, n_bins: int) -> Iterable[Column]:
    for name in BinStatistics._fields:
        kind = "int64" if name in _WHOLE_NUMBERS else "float64"
        if name in ("count", "sum_p", "sum_y", "sum_py"):
            yield Column(prefix + name, kind, "bins", n_bins)
        else:
            yield Column(prefix + name, kind)


def _proper_columns(prefix: str) -> Iterable[Column]:
    for name in ProperScores._fields:
        kind = "int64" if name == "n_clipped" else "float64"
        yield Column(prefix + name, kind, "bins", 2)
