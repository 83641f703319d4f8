"""One space, two orders of its voxels: whole-voxel turns from one grid to another."""

import itertools
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

_LETTERS = ("LR", "PA", "IS")  # of the world axes, against and along


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

    @property
    def inverse(self) -> "Turn":
        """The turn back."""
        x, y, z = (self.axes.index(axis) for axis in range(3))
        return Turn((x, y, z), (self.flips[x], self.flips[y], self.flips[z]))

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


def orientation_of(grid: Grid) -> str:
    """Where the axes of a volume run, as three letters: `RAS` to right, front and top.

    An oblique axis has the letter of the world axis that it is nearest to, one each.
    """
    lengths = np.abs(grid.affine[:3, :3]) / np.linalg.norm(grid.affine[:3, :3], axis=0)
    best = max(
        itertools.permutations(range(3)),
        key=lambda world: sum(lengths[w, axis] for axis, w in enumerate(world)),
    )
    return "".join(
        _LETTERS[w][int(grid.affine[w, axis] > 0)] for axis, w in enumerate(best)
    )


def turn_to(grid: Grid, orientation: str) -> Turn:
    """The whole-voxel turn of a volume into an orientation, as `orientation_of` says it.

    Raises:
        ValueError: The orientation is none, or the grid is of a slice.
    """
    check_orientation(orientation)
    if len(grid.shape) != 3:
        raise ValueError("a slice has no orientation in space")
    own = orientation_of(grid)
    worlds = [_world(letter) for letter in own]
    axes = [worlds.index(_world(letter)) for letter in orientation]
    flips = [own[a] != new for a, new in zip(axes, orientation, strict=True)]
    return Turn((axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2]))


def check_orientation(orientation: str) -> None:
    """Refuse what is no orientation.

    Raises:
        ValueError: It is not one letter each of L or R, P or A, and I or S.
    """
    is_one = all(letter in "".join(_LETTERS) for letter in orientation)
    if not is_one or sorted(map(_world, orientation)) != [0, 1, 2]:
        raise ValueError(
            f"an orientation is one of L and R, P and A, I and S each, as RAS, not "
            f"{orientation!r:.40}"
        )


def _world(letter: str) -> int:
    return next(i for i, pair in enumerate(_LETTERS) if letter in pair)


def find_turn(old: Grid, new: Grid) -> Turn | None:
    """The whole-voxel turn from one grid to another; None where there is none.

    Both must cover the same voxels: every centre of one is a centre of the other,
    within `AFFINE_TOLERANCE` of the smallest edge.
    """
    placing = find_placing(old, new)
    if placing is None:
        return None
    shape, (axes, flips) = three_axes(old.shape), placing.turn
    ends = [(shape[a] - 1) * flip for a, flip in zip(axes, flips, strict=True)]
    covers = tuple(shape[axis] for axis in axes) == three_axes(new.shape)
    return placing.turn if covers and list(placing.starts) == ends else None


class Placing(NamedTuple):
    """How the voxels of one grid lie within another of the same lattice.

    Attributes:
        turn: The order of the axes.
        starts: For each axis of the new grid, the index of the old one along it that
            its first voxel has; may lie outside.
    """

    turn: Turn
    starts: tuple[int, int, int]

    def apply_flat(
        self, values: np.ndarray, old: Grid, new: Grid
    ) -> tuple[np.ndarray, int]:
        """Values on the new grid, 0 where the old one has no voxel.

        Returns:
            Flat, x fastest; and how many voxels other than 0 the new grid has not.
        """
        volume = values.reshape(three_axes(old.shape), order="F")
        out = np.zeros(three_axes(new.shape), values.dtype, order="F")
        taken, given = [slice(None)] * 3, [slice(None)] * 3
        for place, (axis, flip) in enumerate(
            zip(self.turn.axes, self.turn.flips, strict=True)
        ):
            sign = -1 if flip else 1
            index = self.starts[place] + sign * np.arange(out.shape[place])
            inside = np.flatnonzero((index >= 0) & (index < volume.shape[axis]))
            if not inside.size:
                return out.reshape(-1, order="F"), int(np.count_nonzero(volume))
            low, high = sorted((index[inside[0]], index[inside[-1]]))
            taken[axis] = slice(int(low), int(high) + 1)
            given[place] = slice(int(inside[0]), int(inside[-1]) + 1)
        part = volume[tuple(taken)]
        out[tuple(given)] = self.turn.apply(part)
        lost = np.count_nonzero(volume) - np.count_nonzero(part)
        return out.reshape(-1, order="F"), int(lost)


def find_placing(old: Grid, new: Grid) -> Placing | None:
    """How one grid lies within another by whole voxels; None where it does not.

    Shapes may differ: every centre of one would be a centre of the other if both went
    on, within `AFFINE_TOLERANCE` of the smallest edge at the corners of both.
    """
    matrix = np.linalg.solve(old.affine, new.affine)  # new voxel -> old voxel
    exact = np.rint(matrix[:3])
    rotation = exact[:, :3]
    if not ((abs(rotation).sum(0) == 1).all() and (abs(rotation).sum(1) == 1).all()):
        return None
    ends = [(0, n - 1) for n in three_axes(new.shape)]
    corners = np.array(np.meshgrid(*ends)).reshape(3, -1)
    difference = old.affine[:3, :3] @ (matrix[:3] - exact)
    moved = difference[:, :3] @ corners + difference[:, 3:]
    distance_mm = np.sqrt((moved**2).sum(axis=0)).max()
    if not distance_mm <= AFFINE_TOLERANCE * min(old.edges_mm[: len(old.shape)]):
        return None
    axes = np.argmax(abs(rotation), axis=0)
    flips = rotation[axes, np.arange(3)] < 0
    starts = exact[axes, 3].astype(int)
    return Placing(
        Turn(
            (int(axes[0]), int(axes[1]), int(axes[2])),
            (bool(flips[0]), bool(flips[1]), bool(flips[2])),
        ),
        (int(starts[0]), int(starts[1]), int(starts[2])),
    )
