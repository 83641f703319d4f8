"""The voxel grid of a volume: shape, affine, spacing."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from coverax.files import PathLike

# Two affines agree when no voxel centre moves by more than this share of the smallest
# voxel edge: float32 headers written by different tools differ by about 1e-5.
AFFINE_TOLERANCE = 0.01


class GridMismatchError(ValueError):
    """Two volumes of one case do not lie on the same voxel grid."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the voxels of a volume lie.

    Attributes:
        shape: Voxels along each spatial axis, two or three of them.
        affine: Voxel index to world millimetres.
    """

    shape: tuple[int, ...]
    affine: Float[np.ndarray, "4 4"]

    @property
    def spacing_mm(self) -> tuple[float, ...]:
        """Edge lengths of a voxel in millimetres, one per axis of `shape`."""
        edges = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return tuple(float(e) for e in edges[: len(self.shape)])

    @property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of a voxel in millilitres; a 2-D pixel counts its slice thickness."""
        return float(abs(np.linalg.det(self.affine[:3, :3])) / 1000)


def check_same_grid(
    grid: Grid, path: PathLike, other: Grid, other_path: PathLike
) -> None:
    """Raise where two grids differ in shape, or in affine beyond the tolerance.

    Raises:
        GridMismatchError: The shapes differ, or a voxel centre lies more than
            `AFFINE_TOLERANCE` of the smallest voxel edge away from its twin.
    """
    path, other_path = Path(path), Path(other_path)
    # A single slice may be stored as (x, y) or as (x, y, 1).
    shape, other_shape = (_with_three_axes(g.shape) for g in (grid, other))
    if shape != other_shape:
        raise GridMismatchError(
            f"{path} has shape {grid.shape} but {other_path} has {other.shape}"
        )
    if np.array_equal(grid.affine, other.affine):
        return
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape])).reshape(3, -1)
    difference = grid.affine - other.affine
    moved = difference[:3, :3] @ corners + difference[:3, 3:]
    distance_mm = float(np.sqrt((moved**2).sum(axis=0)).max())
    if not distance_mm <= AFFINE_TOLERANCE * min(grid.spacing_mm):
        raise GridMismatchError(
            f"the affines of {path} and {other_path} place the same voxel up to "
            f"{distance_mm:.3g} mm apart"
        )


def _with_three_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape, 1, 1)[:3]
