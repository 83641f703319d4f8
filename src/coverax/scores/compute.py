"""From files, or arrays in memory, to the score table."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from coverax.checks import as_list
from coverax.choices import EngineName, Neighbours
from coverax.engine.switch import Engine, resolve_engine
from coverax.files import PathLike
from coverax.rational import Level, each_level
from coverax.scores.array_cases import ArrayCases
from coverax.scores.arrays import array_loader, array_regions, class_axis
from coverax.scores.batch import CaseRows, Loaded, ViewBatch
from coverax.scores.families import all_columns
from coverax.scores.first_pass import first_pass
from coverax.scores.notes import cohort_notes
from coverax.scores.records import (
    check_maps,
    common_kind,
    further_columns,
    rows_of,
    scored_case,
    turned_cases,
)
from coverax.scores.stream import MapReader, stream_rows
from coverax.stream import HERE, Journal, Where, gather
from coverax.table.columns import FOLD
from coverax.table.definition import (
    DEFAULT_BINS,
    ScoreDefinition,
    sorted_tolerances,
)
from coverax.table.table import ScoreTable
from coverax.table.transforms import parse_transforms
from coverax.volumes import (
    FOREGROUND,
    Cohort,
    Region,
    read_probs,
)


def score_cohort(
    cohort: Cohort,
    definition: ScoreDefinition,
    *,
    engine: EngineName = "auto",
    threads: int | None = None,
    where: Where = HERE,
    journal: Journal | None = None,
    verify_inputs: bool = False,
    allow_missing: bool = False,
    read_map: MapReader = read_probs,
    beside: PathLike | None = None,
    on_case: Callable[[], None] = lambda: None,
    on_failure: Callable[[str], None] = lambda _why: None,
    on_note: Callable[[str], None] = lambda _line: None,
) -> ScoreTable:
    """Score every case of a cohort; each file is read once.

    Args:
        cohort: The cases.
        definition: What to score and how to read it.
        engine: `host` and `device` give the same scores and counts to the bit, and sums
            within 1e-6.
        threads: Reader threads; the cores of the process by default.
        where: Where cases are read: in this process, workers of its own, or a cluster.
        journal: Where finished records go, and where earlier ones come from.
        verify_inputs: With earlier records, tell replaced files by their content too.
        allow_missing: Publish without the cases that failed and record them.
        read_map: How a case's map comes into memory, as `load_case` takes it.
        beside: The output, if the lists of a large table may lie in a file beside it that
            has no name, and goes with the table; None holds all of it in memory.
        on_case: Called once a case, for progress.
        on_failure: Called with a line for each case left out under `allow_missing`.
        on_note: Called with a line for what was left out inside cases: labels of no
            region, values where no voxel counts.

    Returns:
        The table, in the order of the cohort.

    Raises:
        ExceptionGroup: Cases failed; one exception each, naming case and file.
        ValueError: No case was left, the maps are of different kinds or all hard masks,
            or cases of several units share one map.
    """
    chosen = resolve_engine(engine)
    definition = definition.with_engine(chosen.name)
    further = further_columns(cohort.cases, definition)
    found = first_pass(
        cohort.cases,
        definition,
        chosen,
        threads=threads,
        where=where,
        journal=journal,
        verify_inputs=verify_inputs,
        allow_missing=allow_missing,
        read_map=read_map,
        on_case=on_case,
        on_failure=on_failure,
    )
    excluded = dict(cohort.excluded)
    if found.failures:
        excluded["failed"] = tuple(case.case_id for case in found.failures)
    if not found.kept:
        raise ValueError("no case could be scored")
    cases = [scored_case(i, *pair) for i, pair in enumerate(found.kept.items())]
    for line in cohort_notes(case.notes for case in cases):
        on_note(line)
    definition = definition.with_kind(common_kind(cases))
    columns = found.columns(definition, further, beside)
    table = ScoreTable(columns, definition, excluded, turned_cases(cases))
    check_maps(table)
    return table


def score_arrays(
    probs: Iterable[Any],
    labels: Iterable[Any],
    tolerances: Level | Iterable[Level],
    *,
    mass: bool = False,
    transforms: Iterable[str] = (),
    set_sizes: bool = False,
    spacing_mm: Iterable[Any] | None = None,
    valid: Iterable[Any] | None = None,
    case_ids: Iterable[Any] | None = None,
    units: Iterable[Any] | None = None,
    groups: Iterable[Any] | None = None,
    weights: Iterable[Any] | None = None,
    raters: Iterable[Any] | None = None,
    folds: Iterable[Any] | None = None,
    voxel_volume_ml: float | Iterable[Any] = float("nan"),
    region: str = FOREGROUND.name,
    regions: Iterable[Region | str] | Region | str | None = None,
    channels: str | None = None,
    softmax: bool = False,
    ignore_label: int | None = None,
    n_bins: int = DEFAULT_BINS,
    n_soft_bins: int = 0,
    band_edges_mm: Sequence[float] = (),
    lesions: Neighbours | None = None,
    mask_lesions: bool = False,
    allow_hard_masks: bool = False,
    allow_duplicates: bool = False,
    engine: EngineName = "auto",
) -> ScoreTable:
    """Score arrays that are already in memory, as `score_cohort` scores files.

    What the command line refuses is refused here too. Sequences are read by position,
    whatever index they carry; an array is anything that NumPy reads, of torch, MONAI or
    JAX too. A map of another float type is rounded once to float32.

    Args:
        probs: `[batch, *spatial]`, with `regions` `[batch, *spatial, classes]`, or a
            sequence of arrays of any shapes of at most 3 axes, beside that of the
            classes.
        labels: References of whole numbers: 0 and 1, or the labels of `regions`. Where
            the map has classes, one label a voxel or a one-hot array of the map's shape.
        tolerances: Tolerated false-negative rates of one case, or a single one.
        mass: Keep mass scores beside the critical probabilities.
        transforms: Transforms for inner and outer scores, `inner=distance:cut=0.5`.
        set_sizes: Keep the sizes of their sets too, for `learn_sets`.
        spacing_mm: Voxel edges, the same for all or one row a case; spatial transforms
            need it.
        valid: Masks of the voxels that count; all by default. The others need no
            number, unless a transform looks at neighbours or the mass of maps counts.
        case_ids: Names; `case_0`, `case_1`, ... by default.
        units: What is exchangeable; the case by default.
        groups: Category of each case known without the reference.
        weights: Likelihood ratios under shift.
        raters: Who made each reference, where cases have several: one entry each.
        folds: Fold whose model made each map, where they are of a cross-validation.
        voxel_volume_ml: Volume of a voxel, one or per case; unknown by default.
        region: Name of the region, where there is one.
        regions: Structures, `NAME=CHANNEL[+CHANNEL]:LABEL[,LABEL]`; other labels are
            background then.
        channels: Where the class axis of the maps is, `first` or `last`. Where regions
            are of several classes and nothing is said it is the last; without regions
            there is none.
        softmax: The maps are a softmax; channel 0 is the background and the regions are
            the other channels, in order.
        ignore_label: Label of voxels that do not count.
        n_bins: Bins of the calibration statistics; 0 for none.
        n_soft_bins: Soft bins beside them; 0 for none.
        band_edges_mm: Distances to the surface of the reference, positive inside,
            between which bins are kept apart; needs spacings.
        lesions: Keep the peak of each lesion; voxels of one share a `face`, `edge` or
            `corner`. Needs `spacing_mm`.
        mask_lesions: Count the components of masks at every cut too, and the false ones.
        allow_hard_masks: Accept maps that hold 0 and 1 alone.
        allow_duplicates: Accept one map under the names of several units.
        engine: `host` and `device` give the same bits.

    Raises:
        ExceptionGroup: Cases have bad values or shapes; one exception each.
        TypeError: A column is no sequence, or holds what it cannot hold.
        ValueError: The lengths differ, a case id occurs twice, regions and channels
            contradict each other, all maps are hard masks, or cases of several units
            share one map.
    """
    cases = ArrayCases.of(
        probs,
        labels,
        valid=valid,
        spacing_mm=spacing_mm,
        voxel_volume_ml=voxel_volume_ml,
        case_ids=case_ids,
        units=units,
        groups=groups,
        weights=weights,
        raters=raters,
        folds=folds,
    )
    definition = ScoreDefinition(
        regions=array_regions(regions, region),
        tolerances=sorted_tolerances(each_level(tolerances)),
        mass=mass,
        ignore_label=ignore_label,
        softmax=softmax,
        n_bins=n_bins,
        n_soft_bins=n_soft_bins,
        transforms=parse_transforms(as_list(transforms, "transforms")),
        set_sizes=set_sizes,
        lesions=lesions,
        mask_lesions=mask_lesions,
        band_edges_mm=tuple(map(float, band_edges_mm)),
        allow_hard_masks=allow_hard_masks,
        allow_duplicates=allow_duplicates,
    )
    axis = class_axis(channels, definition)
    load = array_loader(cases, definition, axis, declared=regions is not None)
    return _score_loaded(cases.about, load, definition, resolve_engine(engine))


def _score_loaded(
    about: list[dict[str, Any]],
    load: Callable[[int, Any], Loaded],
    definition: ScoreDefinition,
    chosen: Engine,
) -> ScoreTable:
    """The table of cases that `load` gives by number; all that fail are named."""
    definition = definition.with_engine(chosen.name)

    def batch_fn(engine: Engine, batch: ViewBatch):
        return all_columns(engine, batch, definition)

    rows: dict[int, list[dict[str, Any]]] = {}

    def take(i: int, result: CaseRows) -> None:
        rows[i] = [about[i] | {"part": ""} | row for row in rows_of(result)]

    numbers = range(len(about))
    outcomes = stream_rows(
        numbers, load, batch_fn, chosen, spatial=definition.is_spatial
    )
    gather(outcomes, numbers, take, name=lambda i: about[i]["case_id"])
    each = [row for i in numbers for row in rows[i]]
    further = tuple(name for name in (FOLD,) if name in about[0])
    table = ScoreTable.from_rows(each, definition, further=further)
    check_maps(table)
    return table
