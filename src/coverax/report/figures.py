"""Figures: slices with the contours of inner and outer sets."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from coverax.files import PathLike, publishing, read_sealed_json
from coverax.volumes import (
    GridMismatchError,
    check_same_grid,
    file_stem,
    nifti_files,
    read_header,
    read_labels,
    read_voxels,
)

# Blue and orange are told apart by every reader.
INNER_COLOUR, OUTER_COLOUR = "#ff9f1c", "#2ec4ff"
_N_SLICES = 4
# How nnU-Net calls the first channel of a scan.
_FIRST_CHANNEL = "_0000"


def check_figures() -> None:
    """Refuse before any work what could not be drawn.

    Raises:
        ValueError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise ValueError(
            "figures need matplotlib: pip install 'coverax[report]'"
        ) from None


def find_scans(maps: Mapping[str, PathLike], folder: PathLike) -> dict[str, Path]:
    """The scan of every case, `CASE.nii.gz` or `CASE_0000.nii.gz`, on the map's grid.

    Only headers are read.

    Args:
        maps: Case id to map.
        folder: Of scans.

    Raises:
        FileNotFoundError: There is no such folder.
        GridMismatchError: A scan lies on another grid than its map.
        ValueError: A case has no scan, or a header is damaged.
    """
    files = nifti_files(folder)
    scans = {c: files.get(c, files.get(c + _FIRST_CHANNEL)) for c in maps}
    found = {case_id: path for case_id, path in scans.items() if path is not None}
    missing = [case_id for case_id in maps if case_id not in found]
    if missing:
        raise ValueError(
            f"{folder}: no scan of {len(missing)} of {len(maps)} cases, as "
            f"{', '.join(missing[:5])}: expected CASE.nii.gz or "
            f"CASE{_FIRST_CHANNEL}.nii.gz"
        )
    wrong: list[str] = []
    for case_id, scan in found.items():
        try:
            check_same_grid(
                read_header(scan).grid,
                scan,
                read_header(maps[case_id]).grid,
                maps[case_id],
            )
        except GridMismatchError as error:
            wrong.append(f"case {case_id}: {error}")
    if wrong:
        raise GridMismatchError(
            f"{len(wrong)} of {len(maps)} scans lie on another grid than the map; "
            f"{wrong[0]}"
        )
    return found


def draw_sets(sidecar: PathLike, background: PathLike, folder: PathLike) -> list[Path]:
    """Draw the label maps of one predicted case over a scan or its own map.

    Of a volume with a class axis the first entry is drawn. A region that was refused in
    calibration has no label map and no picture.

    Args:
        sidecar: `CASE.json` of `predict`, with its label maps beside it.
        background: Volume on the same grid, shape and affine.
        folder: Where pictures go, `CASE.png` or `CASE_REGION.png`.

    Raises:
        GridMismatchError: The grids differ.
        ValueError: matplotlib is missing, or the sidecar was altered.
    """
    sidecar, background, folder = Path(sidecar), Path(background), Path(folder)
    content, _ = read_sealed_json(sidecar, "sidecar of a mask", 1, "predict")
    out = []
    for entry in content["masks"]:
        if entry["mask"] is None:
            continue
        path = sidecar.with_name(entry["mask"])
        flat, file = read_labels(path)
        drawn, stored = read_voxels(background, channels=[0])
        check_same_grid(drawn.grid, background, file.grid, path)
        shape = (*file.grid.shape, 1)[:3]
        spacing = file.grid.edges_mm
        panels = plot_sets(
            stored[0].reshape(shape, order="F"),
            flat.reshape(shape, order="F"),
            spacing,
            title=f"{content['case_id']} {entry['region']}: {_volumes(entry)}",
        )
        path = folder / f"{file_stem(entry['mask'])}.png"
        with publishing(path) as temporary:
            panels[0].figure.savefig(temporary, dpi=110, format="png")
        out.append(path)
    return out


def plot_sets(
    image: np.ndarray, labels: np.ndarray, spacing_mm: tuple[float, ...], title: str
) -> list[Any]:
    """A row of slices along the third axis, with the contours of both sets.

    Args:
        image: What to draw on, `[x, y, z]`.
        labels: 0 outside the outer set, 2 in the inner one, 1 between.
        spacing_mm: Edge lengths of a voxel.
        title: Above the row.

    Returns:
        The matplotlib axes, one a slice.

    Raises:
        ValueError: matplotlib is not installed.
    """
    check_figures()
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    slices = _slices(labels)
    figure = Figure(figsize=(2.6 * len(slices), 3.1), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(slices)))
    for panel, z in zip(panels, slices, strict=True):
        draw_slice(panel, image, labels, spacing_mm, z)
    figure.legend(
        handles=[
            Line2D([], [], color=INNER_COLOUR, label="inner set: surely lesion"),
            Line2D(
                [], [], color=OUTER_COLOUR, label="outside the outer set: surely not"
            ),
        ],
        loc="outside lower center",
        ncols=2,
        fontsize=8,
        frameon=False,
    )
    figure.suptitle(title, fontsize=9)
    return list(panels)


def draw_slice(
    panel: Any,
    image: np.ndarray,
    labels: np.ndarray,
    spacing_mm: tuple[float, ...],
    z: int,
) -> None:
    """One slice along the third axis, with the contours of both sets."""
    low, high = float(image.min()), float(image.max())
    extent = (0, image.shape[0] * spacing_mm[0], 0, image.shape[1] * spacing_mm[1])
    panel.imshow(
        image[:, :, z].T,
        cmap="gray",
        vmin=low,
        vmax=high if high > low else low + 1,
        origin="lower",
        extent=extent,
    )
    for label, colour in ((1, OUTER_COLOUR), (2, INNER_COLOUR)):
        inside = np.pad((labels[:, :, z] >= label).T.astype(float), 1)
        if inside.any():
            x = (np.arange(-1, labels.shape[0] + 1) + 0.5) * spacing_mm[0]
            y = (np.arange(-1, labels.shape[1] + 1) + 0.5) * spacing_mm[1]
            panel.contour(x, y, inside, [0.5], colors=colour, linewidths=1.6)
    panel.set(xticks=[], yticks=[], xlim=extent[:2], ylim=extent[2:])
    panel.set_xlabel(f"z = {z}", fontsize=8)


def _slices(labels: np.ndarray) -> list[int]:
    """Slices spread over the outer set; the middle one where it is empty."""
    held = np.flatnonzero((labels > 0).any(axis=(0, 1)))
    if held.size == 0:
        return [labels.shape[2] // 2]
    places = np.linspace(0, held.size - 1, min(_N_SLICES + 2, held.size))
    # The first and the last slice of a set show little of it.
    inner = places[1:-1] if places.size > 2 else places
    return sorted({int(held[round(p)]) for p in inner})


def middle_slice(labels: np.ndarray) -> int:
    """The middle one of the slices along the third axis that a mask touches."""
    held = np.flatnonzero((labels > 0).any(axis=(0, 1)))
    return int(held[held.size // 2]) if held.size else labels.shape[2] // 2


def _volumes(entry: dict[str, Any]) -> str:
    ml = entry["volume_ml"]
    if ml["certain"] is None:
        return "volumes unknown (the size of a voxel is)"
    return f"certain {ml['certain']:.3g} mL, to look at {ml['uncertain']:.3g} mL"
