"""Cases through an engine: files become flat views, views become rows.

Score and evaluate share this path. On the host engine a reader thread inflates a case
into its own reused memory and scores it at once; on the device engine readers hand
cases to the consumer, which pads them into bucket batches. Either way memory is
constant in the number of cases.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np

from coverax.choices import EngineName
from coverax.engine.switch import Engine, resolve_engine
from coverax.scores.batch import (
    CaseRows,
    Loaded,
    View,
    ViewBatch,
    bucket_of,
    lone_batch,
)
from coverax.scores.bins import check_softmax, softmax_columns
from coverax.scores.notes import case_notes
from coverax.stream import Outcome, map_cases
from coverax.table.definition import ScoreDefinition
from coverax.volumes import (
    FOREGROUND,
    Buffer,
    Case,
    NiftiFile,
    ProbMap,
    Region,
    check_labels,
    check_same_grid,
    map_content,
    read_labels,
    read_probs,
    read_valid,
)

C = TypeVar("C")

# Device batches of different buckets that may be open at once.
_MAX_OPEN_BATCHES = 4


BatchFn = Callable[[Engine, ViewBatch], dict[str, np.ndarray]]
# How a map comes into memory: `read_probs`, or a net that predicts it.
MapReader = Callable[..., ProbMap]


def load_case(
    case: Case,
    definition: ScoreDefinition,
    buffers: tuple[Buffer, Buffer] | None = None,
    *,
    read_map: MapReader = read_probs,
    also: tuple[Region, ...] = (),
) -> Loaded:
    """Read the files of a case and cut out its regions.

    Args:
        case: The case.
        definition: What to score and how to read it.
        buffers: Memory to reuse, for map and reference.
        read_map: Takes `case.probs` and the keywords of `read_probs`.
        also: What is cut out beside the regions and comes before them, such as the
            background of a softmax.

    Raises:
        FileNotFoundError: A file is missing.
        GridMismatchError: Map, reference and valid mask lie on different grids.
        ValueError: A file is damaged or holds values it must not hold, or distances are
            asked for that its header does not give.
    """
    probs_buffer, labels_buffer = buffers or (None, None)
    labels, valid, reference = _reference(case, definition, labels_buffer)
    channels = definition.channels
    prob_map = read_map(
        case.probs,
        channels=channels,
        logits=definition.logits,
        allow_overshoot=definition.allow_overshoot,
        # A transform looks at every voxel of a map, whatever a reference says of it.
        valid=None if definition.is_spatial else valid,
        buffer=probs_buffer,
    )
    file = prob_map.file
    check_same_grid(file.grid, case.probs, reference.grid, reference.path)
    if definition.needs_mm:
        file.grid.check_mm()
    if file.n_channels > 1 and definition.regions == (FOREGROUND,):
        raise ValueError(
            f"{case.probs} has {file.n_channels} channels; name a region with "
            "--region NAME=CHANNEL:LABEL"
        )
    if definition.softmax and (
        file.n_channels != len(channels) or case.region is not None
    ):
        raise ValueError(
            f"{case.probs} has {file.n_channels} channels, the softmax {len(channels)} "
            "classes, the background included"
        )
    own = [r for r in definition.regions if case.region in (None, r.name)]
    expected, ignore = _expected_labels(case, definition, own), definition.ignore_label
    check_labels(labels, reference.path, expected, ignore)
    views = [
        View(r, prob_map.of(r), foreground(labels, r, ignore), valid, file.grid)
        for r in (*also, *own)
    ]
    facts = {
        "voxel_volume_ml": file.grid.voxel_volume_ml,
        "n_channels": file.n_channels if file.has_channel_axis else 0,
        "storage": file.storage,
        "overshoot": prob_map.overshoot,
        "mark": file.mark,
        "content": {
            v.region.name: map_content(v.probs, file.grid.shape[::-1]) for v in views
        },
        "notes": case_notes(prob_map, labels, definition.regions, ignore),
    }
    if definition.softmax:
        check_softmax(prob_map, valid)
        facts["softmax"] = softmax_columns(
            prob_map.probs,
            [v.labels for v in views[len(also) :][: len(definition.classes)]],
            valid,
            definition.n_bins,
        )
    return Loaded(facts, views)


def _reference(
    case: Case, definition: ScoreDefinition, buffer: Buffer | None
) -> tuple[np.ndarray, np.ndarray | None, NiftiFile]:
    """Labels of a case, the voxels that count (None for all), and the labels' file."""
    if case.labels is None:
        raise ValueError("the case has no reference")
    labels, file = read_labels(case.labels, buffer=buffer)
    ignore = definition.ignore_label
    valid = None if ignore is None else labels != ignore
    if case.valid is not None:
        mask, mask_file = read_valid(case.valid)
        check_same_grid(file.grid, case.labels, mask_file.grid, case.valid)
        valid = mask if valid is None else valid & mask
    return labels, valid, file


def _expected_labels(
    case: Case, definition: ScoreDefinition, own: list[Region]
) -> tuple[int, ...] | None:
    """Labels that a reference may hold beside 0; None where any other is background."""
    if definition.softmax:  # its classes are all there is
        return tuple(label for r in definition.regions for label in r.labels)
    # Where nobody declared labels a reference is a mask: another label is an accident.
    alone = definition.regions == (FOREGROUND,) or case.region is not None
    return (1,) if alone and all(r.labels == (1,) for r in own) else None


def engine_of(definition: ScoreDefinition, asked: EngineName = "auto") -> Engine:
    """The engine that scores under a definition: the recorded one where it matters.

    Raises:
        ValueError: Another one was asked for; its distances round otherwise.
    """
    if definition.engine is None:
        return resolve_engine(asked)
    recorded = resolve_engine("device" if definition.engine == "device" else "host")
    if asked not in ("auto", recorded.name):
        raise ValueError(
            f"scores were computed with --engine {recorded.name}; distances and "
            f"smoothing round otherwise on {asked}"
        )
    return recorded


def stream_rows(
    cases: Iterable[C],
    load_fn: Callable[[C, tuple[Buffer, Buffer] | None], Loaded],
    batch_fn: BatchFn,
    engine: Engine,
    *,
    spatial: bool = False,
    threads: int | None = None,
) -> Iterator[Outcome]:
    """Load every case, compute its rows, yield outcomes (on the device out of order).

    With `spatial`, device batches keep the axes of their cases, for statistics that
    look at neighbours.
    """
    if engine.is_device:
        yield from _through_batches(cases, load_fn, batch_fn, engine, spatial, threads)
        return
    local = threading.local()

    def load_and_score(case: C) -> CaseRows:
        if not hasattr(local, "buffers"):
            local.buffers = (Buffer(), Buffer())
        facts, views = load_fn(case, local.buffers)
        return CaseRows(facts, [_score_alone(view, batch_fn, engine) for view in views])

    yield from map_cases(load_and_score, cases, threads=threads)


def _score_alone(
    view: View, batch_fn: BatchFn, engine: Engine
) -> tuple[Region, dict[str, Any]]:
    batch = lone_batch(engine, view, spatial=False)
    return view.region, _row(batch_fn(engine, batch), 0)


def _through_batches(
    cases: Iterable[C],
    load_fn: Callable[[C, tuple[Buffer, Buffer] | None], Loaded],
    batch_fn: BatchFn,
    engine: Engine,
    spatial: bool,
    threads: int | None,
) -> Iterator[Outcome]:
    """Fill one open batch a bucket; run it when it is full, and all at the end."""
    from coverax.kernels import clear_slots, empty_batch, fill_slot

    open_batches: dict[Any, tuple[Any, list[tuple[Any, Any]]]] = {}
    waiting: dict[int, tuple[C, dict[str, Any], list[Any], int]] = {}

    def run(bucket: int | tuple[int, ...]) -> Iterator[Outcome]:
        batch, slots = open_batches.pop(bucket)
        clear_slots(batch, len(slots))
        views = [view for _, view in slots]
        axes = bucket if isinstance(bucket, tuple) else None
        arrays = (batch.probs, batch.labels, batch.valid)
        columns = batch_fn(engine, ViewBatch(*arrays, views, axes))
        for slot, (number, view) in enumerate(slots):
            case, facts, rows, n_views = waiting[number]
            rows.append((view.region, _row(columns, slot)))
            if len(rows) == n_views:
                del waiting[number]
                yield Outcome(case, CaseRows(facts, rows), None)

    outcomes = map_cases(lambda case: load_fn(case, None), cases, threads=threads)
    for number, (case, loaded, error) in enumerate(outcomes):
        if loaded is None:
            yield Outcome(case, None, error)
            continue
        if not loaded.views:
            yield Outcome(case, CaseRows(loaded.facts, []), None)
            continue
        waiting[number] = (case, loaded.facts, [], len(loaded.views))
        for view in loaded.views:
            shape, axes, bucket = bucket_of(view, spatial=spatial)
            if bucket not in open_batches:
                if len(open_batches) == _MAX_OPEN_BATCHES:
                    yield from run(
                        max(open_batches, key=lambda b: len(open_batches[b][1]))
                    )
                open_batches[bucket] = (empty_batch(bucket), [])
            batch, slots = open_batches[bucket]
            arrays = (view.probs, view.labels, view.valid)
            fill_slot(batch, len(slots), *arrays, shape=shape, axes=axes)
            slots.append((number, view))
            if len(slots) == len(batch.probs):
                yield from run(bucket)
    for bucket in list(open_batches):
        yield from run(bucket)


def _row(columns: dict[str, np.ndarray], slot: int) -> dict[str, Any]:
    return {name: values[slot].tolist() for name, values in columns.items()}


def foreground(
    labels: np.ndarray, region: Region, ignore: int | None = None
) -> np.ndarray:
    """Reference mask of a region; zeros and ones are taken as they are."""
    if not region.labels:  # any but the background
        return labels > 0 if ignore is None else (labels > 0) & (labels != ignore)
    if region.labels == (1,):
        # A byte of -1 (int8) would be True too.
        if labels.dtype in (bool, np.uint8) and labels.max(initial=0) <= 1:
            return labels.view(bool)
        return labels == 1
    mask = labels == region.labels[0]
    for label in region.labels[1:]:
        mask |= labels == label
    return mask
