"""One space, two orders of its voxels: whole-voxel turns from one grid to another."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from coverax.files import PathLike
from coverax.volumes.grid import Grid
from coverax.volumes.same_grid import (
    AFFINE_TOLERANCE,
    GridMismatchError,
    check_same_grid,
    three_axes,
)


class Turn(NamedTuple):
    """How the voxels of one grid lie on another of the same space.

    Attributes:
        axes: For each axis of the new grid, the axis of the old one along it.
        flips: Which axes of the new grid run the other way.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    @property
    def is_identity(self) -> bool:
        """Whether nothing is to be done."""
        return self.axes == (0, 1, 2) and not any(self.flips)

    def __str__(self) -> str:
        """The axes of the old grid, in the order and sense of the new one."""
        return ", ".join(
            f"{'-' * flip}{'xyz'[axis]}"
            for axis, flip in zip(self.axes, self.flips, strict=True)
        )

    def apply(self, volume: np.ndarray) -> np.ndarray:
        """`[x, y, z, ...]` of the old grid as a view on the new one."""
        rest = tuple(range(3, volume.ndim))
        turned = volume.transpose(*self.axes, *rest)
        steps = tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)
        return turned[steps]

    def apply_flat(self, values: np.ndarray, old: Grid) -> np.ndarray:
        """Voxels of the old grid, flat, x fastest, as they follow on the new one."""
        if self.is_identity:
            return values
        volume = values.reshape(three_axes(old.shape), order="F")
        return self.apply(volume).reshape(-1, order="F")


def turn_between(grid: Grid, path: PathLike, other: Grid, other_path: PathLike) -> Turn:
    """The whole-voxel turn from one grid to another of the same space.

    Grids that `check_same_grid` takes for one need none.

    Raises:
        GridMismatchError: As `check_same_grid`, where no turn makes them one.
    """
    try:
        check_same_grid(other, Path(other_path), grid, Path(path))
    except GridMismatchError:
        turn = find_turn(grid, other)
        if turn is None or turn.is_identity:
            raise
        return turn
    return Turn((0, 1, 2), (False, False, False))


def find_turn(old: Grid, new: Grid) -> Turn | None:
    """The whole-voxel turn from one grid to another; None where there is none.

    Both must cover the same voxels: every centre of one is a centre of the other,
    within `AFFINE_TOLERANCE` of the smallest edge.
    """
    shape = np.array(three_axes(old.shape))
    matrix = np.linalg.solve(old.affine, new.affine)  # new voxel -> old voxel
    rotation = np.rint(matrix[:3, :3])
    if not ((abs(rotation).sum(0) == 1).all() and (abs(rotation).sum(1) == 1).all()):
        return None
    axes = np.argmax(abs(rotation), axis=0)
    flips = rotation[axes, np.arange(3)] < 0
    if tuple(shape[axes]) != three_axes(new.shape):
        return None
    exact = np.zeros((3, 4))
    exact[:, :3] = rotation
    exact[axes, 3] = np.where(flips, shape[axes] - 1, 0)
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape[axes]])).reshape(3, -1)
    difference = old.affine[:3, :3] @ (matrix[:3] - exact)
    moved = difference[:, :3] @ corners + difference[:, 3:]
    distance_mm = np.sqrt((moved**2).sum(axis=0)).max()
    if not distance_mm <= AFFINE_TOLERANCE * min(old.edges_mm[: len(old.shape)]):
        return None
    return Turn(
        (int(axes[0]), int(axes[1]), int(axes[2])),
        (bool(flips[0]), bool(flips[1]), bool(flips[2])),
    )
