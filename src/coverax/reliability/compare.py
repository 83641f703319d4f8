"""Two models on the same cases: differences of measures, with paired intervals."""

from collections.abc import Sequence

import numpy as np

from coverax.reliability.bootstrap import drawn_weights, intervals
from coverax.reliability.classes import (
    ClassSums,
    Measures,
    class_sums,
    draw_class,
    draw_softmax,
    groups_of,
    macro_measures,
    pooled_measures,
    select_class,
    softmax_scores,
)
from coverax.reliability.results import (
    Comparison,
    Difference,
    Differences,
    GroupDifferences,
)
from coverax.reliability.summary import LEVEL
from coverax.scores import ScoreDefinition, ScoreTable

_KEYS = ("case_id", "region", "rater")


def compare(
    first: ScoreTable,
    second: ScoreTable,
    *,
    absent: str = "skip",
    n_draws: int = 2000,
    seed: int = 0,
    names: tuple[str, str] = ("the first table", "the second table"),
) -> Comparison:
    """Measures of two models on the same cases, with paired unit intervals.

    Both see the same drawn units, so that what differs between patients cancels. The
    percentile interval is approximate, and too short for a few dozen units. That both
    were scored against the same references is checked by counts alone: voxels and
    foreground voxels of every case and region.

    Args:
        first: One model.
        second: The other.
        absent: Macro means `skip` or `include` cases whose reference lacks the class.
        n_draws: Bootstrap samples over units; 0 for no intervals.
        seed: Seed of the bootstrap.
        names: What messages call the tables.

    Raises:
        ValueError: The tables differ in cases, regions, units, references or bins.
    """
    _check_definitions(first.definition, second.definition, names)
    a, b = _sorted(first), _sorted(second)
    _check_rows(a, b, names)
    softmax = first.definition.softmax
    every = list(dict.fromkeys(a.column("region").tolist()))
    every = ["background", *every] if softmax else every
    models = [[class_sums(rows, name, softmax) for name in every] for rows in (a, b)]
    regions: dict[str, Differences] = {}
    macro: dict[str, Differences] = {}
    by_group: dict[str, dict[str, GroupDifferences]] = {}
    for pair in zip(*models, strict=True):
        name = pair[0].name
        whole = _differences(pair, absent, n_draws, seed)
        regions[name], macro[name] = whole.pooled, whole.macro
        groups = {
            group: _differences(
                (select_class(pair[0], rows), select_class(pair[1], rows)),
                absent,
                n_draws,
                seed,
            )
            for group, rows in groups_of(pair[0]).items()
        }
        if groups:
            by_group[name] = groups
    if softmax:
        weights = drawn_weights(models[0][0].units, n_draws, seed)
        own = {"background", *(region.name for region in first.definition.classes)}
        parts = [[c for c in classes if c.name in own] for classes in models]
        points = [softmax_scores(classes) for classes in parts]
        draws = [draw_softmax(classes, weights) for classes in parts]
        regions["softmax"] = _paired(points, draws)
    return Comparison(regions, macro, by_group)


def _differences(
    pair: tuple[ClassSums, ClassSums], absent: str, n_draws: int, seed: int
) -> GroupDifferences:
    """Pooled and macro measures of one class or a part of it."""
    weights = drawn_weights(pair[0].units, n_draws, seed)
    drawn = [draw_class(sums, weights, absent) for sums in pair]
    return GroupDifferences(
        pooled=_paired(
            [pooled_measures(sums) for sums in pair], [d and d.pooled for d in drawn]
        ),
        macro=_paired(
            [macro_measures(sums, absent) for sums in pair],
            [d and d.macro for d in drawn],
        ),
    )


def _paired(
    points: Sequence[dict[str, float | None]], draws: Sequence[Measures | None]
) -> Differences:
    """Both values of each measure, their difference and its interval."""
    first, second = draws
    ends = {}
    if first is not None and second is not None:
        ends = intervals({k: second[k] - first[k] for k in first}, LEVEL) or {}
    out: dict[str, Difference] = {}
    for k, before in points[0].items():
        after = points[1][k]
        difference = None if before is None or after is None else after - before
        out[k] = Difference(before, after, difference, ends.get(k))
    return out


def _check_definitions(
    first: ScoreDefinition, second: ScoreDefinition, names: tuple[str, str]
) -> None:
    """Refuse tables whose numbers do not mean the same; the maps may differ."""
    for what, a, b in zip(
        ("bins", "regions", "softmax", "band edges", "soft bins"),
        _meaning(first),
        _meaning(second),
        strict=True,
    ):
        if a != b:
            raise ValueError(
                f"{names[0]} and {names[1]} cannot be compared, their {what} differ: "
                f"{a} and {b}"
            )


def _meaning(definition: ScoreDefinition) -> tuple[str, str, str, str, str]:
    """What must agree: of regions the labels, as channels belong to a model."""
    regions = sorted(
        f"{region.name}:{region.label_spec}" for region in definition.regions
    )
    return (
        str(definition.n_bins),
        " ".join(regions),
        "yes" if definition.softmax else "no",
        ",".join(f"{edge:g}" for edge in definition.band_edges_mm) or "none",
        str(definition.n_soft_bins or "none"),
    )


def _check_rows(a: ScoreTable, b: ScoreTable, names: tuple[str, str]) -> None:
    """Refuse rows of other cases, regions, raters, units or references."""
    here, there = _keys(a), _keys(b)
    for missing, holder, lacking in (
        (set(here) - set(there), names[0], names[1]),
        (set(there) - set(here), names[1], names[0]),
    ):
        if missing:
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise ValueError(
                f"{lacking} lacks {_row_name(min(missing))} of {holder}{more}; both "
                "must hold the same cases, regions and raters"
            )
    for column, what in (
        ("unit", "unit"),
        ("n_foreground", "foreground voxels of the reference"),
        ("n_voxels", "number of voxels"),
    ):
        values = [rows.column(column) for rows in (a, b)]
        other = np.flatnonzero(values[0] != values[1])
        if other.size:
            i = int(other[0])
            raise ValueError(
                f"{names[0]} and {names[1]} cannot be compared, the {what} of "
                f"{_row_name(here[i])} differs: {values[0][i]} and {values[1][i]}"
            )


def _keys(table: ScoreTable) -> list[tuple[str, str, str]]:
    """Case, region and rater of each row."""
    return list(zip(*[table.column(k).tolist() for k in _KEYS], strict=True))


def _sorted(table: ScoreTable) -> ScoreTable:
    """The table in the order of its keys."""
    keys = _keys(table)
    return table.select(np.array(sorted(range(len(keys)), key=keys.__getitem__)))


def _row_name(key: tuple[str, str, str]) -> str:
    case_id, region, rater = key
    return f"case {case_id}, region {region}" + (f", rater {rater}" if rater else "")
