"""When two volumes lie on the same grid."""

from pathlib import Path

import numpy as np
import pytest

from coverax.volumes import Grid, GridMismatchError, check_same_grid

AFFINE = np.array(
    [[0.5, 0.0, 0.0, 9.0], [0.0, -0.5, 0.0, 4.0], [0.0, 0.0, 5.0, -2.0], [0, 0, 0, 1.0]]
)
A, B = Path("a.nii"), Path("b.nii")


def moved(row, column, by):
    affine = AFFINE.copy()
    affine[row, column] += by
    return affine


@pytest.mark.parametrize(
    ("affine", "same"),
    [
        (AFFINE, True),
        (AFFINE * (1 + 1e-6), True),  # a header rounded by another tool
        (moved(0, 3, 0.004), True),
        (moved(0, 3, 0.006), False),  # more than 1 % of the smallest edge, 0.5 mm
        (moved(2, 3, 0.006), False),
        (moved(1, 2, 0.001), False),  # small at one voxel, 0.1 mm at the hundredth
        (moved(2, 2, np.nan), False),
        (-AFFINE, False),
    ],
)
def test_affines_agree_where_no_voxel_moves_by_a_hundredth_of_an_edge(affine, same):
    shape = (20, 20, 100)
    if same:
        check_same_grid(Grid(shape, AFFINE), A, Grid(shape, affine), B)
        return
    with pytest.raises(GridMismatchError, match=r"affines of a\.nii and b\.nii"):
        check_same_grid(Grid(shape, AFFINE), A, Grid(shape, affine), B)


def test_a_slice_may_be_stored_flat():
    check_same_grid(Grid((5, 6), AFFINE), A, Grid((5, 6, 1), AFFINE), B)


@pytest.mark.parametrize("shape", [(6, 5, 4), (5, 6, 5), (5, 6), (120, 1, 1)])
def test_other_shapes_are_refused_with_both_named(shape):
    with pytest.raises(GridMismatchError, match=r"a\.nii has shape .* but b\.nii has"):
        check_same_grid(Grid((5, 6, 4), AFFINE), A, Grid(shape, AFFINE), B)


def test_spacing_and_volume_follow_the_affine():
    grid = Grid((5, 6, 4), AFFINE)
    assert grid.spacing_mm == (0.5, 0.5, 5.0)
    assert grid.n_voxels == 120
    assert grid.voxel_volume_ml == pytest.approx(1.25e-3)
    assert Grid((5, 6), AFFINE).spacing_mm == (0.5, 0.5)
