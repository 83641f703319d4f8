"""Pictures of masks already predicted: a folder of them, on scans or on the maps."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coverax.files import (
    Json,
    JsonRecord,
    PathLike,
    digest_file,
    publishing,
    read_sealed_json,
)
from coverax.report.figures import check_figures
from coverax.report.raster import BLACK, BLUE, ORANGE, WHITE, Layer
from coverax.report.sheet import draw_sheet
from coverax.scores.stream import foreground
from coverax.shown import plural
from coverax.stream import check_failures, file_facts, fill_folder
from coverax.table import parse_region
from coverax.volumes import (
    Found,
    Grid,
    NiftiFile,
    Region,
    find_scans,
    has_segments,
    place_segments,
    read_labels,
    read_scan,
    read_segments,
    turn_between,
)

_WITHOUT_SCANS = "; without --images maps are drawn on (of coverax picture by --probs)"
_MARKS = ("masks", "calibration_digest", "case_id")


@dataclass(frozen=True, slots=True)
class Pictured(JsonRecord):
    """What became of the cases of a folder of masks.

    Attributes:
        n_cases: Cases drawn.
        n_pictures: Pictures, one a region.
        n_without_mask: Cases of which every region was refused in calibration.
        failed: Case id to why it was left out.
    """

    n_cases: int
    n_pictures: int
    n_without_mask: int
    failed: Mapping[str, str]


class MaskedCase(NamedTuple):
    """The masks of one case, as its sidecar names them.

    Attributes:
        sidecar: What it says.
        digest: Of the sidecar.
        folder: Where they lie.
    """

    sidecar: Json
    digest: str
    folder: Path

    @property
    def entries(self) -> list[Json]:
        """Of the regions that have a mask."""
        return [entry for entry in self.sidecar["masks"] if entry["mask"] is not None]

    @property
    def first(self) -> Path:
        """A mask, whose grid all have."""
        return self.folder / self.entries[0]["mask"]

    def picture_name(self, entry: Json) -> str:
        """Of the picture of a region."""
        case_id = self.sidecar["case_id"]
        alone = len(self.sidecar["masks"]) == 1
        return f"{case_id}.png" if alone else f"{case_id}_{entry['region']}.png"


def read_masks(folder: PathLike) -> tuple[dict[str, MaskedCase], int]:
    """The masked cases of a folder that `predict` wrote, and how many have no mask.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It holds no sidecar of masks, or an altered one.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    cases = [
        MaskedCase(*read_sealed_json(path, "sidecar of a mask", 1, "predict"), folder)
        for path in sorted(folder.glob("*.json"))
        if _is_sidecar(path)
    ]
    if not cases:
        raise ValueError(
            f"{folder}: holds no sidecar of masks (CASE.json); name the folder that "
            "predict -o wrote"
        )
    found = {case.sidecar["case_id"]: case for case in cases if case.entries}
    return found, len(cases) - len(found)


def _is_sidecar(path: Path) -> bool:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return path.name != "dataset.json"  # a damaged one is told by who reads it
    return isinstance(content, dict) and all(mark in content for mark in _MARKS)


def find_backgrounds(
    targets: Mapping[str, PathLike],
    folder: PathLike,
    what: str = "scan",
    *,
    allow_missing: bool = False,
) -> Found:
    """Scans or references by `find_scans`; refused by name where one cannot be drawn.

    Args:
        targets: Case id to the map or mask whose grid counts.
        folder: Where they are looked for.
        what: What they are, for messages.
        allow_missing: Only say which are missing, unless all are.

    Raises:
        ExceptionGroup: Some are missing, or lie on another grid; one exception each.
        FileNotFoundError: There is no such folder.
    """
    found = find_scans(targets, folder, what)
    if found.missing and not (allow_missing and found.files):
        way = _WITHOUT_SCANS if what == "scan" else ""
        raise ExceptionGroup(
            f"no {what} that can be drawn of {len(found.missing)} of "
            f"{plural(len(targets), 'case')}{way}",
            [ValueError(f"case {i}: {why}") for i, why in found.missing.items()],
        )
    return found


def picture_folder(
    masks: PathLike,
    output: PathLike,
    *,
    images: PathLike | None = None,
    probs: Mapping[str, PathLike] | PathLike | None = None,
    labels: PathLike | None = None,
    threads: int | None = None,
    resume: bool = False,
    verify_inputs: bool = False,
    allow_missing: bool = False,
    on_case: Callable[[], None] = lambda: None,
    on_note: Callable[[str], None] = lambda _line: None,
) -> Pictured:
    """Draw every mask of a folder over the scan of its case, or over its map.

    Slices are drawn true to their millimetres, as radiologists look at them, with what
    lies left and right, a scale bar, and the contours of the mask, or of the inner and
    the outer set, and of the reference. A scan is drawn only where its voxels are those
    of the mask, if need be in another order.

    Args:
        masks: Folder that `predict_folder` wrote.
        output: A new folder, or an empty one, for `CASE.png` or `CASE_REGION.png`.
        images: Folder of scans, `CASE` or `CASE_0000`, of any format.
        probs: Folder of the maps, or by case id, to draw on where there are no scans.
        labels: Folder of references, to be drawn too.
        threads: Cases at a time.
        resume: Keep the finished pictures of an interrupted run.
        verify_inputs: With `resume`, tell a replaced file by its content too.
        allow_missing: Draw the other cases where one has no scan, map or reference.
        on_case: Called once a case, for progress.
        on_note: Called with a line that says what is done again.

    Returns:
        How many were drawn, and which were not.

    Raises:
        ExceptionGroup: Scans are missing or lie on another grid, or cases failed; one
            exception each, naming the case.
        FileExistsError: `output` holds something already.
        ValueError: matplotlib is missing, or there are no masks.
    """
    check_pictures()
    cases, n_without = read_masks(masks)
    targets = {case_id: case.first for case_id, case in cases.items()}
    below = images if images is not None else probs
    if below is None:
        raise ValueError("pictures need scans (images) or maps (probs) to draw on")
    if isinstance(below, Mapping):
        backgrounds = Found({i: Path(below[i]) for i in targets}, {})
    else:
        backgrounds = find_backgrounds(targets, below, allow_missing=allow_missing)
    missing = dict(backgrounds.missing)
    references: dict[str, Path] = {}
    if labels is not None:
        found = find_backgrounds(
            targets, labels, "reference", allow_missing=allow_missing
        )
        references = found.files
        missing |= found.missing
    drawn = {i: case for i, case in cases.items() if i not in missing}
    check_failures({} if drawn or not missing else missing, len(cases))
    writer = PictureWriter(drawn, backgrounds.files, references, images is None)
    files = {i: [c.picture_name(e) for e in c.entries] for i, c in drawn.items()}
    failures = fill_folder(
        output,
        {i: targets[i] for i in drawn},
        writer,
        files=files,
        kind="masks",
        meaning={"pictures": 1, "on_maps": images is None},
        case_meaning={
            i: [c.digest, *_facts(writer, i, verify_inputs)] for i, c in drawn.items()
        },
        threads=threads,
        resume=resume,
        verify_inputs=verify_inputs,
        allow_missing=allow_missing,
        on_case=on_case,
        on_note=on_note,
    )
    n_pictures = sum(len(files[i]) for i in drawn if i not in failures)
    n_drawn = len(drawn) - len(failures)
    return Pictured(n_drawn, n_pictures, n_without, missing | failures)


def _facts(writer: "PictureWriter", case_id: str, content: bool) -> list[Any]:
    paths = [writer.backgrounds[case_id], writer.references.get(case_id)]
    return file_facts(paths, content=content)


@dataclass(frozen=True, slots=True)
class PictureWriter:
    """Draws the pictures of one case; it travels to other processes."""

    cases: Mapping[str, MaskedCase]
    backgrounds: Mapping[str, Path]
    references: Mapping[str, Path]
    on_maps: bool

    def __call__(self, case_id: str, _mask: Path, folder: Path) -> None:
        """From its masks to a picture a region."""
        case, whole = self.cases[case_id], {}
        for entry in case.entries:
            path = case.folder / entry["mask"]
            if path not in whole:
                whole[path] = _checked_labels(case, path)
            region = region_of(entry, path)
            image = self._draw(case_id, entry, region, *whole[path])
            with publishing(folder / case.picture_name(entry)) as temporary:
                image.save(temporary, format="PNG", compress_level=1)

    def _draw(
        self,
        case_id: str,
        entry: Json,
        region: Region,
        labels: np.ndarray,
        file: NiftiFile,
    ) -> Any:
        case, path, grid = self.cases[case_id], self.backgrounds[case_id], file.grid
        channels = region.channels if self.on_maps else (0,)
        scan = read_scan(path, grid, case.first, channels)
        notes = ["drawn on the probability map"] if self.on_maps else []
        if scan.n_channels > 1 and not self.on_maps:
            notes.append(f"channel 1 of {scan.n_channels} of the scan")
        layers = layers_of(entry, labels)
        if case_id in self.references:
            reference = self._reference(case_id, region, file)
            layers.append(Layer("reference", reference, WHITE, BLACK))
        elif self.references:
            notes.append("no reference")
        return draw_sheet(
            scan.values,
            layers,
            grid,
            f"{case_id}: {region.name}",
            [said_of(entry), promise_of(case.sidecar, entry)],
            window=(0.0, 1.0) if self.on_maps and _is_share(scan.values) else None,
            notes=notes,
        )

    def _reference(self, case_id: str, region: Region, mask: NiftiFile) -> np.ndarray:
        path = self.references[case_id]
        if has_segments(path):
            found = read_segments(path, (region,))
            placed, _ = place_segments(found.bits, found.file, mask)
            return _volume(placed != 0, mask.grid)
        values, file = read_labels(path)
        turn = turn_between(file.grid, path, mask.grid, mask.path)
        return turn.apply(_volume(foreground(values, region), file.grid))


def _checked_labels(case: MaskedCase, path: Path) -> tuple[np.ndarray, NiftiFile]:
    """A mask as `[x, y, z]` and its header, if its sidecar speaks of it."""
    if digest_file(path) != case.sidecar.get("files", {}).get(path.name):
        raise ValueError(f"{path}: is not the mask that its sidecar speaks of")
    values, file = read_labels(path)
    return _volume(values, file.grid), file


def _is_share(values: np.ndarray) -> bool:
    return bool(values.min() >= 0 and values.max() <= 1)


def _volume(values: np.ndarray, grid: Grid) -> np.ndarray:
    return values.reshape((*grid.shape, 1)[:3], order="F")


def region_of(entry: Json, path: PathLike) -> Region:
    """The region of an entry of a sidecar.

    Raises:
        ValueError: The sidecar was written before it said so.
    """
    if "spec" not in entry:
        raise ValueError(f"{path}: its sidecar names no region (spec): predict again")
    return parse_region(entry["spec"])


def layers_of(entry: Json, labels: np.ndarray) -> list[Layer]:
    """What is drawn of a mask: its contour, or those of the inner and the outer set."""
    if "inner" in entry and "outer" in entry:
        inner = Layer("inner set: surely lesion", labels == 2, ORANGE)
        name = "outside the outer set: surely not"
        return [Layer(name, labels >= 1, BLUE, outside=True), inner]
    label = entry.get("label")
    return [Layer("mask", labels == label if label else labels >= 1, BLUE)]


def said_of(entry: Json) -> str:
    """Volumes of a mask, and what else its sidecar says of it, in words."""
    ml = entry["volume_ml"]
    if isinstance(ml, dict):
        said = [
            f"surely lesion {_ml(ml['certain'])}, to look at {_ml(ml['uncertain'])}"
        ]
    else:
        said = [f"mask {_ml(ml)}"]
    if "low_ml" in entry:
        high = entry["high_ml"]
        upper = "no upper end" if high is None else f"up to {high:.3g} mL"
        said.append(f"volume from {entry['low_ml']:.3g} mL, {upper}")
    if "released" in entry:
        said.append("released" if entry["released"] else "held back for a reader")
    if entry.get("whole_volume"):
        whole = "the outer set is" if isinstance(ml, dict) else "marked is"
        said.append(f"{whole} all of the volume")
    if entry.get("n_hidden"):
        said.append(f"{entry['n_hidden']} of its voxels show another region")
    return "; ".join(said)


def _ml(value: float | None) -> str:
    return "of unknown volume" if value is None else f"{value:.3g} mL"


def promise_of(sidecar: Json, entry: Json) -> str:
    """By which promise a mask was made, or that there is none."""
    delta = sidecar["delta"]
    level = f"method {sidecar['method']}, alpha {sidecar['alpha']}"
    level += "" if delta is None else f", delta {delta}"
    tolerance = entry.get("tolerance")
    level += "" if tolerance is None else f", tolerance {tolerance:g}"
    if sidecar["guarantee"]:
        return level
    return f"{level}: NO GUARANTEE ({entry['status']})"


def check_pictures() -> None:
    """Refuse before any work what could not be drawn.

    Raises:
        ValueError: matplotlib, which brings Pillow and a font, is not installed.
    """
    check_figures()
