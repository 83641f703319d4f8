"""From images to softmaxes on the images' own grids: written, or scored unwritten."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from coverax._version import __version__
from coverax.choices import ProbsStorage
from coverax.files import PathLike, digest_json, publish_sealed_json
from coverax.scores import MapReader
from coverax.shown import plural
from coverax.stream import RunError, Shard, fill_folder
from coverax.stream import count_finished as count_finished
from coverax.train.cases import Prepared, prepare_case
from coverax.train.checkpoint import digest_params as digest_params
from coverax.train.config import TrainConfig
from coverax.train.memory import out_of_memory
from coverax.train.resample import resample_probs
from coverax.train.split import PARTS, Split
from coverax.train.windows import Apply, predict_volume
from coverax.volumes import (
    INFER_RECORD,
    NiftiFile,
    ProbMap,
    add_mark,
    check_channels,
    probs_file,
    write_probs,
)

RECORD = INFER_RECORD
NEW = "new"  # of cases that the split does not know
_KIND = "checkpoint"  # what a folder of maps depends on
# Parts whose maps may be calibrated or judged: the model has not seen them.
_UNSEEN = ("calibration", "test", NEW)


@dataclass(frozen=True, slots=True)
class InferOptions:
    """How a volume goes through the net.

    Attributes:
        overlap: Share of a window that the next one sees again.
        batch: Windows at a time.
        flips: Axes to mirror; the mean runs over all combinations.
        storage: How values are stored in files.
    """

    overlap: float = 0.5
    batch: int = 1
    flips: tuple[int, ...] = ()
    storage: ProbsStorage = "float32"

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"flips": list(self.flips)}

    def mark(self, model: str) -> str:
        """What a map says of itself: the model, and the options that change it."""
        values = {"model": model, "overlap": self.overlap, "flips": list(self.flips)}
        return add_mark("", "infer", digest_json(values))


def choose_images(
    images: Mapping[str, PathLike],
    split: Split | None,
    parts: Sequence[str] = (),
    *,
    allow_missing: bool = False,
) -> dict[str, str]:
    """Which images to infer, and the part of each; sorted by name.

    Without `parts` these are all but the cases of parts that the model has seen (train
    and learning): their maps look better than those of new cases, and calibrate nothing.

    Args:
        images: Case id to file.
        split: The split of the run; None where there is none, then all cases are `new`.
        parts: Parts to infer: those of the split, or `new`.
        allow_missing: Go on where cases of a part asked for have no image.

    Raises:
        ValueError: A part is unknown, asked for without a split, or lacks images; or
            nothing is left.
    """
    images = {name: Path(path) for name, path in images.items()}
    if unknown := sorted(set(parts) - {*PARTS, NEW}):
        raise ValueError(
            f"no part {unknown[0]!r}; there are {', '.join((*PARTS, NEW))}"
        )
    if parts and split is None:
        raise ValueError(f"the part {parts[0]} needs the split of the run (--split)")
    of_case = {i: part_of(i, split) for i in sorted(images)}
    for part in [p for p in parts if split and p != NEW]:
        lost = sorted(set(split.cases(part)) - images.keys()) if split else []
        if lost and not allow_missing:
            raise ValueError(
                f"no image for {plural(len(lost), 'case')} of the part {part}: "
                f"{', '.join(lost[:5])} (--allow-missing goes on without them)"
            )
    wanted = set(parts or _UNSEEN)
    chosen = {i: part for i, part in of_case.items() if part in wanted}
    if not chosen:
        raise ValueError(
            f"none of {len(images)} images belongs to {' or '.join(parts or _UNSEEN)}"
        )
    return chosen


def part_of(case_id: str, split: Split | None) -> str:
    """Part of a case; `new` where the split does not know it, or there is none."""
    return (split.part_of(case_id) if split else None) or NEW


def infer_case(
    apply: Apply, case: Prepared, config: TrainConfig, options: InferOptions
) -> Float[np.ndarray, "x y z classes"]:
    """The softmax of a case on the grid of its file.

    Raises:
        ValueError: The net gives what is no number, or its windows do not fit the
            memory.
    """
    with out_of_memory(
        f"out of memory with {options.batch} windows of "
        f"{' x '.join(map(str, config.patch.size))} voxels at a time: lower --batch"
    ):
        probs = predict_volume(
            apply,
            case.image,
            config.patch.size,
            len(config.data.classes),
            overlap=options.overlap,
            batch=options.batch,
            flips=options.flips,
        )
    if not np.isfinite(probs).all():
        raise ValueError(
            f"{case.header.path}: the net gives values that are not finite"
        )
    shape = (*case.header.grid.shape, 1)[:3]
    x, y, z = (shape[axis] for axis in case.turn.axes)
    return np.ascontiguousarray(
        case.turn.inverse.apply(resample_probs(probs, (x, y, z)))
    )


def infer_folder(
    apply: Apply,
    images: Mapping[str, PathLike],
    output: PathLike,
    config: TrainConfig,
    options: InferOptions,
    *,
    model: str,
    about: Mapping[str, Any] | None = None,
    threads: int = 2,
    shard: Shard | None = None,
    parts: PathLike | None = None,
    resume: bool = False,
    verify_inputs: bool = False,
    allow_missing: bool = False,
    on_case: Callable[[], None] = lambda: None,
    on_note: Callable[[str], None] = lambda _line: None,
) -> dict[str, str]:
    """Write the softmax of every image, `CASE.nii.gz`, and the record `infer.json`.

    Images are read ahead and maps written behind the net, by threads; memory does not
    grow with the number of images.

    Args:
        apply: The net, as `predict_volume` takes it.
        images: Case id to file.
        output: New folder, complete or not there.
        config: What the net was trained with.
        options: How volumes go through it.
        model: Digest of its parameters.
        about: What else to record.
        threads: Cases that are read or written while the net has another.
        shard: Write the maps of its cases only, into a folder of parts `output`.
        parts: Folder of parts that all shards have filled: take the maps from there.
        resume: Keep the maps of an interrupted run of this model and these options.
        verify_inputs: With `resume`, tell a replaced image by its content too.
        allow_missing: Publish without the cases that failed.
        on_case: Called once a case.
        on_note: Called with a line that says what is done again.

    Returns:
        Why each failed case failed, by case id.

    Raises:
        FileExistsError: `output` holds something already.
        ExceptionGroup: Cases failed; one exception each.
        ValueError: The interrupted run was another.
    """
    one_at_a_time = threading.Lock()  # readers and writers run on; the net takes one

    def write_case(case_id: str, path: Path, folder: Path) -> None:
        case = _read(path, config)
        try:
            with one_at_a_time:
                probs = infer_case(apply, case, config, options)
        except ValueError as error:  # of the net and its windows, not of the image
            raise RunError(str(error)) from error
        path, mark = folder / f"{case_id}.nii.gz", options.mark(model)
        write_probs(path, probs, case.header, options.storage, mark)

    def finish(folder: Path, failures: dict[str, str]) -> None:
        record = {"schema": 1, "coverax": __version__, "model": model}
        record |= {"options": options.plain(), "mark": options.mark(model)}
        record |= {"classes": config.data.classes, "failed": failures, **(about or {})}
        done = [folder / f"{i}.nii.gz" for i in images if i not in failures]
        publish_sealed_json(folder / RECORD, record, done)

    return fill_folder(
        output,
        images,
        write_case,
        files={case_id: [f"{case_id}.nii.gz"] for case_id in images},
        kind=_KIND,
        meaning={"model": model, "options": options.plain()},
        finish=finish,
        threads=1 + threads,
        shard=shard,
        parts=parts,
        resume=resume,
        verify_inputs=verify_inputs,
        allow_missing=allow_missing,
        on_case=on_case,
        on_note=on_note,
    )


def map_reader(
    apply: Apply, config: TrainConfig, options: InferOptions, *, model: str = ""
) -> MapReader:
    """What `score_cohort` takes as `read_map` to score without writing maps.

    The path of a case's map is then that of its image. What is scored are the very
    values that `infer_folder` would write as float32, under the header it would give
    them, so the score table is the same to the last bit; `model` is the digest that
    their mark names.
    """
    one_at_a_time = threading.Lock()  # readers run ahead; the net takes one volume

    def read_map(path: Path, *, channels: Sequence[int], **_: Any) -> ProbMap:
        case = _read(path, config)
        with one_at_a_time:
            probs = infer_case(apply, case, config, options)
        file: NiftiFile = probs_file(
            path,
            case.header,
            probs.shape[-1],
            mark=options.mark(model) if model else "",
        )
        check_channels(file, channels)
        rows = [probs[..., c].reshape(-1, order="F") for c in channels]
        return ProbMap(np.stack(rows), tuple(channels), path, file, 0.0)

    return read_map


def _read(path: Path, config: TrainConfig) -> Prepared:
    """An image as the net sees it; the cache is for training."""
    return prepare_case(path, None, replace(config.data, cache=None))
