"""Whether two volumes lie on one voxel grid, and if not, why."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from nibabel.orientations import aff2axcodes

from coverax.files import PathLike
from coverax.volumes.grid import Grid

# Two affines agree when no voxel centre moves by more than this share of the smallest
# voxel edge: float32 headers written by different tools differ by about 1e-5.
AFFINE_TOLERANCE = 0.01
_UNIT_FACTORS = (1e3, 1e-3, 1e6, 1e-6)


class GridMismatchError(ValueError):
    """Two volumes of one case do not lie on the same voxel grid."""


def check_same_grid(
    grid: Grid, path: PathLike, other: Grid, other_path: PathLike
) -> None:
    """Raise where two grids differ in shape, or in affine beyond the tolerance.

    Raises:
        GridMismatchError: The shapes differ, or a voxel centre lies more than
            `AFFINE_TOLERANCE` of the smallest voxel edge away from its twin. The
            message names the cause where the headers tell it.
    """
    path, other_path = Path(path), Path(other_path)
    # A single slice may be stored as (x, y) or as (x, y, 1).
    if three_axes(grid.shape) != three_axes(other.shape):
        raise GridMismatchError(
            f"{path} has shape {grid.shape} but {other_path} has {other.shape}"
            + _reason(_other_axes(grid, path, other, other_path))
        )
    moved = _moved_mm(grid, other.affine)
    if not moved <= AFFINE_TOLERANCE * min(grid.edges_mm[: len(grid.shape)]):
        raise GridMismatchError(
            f"the affines of {path} and {other_path} place the same voxel up to "
            f"{moved:.3g} mm apart"
            + _reason(_other_place(grid, path, other, other_path))
        )


def three_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape with axes of one voxel behind it."""
    return (*shape, 1, 1)[:3]


def _reason(reasons: Iterator[str]) -> str:
    """The first that holds; one cause is said once."""
    first = next(reasons, None)
    return f" ({first})" if first else ""


def _moved_mm(grid: Grid, affine: np.ndarray) -> float:
    """How far a voxel lies from its twin, at most, in mm."""
    if np.array_equal(grid.affine, affine):
        return 0.0
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in three_axes(grid.shape)]))
    difference = grid.affine - affine
    moved = difference[:3, :3] @ corners.reshape(3, -1) + difference[:3, 3:]
    return float(np.sqrt((moved**2).sum(axis=0)).max())


def _agree(grid: Grid, affine: np.ndarray) -> bool:
    edge = min(grid.edges_mm[: len(grid.shape)])
    return _moved_mm(grid, affine) <= AFFINE_TOLERANCE * edge


def _other_axes(grid: Grid, path: Path, other: Grid, other_path: Path) -> Iterator[str]:
    """Why shapes differ: where the classes are, or how the axes are ordered."""
    for mine, name, theirs in ((grid, path, other), (other, other_path, grid)):
        axes = mine.origin.axes if mine.origin else mine.shape
        shape = three_axes(theirs.shape)
        if len(axes) == 4 and axes[1:] == shape:
            yield f"the axes {axes} of {name} look like class, x, y, z; store x, y, z, class"
        if len(axes) == 3 and shape[2] == 1:
            if axes[:2] == shape[:2]:
                yield f"the last axis of {name} looks like classes; store x, y, 1, class"
            if axes[1:] == shape[:2]:
                yield (
                    f"the first axis of {name} looks like classes; store x, y, 1, class"
                )
    yield from _turned(grid, path, other, other_path)


def _other_place(
    grid: Grid, path: Path, other: Grid, other_path: Path
) -> Iterator[str]:
    """Why affines differ: orientation, unit, or which form of the header is used."""
    yield from _turned(grid, path, other, other_path)
    for factor in _UNIT_FACTORS:
        if _agree(grid, np.diag([factor, factor, factor, 1]) @ other.affine):
            yield (
                "they differ by the unit alone: mm in one header, another one, such as "
                "micron, in the other (xyzt_units)"
            )
    for mine, name, theirs in ((grid, path, other), (other, other_path, grid)):
        if mine.origin is None or theirs.origin is None:
            continue
        if mine.origin.qform is not None and _agree(theirs, mine.origin.qform):
            yield f"the qform of {name} would agree, its sform does not"
        if theirs.origin.has_form and not mine.origin.has_form:
            yield f"{name} has neither sform nor qform: its header tells no place"


def _turned(grid: Grid, path: Path, other: Grid, other_path: Path) -> Iterator[str]:
    """Whether whole-voxel flips and exchanges of axes bring one grid onto the other."""
    shape = three_axes(other.shape)
    for order in itertools.permutations(range(3)):
        if tuple(shape[axis] for axis in order) != three_axes(grid.shape):
            continue
        for flips in itertools.product((False, True), repeat=3):
            # Index along the axes of `grid` to index along those of `other`.
            index = np.zeros((4, 4))
            index[3, 3] = 1
            for new, (old, flip) in enumerate(zip(order, flips, strict=True)):
                index[old, new] = -1 if flip else 1
                index[old, 3] = (shape[old] - 1) * flip
            if _agree(grid, other.affine @ index):
                how = "flipped" if order == (0, 1, 2) else "exchanged"
                mine, theirs = (
                    "".join(map(str, aff2axcodes(g.affine))) for g in (grid, other)
                )
                yield (
                    f"the same space, axes {how}: {path} is stored {mine}, {other_path} "
                    f"{theirs}; reorient one of them by whole voxels"
                )
                return
