"""Maps of any format as float32 NIfTI on the grid of their image."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from coverax._version import __version__
from coverax.convert.maps import (
    carried_parts,
    copy_dataset,
    kinds_of,
    named_kinds,
    read_whole,
)
from coverax.files import Json, PathLike, publish_sealed_json
from coverax.provenance import check_not_masks
from coverax.stream import fill_folder
from coverax.volumes import EXPORTED_RECORD, dataset_of, read_header, write_map


@dataclass(frozen=True, slots=True)
class MapExporter:
    """Exports the map of one case; it can travel to other processes.

    Attributes:
        files: Names of the files of each case: one, or one a class.
        allow_overshoot: Accept values up to 1e-3 outside [0, 1].
    """

    files: Mapping[str, list[str]]
    allow_overshoot: bool

    def __call__(self, case_id: str, path: Path, folder: Path) -> list[str]:
        """Write the files of a case, and say what each of its channels holds."""
        prob_map = read_whole(path, allow_overshoot=self.allow_overshoot)
        rows, file, names = prob_map.probs, prob_map.file, self.files[case_id]
        n_each = len(rows) // len(names)  # channels of a file
        for i, name in enumerate(names):
            own = rows[i * n_each : (i + 1) * n_each]
            write_map(folder / name, own, file, mark=file.mark)
        return kinds_of(prob_map)


def export_folder(
    maps: Mapping[str, PathLike],
    output: PathLike,
    *,
    per_class: bool = False,
    threads: int | None = None,
    resume: bool = False,
    verify_inputs: bool = False,
    allow_missing: bool = False,
    allow_overshoot: bool = False,
    allow_hard_masks: bool = False,
    on_case: Callable[[], None] = lambda: None,
    on_note: Callable[[str], None] = lambda _line: None,
) -> Json:
    """Write the probabilities of maps as NIfTI, to the bit as `read_probs` gives them.

    They lie on the grid of their image: of a softmax of nnU-Net that of the segmentation
    beside it. The folder appears when it is complete.

    Args:
        maps: Case id to map of any format.
        output: A new folder, or an empty one.
        per_class: One file a class, `CASE_LABEL.nii.gz`; by default one a case, of which
            several classes are the fourth axis. Names are those of `dataset.json` where
            it speaks of the maps, else `class0`, `class1`, ...; a map without classes is
            `CASE.nii.gz`.
        threads: Cases at a time.
        resume: Keep the finished maps of an interrupted run.
        verify_inputs: With `resume`, tell a replaced map by its content too.
        allow_missing: Publish without the maps that failed.
        allow_overshoot: Accept values up to 1e-3 outside [0, 1].
        allow_hard_masks: Accept maps that all hold 0 and 1 alone.
        on_case: Called once a case, for progress.
        on_note: Called with a line that says what is done again.

    Returns:
        Number of cases and files, names of the classes by channel, failed cases.

    Raises:
        FileExistsError: `output` holds something already.
        ExceptionGroup: Maps failed; one exception each, naming case and file.
        ValueError: Two files would have one name, or maps are hard masks.
    """
    paths = {case_id: Path(path) for case_id, path in maps.items()}
    channels = {case_id: class_names(path) for case_id, path in paths.items()}
    files = {i: _names(i, channels[i], per_class=per_class) for i in paths}
    _check_unique(files)
    kinds: dict[str, list[str]] = {}

    def finish(folder: Path, failures: dict[str, str]) -> None:
        kept = {i: path for i, path in paths.items() if i not in failures}
        own_kinds = named_kinds({case_id: kinds[case_id] for case_id in kept})
        check_not_masks(own_kinds, allow=allow_hard_masks)
        parts = carried_parts(kept)
        record: Json = {
            "schema": 1,
            "coverax": __version__,
            "per_class": per_class,
            "channels": {case_id: channels[case_id] for case_id in sorted(kept)},
            "parts": {
                name.removesuffix(_END): part
                for case_id, part in parts.items()
                for name in files[case_id]
            },
            "failed": failures,
        }
        written = [folder / name for case_id in sorted(kept) for name in files[case_id]]
        if not per_class:
            written += copy_dataset(kept.values(), folder)
        publish_sealed_json(folder / EXPORTED_RECORD, record, written)

    failures = fill_folder(
        output,
        paths,
        MapExporter(files, allow_overshoot),
        files=files,
        kind="export",
        meaning={"per_class": per_class, "allow_overshoot": allow_overshoot},
        threads=threads,
        resume=resume,
        verify_inputs=verify_inputs,
        allow_missing=allow_missing,
        on_done=kinds.__setitem__,
        on_case=on_case,
        on_note=on_note,
        finish=finish,
    )
    kept = [case_id for case_id in paths if case_id not in failures]
    return {
        "n_cases": len(kept),
        "n_files": sum(len(files[case_id]) for case_id in kept),
        "failed": failures,
    }


_END = ".nii.gz"


def class_names(path: PathLike) -> list[str]:
    """The name of each class of a map; none of a map without classes, or one not read.

    What is wrong with a map is said where it is read.
    """
    try:
        file = read_header(path)
    except (OSError, ValueError):
        return []
    if not file.has_channel_axis:
        return []
    names = [f"class{channel}" for channel in range(file.n_channels)]
    dataset = dataset_of(path)
    if dataset is None or dataset.n_channels != file.n_channels:
        return names
    if not dataset.is_regions:
        names[0] = "background"
    for region in dataset.regions:
        names[region.channels[0]] = region.name
    return names


def _names(case_id: str, classes: list[str], *, per_class: bool) -> list[str]:
    """The files of a case."""
    if not (per_class and classes):
        return [f"{case_id}{_END}"]
    return [f"{case_id}_{name}{_END}" for name in classes]


def _check_unique(files: Mapping[str, list[str]]) -> None:
    """Refuse two files of one name.

    Raises:
        ValueError: There are.
    """
    owners: dict[str, str] = {}
    for case_id, names in files.items():
        for name in names:
            if name in owners:
                raise ValueError(
                    f"case {owners[name]} and case {case_id} would both write {name}; "
                    "rename a case, or write one file a case"
                )
            owners[name] = case_id
