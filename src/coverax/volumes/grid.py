"""The voxel grid of a volume: shape, affine, spacing."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

# A grid has millimetres along its axes where no distance that is computed from the edges
# of a voxel is off by more than this share: float32 headers are off by about 1e-6.
SHEAR_TOLERANCE = 1e-3


class Origin(NamedTuple):
    """Where a grid was read, for messages, and what its header leaves open.

    Attributes:
        path: The file.
        axes: Shape as it is stored, a class axis included.
        unsized: Axes whose voxel size the header does not tell (pixdim 0, no sform);
            their columns of the affine stand for nothing.
        has_form: Whether an sform or a qform places the grid.
        qform: The affine of the qform where the sform is used beside it.
    """

    path: Path
    axes: tuple[int, ...]
    unsized: tuple[int, ...] = ()
    has_form: bool = True
    qform: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the voxels of a volume lie.

    Attributes:
        shape: Voxels along each spatial axis, two or three of them.
        affine: Voxel index to world millimetres.
        origin: The file; None for arrays in memory.
    """

    shape: tuple[int, ...]
    affine: Float[np.ndarray, "4 4"]
    origin: Origin | None = None

    @property
    def spacing_mm(self) -> tuple[float, ...]:
        """Edge lengths of a voxel in millimetres, one per axis of `shape`.

        Whoever asks computes distances, so it is refused where edges do not give them.

        Raises:
            ValueError: As `check_mm`.
        """
        self.check_mm()
        return self.edges_mm[: len(self.shape)]

    @property
    def edges_mm(self) -> tuple[float, float, float]:
        """Lengths of the columns of the affine: for pictures, never for distances."""
        x, y, z = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0)).tolist()
        return x, y, z

    @property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)  # a damaged header may promise more than int64

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of a voxel in millilitres, NaN where the header does not tell it.

        A 2-D pixel counts its slice thickness. Right for sheared grids too.
        """
        if self.origin and self.origin.unsized:
            return float("nan")
        return float(abs(np.linalg.det(self.affine[:3, :3])) / 1000)

    def check_mm(self) -> None:
        """Raise where the edges of a voxel do not give distances in millimetres.

        Raises:
            ValueError: The header does not tell the size of a voxel, or the axes are
                not at right angles.
        """
        self.check_sizes(len(self.shape))
        off = distance_error(self)
        if off > SHEAR_TOLERANCE:
            raise ValueError(
                f"{self._name}: its axes are not at right angles (a sheared affine, as "
                f"of a tilted gantry): distances along them are off by up to "
                f"{100 * off:.2g} %, so nothing in mm is computed; resample it"
            )

    def check_sizes(self, n_axes: int = 3) -> None:
        """Raise where the header does not tell the size of a voxel.

        Raises:
            ValueError: pixdim is 0 along one of the first `n_axes` axes, and no sform
                tells more.
        """
        unsized = self.origin.unsized if self.origin else ()
        names = ["xyz"[axis] for axis in unsized if axis < n_axes]
        is_nifti = self._name.lower().endswith((".nii", ".nii.gz"))
        if names and not is_nifti:
            raise ValueError(
                f"{self._name}: a picture does not tell the size of a pixel, so nothing "
                "in mm is computed; store it as NIfTI with its spacing"
            )
        if names:
            raise ValueError(
                f"{self._name}: pixdim is 0 along {', '.join(names)} and no sform tells "
                "the size of a voxel, so nothing in mm is computed; write the true "
                "spacing into the header"
            )

    @property
    def _name(self) -> str:
        return str(self.origin.path) if self.origin else "the grid"


def distance_error(grid: Grid) -> float:
    """Largest share by which edge lengths misjudge a distance; 0 at right angles.

    A distance between voxels is `sqrt(steps' G steps)` with the metric G of the axes;
    edge lengths take G for diagonal. The eigenvalues of G between unit axes bound the
    ratio. Axes of one voxel have no distances.
    """
    axes = [axis for axis, n in enumerate(grid.shape) if n > 1]
    columns = grid.affine[:3, axes]
    unit = columns / np.sqrt((columns**2).sum(axis=0))
    values = np.linalg.eigvalsh(unit.T @ unit)
    return float(np.abs(np.sqrt(np.maximum(values, 0)) - 1).max(initial=0))
