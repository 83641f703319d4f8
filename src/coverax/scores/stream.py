"""Cases through an engine: files become flat views, views become rows.

Score and evaluate share this path. On the host engine a reader thread inflates a case
into its own reused memory and scores it at once; on the device engine readers hand
cases to the consumer, which pads them into bucket batches. Either way memory is
constant in the number of cases.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np

from coverax.choices import EngineName
from coverax.engine.switch import Engine, resolve_engine
from coverax.files import PathLike
from coverax.scores.batch import (
    CaseRows,
    Loaded,
    View,
    ViewBatch,
    lone_batch,
)
from coverax.scores.batches import Batches, row_of
from coverax.scores.bins import check_softmax, softmax_columns
from coverax.scores.notes import case_notes, turn_notes
from coverax.stream import HERE, EachCase, Outcome, Where, map_stream
from coverax.table.definition import ScoreDefinition
from coverax.volumes import (
    FOREGROUND,
    Buffer,
    Case,
    NiftiFile,
    ProbMap,
    Region,
    check_exclusive,
    check_labels,
    declared_bytes,
    has_segments,
    map_content,
    place_segments,
    read_labels,
    read_probs,
    read_segments,
    read_valid,
    turn_between,
)

C = TypeVar("C")

BatchFn = Callable[[Engine, ViewBatch], dict[str, np.ndarray]]
LoadFn = Callable[[Any, tuple[Buffer, Buffer] | None], Loaded]
# How a map comes into memory: `read_probs`, or a net that predicts it.
MapReader = Callable[..., ProbMap]
# Memory that a thread reads into, as long as it lives.
_local = threading.local()


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
    reference = _read_reference(case, definition, labels_buffer)
    channels = definition.channels
    prob_map = read_map(
        case.probs,
        channels=channels,
        logits=definition.logits,
        allow_overshoot=definition.allow_overshoot,
        # Some scores look at every voxel of a map, whatever a reference says of it.
        valid=None if definition.needs_whole_maps else reference.valid_on,
        buffer=probs_buffer,
    )
    file = prob_map.file
    reference = reference.on(file)
    labels, valid = reference.labels, reference.valid
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
    if reference.others is None:
        check_labels(labels, reference.file.path, expected, ignore)
    views = [
        View(r, prob_map.of(r), reference.mask(r, definition), valid, file.grid)
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
        "notes": case_notes(
            prob_map, labels, definition.regions, ignore, reference.others
        )
        | turn_notes(reference.turns),
    }
    if definition.softmax:
        check_softmax(prob_map, valid)
        facts["softmax"] = softmax_columns(
            prob_map.probs,
            [v.labels for v in views[len(also) :][: len(definition.classes)]],
            valid,
            definition.n_bins,
            definition.n_soft_bins,
        )
    return Loaded(facts, views)


class _Reference(NamedTuple):
    """A reference, flat, x fastest.

    Attributes:
        labels: Of each voxel.
        valid: Which voxels count; None for all.
        file: Header of the labels.
        turns: How files were turned by whole voxels, by what they are.
        others: Of a reference of segments, whose labels are bits, one a region (of a
            softmax one a class): the names of segments that belong to none.
    """

    labels: np.ndarray
    valid: np.ndarray | None
    file: NiftiFile
    turns: dict[str, str]
    others: list[str] | None = None

    def mask(self, region: Region, definition: ScoreDefinition) -> np.ndarray:
        """Voxels of a region; of one that is none of the definition, those of no other."""
        if self.others is None:
            return foreground(self.labels, region, definition.ignore_label)
        if region not in definition.regions:
            return self.labels == 0
        named = _of_segments(definition)
        own = (
            [region]
            if region in named
            else [r for r in named if r.channels[0] in region.channels]
        )
        bits = sum(1 << named.index(r) for r in own)
        return (self.labels & self.labels.dtype.type(bits)) != 0

    def valid_on(self, file: NiftiFile) -> np.ndarray | None:
        """Which voxels of a map count."""
        return self.on(file).valid

    def on(self, file: NiftiFile) -> "_Reference":
        """The reference in the order of a map's voxels, on its grid."""
        old = self.file.grid
        if self.others is not None and self.valid is None:
            return self._placed(file)
        turn = turn_between(old, self.file.path, file.grid, file.path)
        if turn.is_identity:
            return self
        labels = turn.apply_flat(self.labels, old)
        valid = None if self.valid is None else turn.apply_flat(self.valid, old)
        return self._replace(
            labels=labels, valid=valid, turns=self.turns | {"labels": str(turn)}
        )

    def _placed(self, file: NiftiFile) -> "_Reference":
        """Segments on the grid of a volume: they are stored as far as they reach."""
        labels, turn = place_segments(self.labels, self.file, file)
        turns = {} if turn.is_identity else {"labels": str(turn)}
        return self._replace(labels=labels, file=file, turns=self.turns | turns)


def _read_reference(
    case: Case, definition: ScoreDefinition, buffer: Buffer | None
) -> _Reference:
    """Labels of a case and the voxels that count, on the grid of the labels."""
    if case.labels is None:
        raise ValueError("the case has no reference")
    if has_segments(case.labels):
        return _read_segments(case, case.labels, definition)
    labels, file = read_labels(case.labels, buffer=buffer)
    ignore = definition.ignore_label
    valid = None if ignore is None else labels != ignore
    turns: dict[str, str] = {}
    if case.valid is not None:
        mask, own = read_valid(case.valid)
        turn = turn_between(own.grid, case.valid, file.grid, case.labels)
        mask = turn.apply_flat(mask, own.grid)
        turns = {} if turn.is_identity else {"valid": str(turn)}
        valid = mask if valid is None else valid & mask
    return _Reference(labels, valid, file, turns)


def _read_segments(
    case: Case, path: PathLike, definition: ScoreDefinition
) -> _Reference:
    """The same where the reference names segments; a valid mask gives it its grid."""
    if definition.ignore_label is not None:
        raise ValueError(
            f"{path}: has segments, which may overlap: no label of them can be ignored; "
            "give a mask of what counts (valid)"
        )
    found = read_segments(path, _of_segments(definition))
    if definition.softmax:
        check_exclusive(found, definition.classes)
    reference = _Reference(found.bits, None, found.file, {}, found.others)
    if case.valid is None:
        return reference
    mask, own = read_valid(case.valid)
    return reference.on(own)._replace(valid=mask)


def _of_segments(definition: ScoreDefinition) -> tuple[Region, ...]:
    """Regions that are looked for by name; what joins classes of a softmax follows."""
    return definition.classes if definition.softmax else definition.regions


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
    load_fn: LoadFn,
    batch_fn: BatchFn,
    engine: Engine,
    *,
    spatial: bool = False,
    threads: int | None = None,
    where: Where = HERE,
) -> Iterator[Outcome]:
    """Load every case, compute its rows, yield outcomes (not all places in order).

    With `spatial`, device batches keep the axes of their cases, for statistics that
    look at neighbours. Elsewhere than here `load_fn` and `batch_fn` are pickled.
    """
    stream = RowStream(load_fn, batch_fn, engine, spatial)
    yield from map_stream(
        stream, cases, threads=threads, where=where, on_device=engine.is_device
    )


@dataclass(frozen=True, slots=True)
class RowStream:
    """From cases to `CaseRows` in one process, on one engine."""

    load_fn: LoadFn
    batch_fn: BatchFn
    engine: Engine
    spatial: bool

    def __call__(
        self, cases: Iterable[Any], *, threads: int | None, memory: int | None
    ) -> Iterator[Outcome]:
        """Outcomes; on the device out of order."""
        fn = self._load if self.engine.is_device else self._load_and_score
        each = EachCase(fn, _declared_bytes)
        outcomes = each(cases, threads=threads, memory=memory)
        if self.engine.is_device:
            batches = Batches(self.batch_fn, self.engine, self.spatial)
            return batches.rows_of(outcomes)
        return outcomes

    def _load(self, case: Any) -> Loaded:
        return self.load_fn(case, None)

    def _load_and_score(self, case: Any) -> CaseRows:
        if not hasattr(_local, "buffers"):
            _local.buffers = (Buffer(), Buffer())
        facts, views = self.load_fn(case, _local.buffers)
        return CaseRows(
            facts,
            [_score_alone(view, self.batch_fn, self.engine) for view in views],
        )


def _declared_bytes(case: Any) -> int:
    """Bytes of the volumes of a case, as their headers say; 0 for arrays in memory."""
    return declared_bytes(case) if isinstance(case, Case) else 0


def _score_alone(
    view: View, batch_fn: BatchFn, engine: Engine
) -> tuple[Region, dict[str, Any]]:
    batch = lone_batch(engine, view, spatial=False)
    return view.region, row_of(batch_fn(engine, batch), 0)


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
