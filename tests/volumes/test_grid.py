"""When two volumes lie on the same grid."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tests.nifti_files import save

from coverax.volumes import Grid, GridMismatchError, check_same_grid, read_header

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


@pytest.mark.parametrize("degrees", [0.0, 0.01, 3.0, 20.0])
@pytest.mark.parametrize("shape", [(24, 64, 9), (24, 64, 1), (24, 64)])
def test_sheared_axes_have_no_spacing_but_the_right_volume(degrees, shape):
    """A tilted gantry moves each slice along y; no distance crosses a single slice."""
    turned = nib.eulerangles.euler2mat(0.3, 0.2, 0.1)
    affine = np.diag([0.5, 0.6, 4.7, 1.0])
    affine[1, 2] = 4.7 * np.tan(np.radians(degrees))
    affine[:3, :3] = turned @ affine[:3, :3]
    grid = Grid(shape, affine.astype(np.float32).astype(np.float64))
    assert grid.voxel_volume_ml == pytest.approx(0.5 * 0.6 * 4.7 / 1000, rel=1e-5)
    if degrees < 1 or shape[2:] != (9,):
        assert grid.spacing_mm[:2] == pytest.approx((0.5, 0.6), rel=1e-5)
        return
    with pytest.raises(ValueError, match="not at right angles"):
        _ = grid.spacing_mm


def written(path, shape, affine, *, sform=1, qform=0, unit="mm", other=None):
    """A file of zeros placed by its forms; `other` is the affine of the qform."""
    image = nib.Nifti1Image(np.zeros(shape, np.uint8), affine)
    image.set_sform(affine if sform else None, sform)
    image.set_qform(affine if other is None else other, qform)
    image.header.set_xyzt_units(unit)
    nib.save(image, path)
    return read_header(path)


def swapped(affine, *columns):
    return affine[:, [*columns, 3]]


STRAIGHT = np.diag([1.0, 1.5, 2.0, 1.0])
STRAIGHT[:3, 3] = (3.0, -4.0, 5.0)
LEFT = STRAIGHT.copy()
LEFT[0, 0], LEFT[0, 3] = -1.0, 3.0 + 15
FAR = STRAIGHT.copy()
FAR[0, 3] += 1
MICRONS = np.diag([1e3, 1e3, 1e3, 1.0]) @ STRAIGHT
SHAPE = (16, 18, 14)
WHY = {
    "flipped": (dict(shape=SHAPE, affine=LEFT), r"axes flipped: .*RAS.*LAS"),
    "exchanged": (
        dict(shape=(18, 16, 14), affine=swapped(STRAIGHT, 1, 0, 2)),
        r"axes exchanged: .*RAS.*ARS",
    ),
    "unit": (dict(shape=SHAPE, affine=MICRONS), "by the unit alone"),
    "no form": (dict(shape=SHAPE, affine=FAR, sform=0), "neither sform nor qform"),
    "qform": (
        dict(shape=SHAPE, affine=FAR, qform=1, other=STRAIGHT),
        r"the qform of .*b\.nii would agree, its sform does not",
    ),
    "class first": (
        dict(shape=(2, *SHAPE), affine=STRAIGHT),
        "look like class, x, y, z",
    ),
    "one class first": (
        dict(shape=(1, *SHAPE), affine=STRAIGHT),
        "look like class, x, y, z",
    ),
}


@pytest.mark.parametrize("what", WHY)
def test_why_grids_differ_is_said_once(tmp_path, what):
    options, reason = WHY[what]
    a = written(tmp_path / "a.nii", SHAPE, STRAIGHT)
    b = written(tmp_path / "b.nii", **options)
    with pytest.raises(GridMismatchError, match=reason) as error:
        check_same_grid(a.grid, a.path, b.grid, b.path)
    assert "\n" not in str(error.value)
    with pytest.raises(GridMismatchError):  # whichever is the map
        check_same_grid(b.grid, b.path, a.grid, a.path)


@pytest.mark.parametrize(
    ("shape", "which"), [((7, 6, 3), "last"), ((3, 7, 6), "first")]
)
def test_classes_of_a_slice_on_the_wrong_axis_are_named(tmp_path, shape, which):
    a = read_header(save(tmp_path / "a.nii", np.zeros(shape, np.float32)))
    b = read_header(save(tmp_path / "b.nii", np.zeros((7, 6), np.uint8)))
    with pytest.raises(GridMismatchError, match=f"the {which} axis of .* classes"):
        check_same_grid(a.grid, a.path, b.grid, b.path)


def test_another_place_has_no_cause_in_the_headers(tmp_path):
    a = written(tmp_path / "a.nii", SHAPE, STRAIGHT)
    b = written(tmp_path / "b.nii", SHAPE, FAR)
    with pytest.raises(GridMismatchError, match=r"up to 1 mm apart$"):
        check_same_grid(a.grid, a.path, b.grid, b.path)
