"""One space in another order of its voxels: turned without loss, or refused."""

import nibabel as nib
import numpy as np
import pytest
from tests import nnunet_files as made

from coverax.scores import ScoreDefinition, read_table, score_cohort
from coverax.volumes import Case, Cohort, Grid, GridMismatchError, turn_between
from coverax.volumes.orient import find_turn


@pytest.mark.parametrize("turn", made.turns(), ids=str)
def test_every_turn_is_found_and_undone(turn):
    volume = np.arange(7 * 6 * 5).reshape(7, 6, 5)
    other, affine = made.turned(volume, made.OBLIQUE, turn)
    old, new = Grid(other.shape, affine), Grid(volume.shape, made.OBLIQUE)
    found = find_turn(old, new)
    np.testing.assert_array_equal(found.apply(other), volume)
    flat = found.apply_flat(other.reshape(-1, order="F"), old)
    np.testing.assert_array_equal(flat, volume.reshape(-1, order="F"))


@pytest.mark.parametrize(
    "change",
    [
        np.diag([1.0, 1.0, 1.02, 1.0]),  # another spacing
        np.array([[1, 0, 0, 0.3], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),  # moved
        np.array(
            [[1, 0.1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]
        ),  # sheared
    ],
)
def test_another_space_is_refused_turned_or_not(change):
    volume = np.zeros((7, 6, 5))
    new = Grid(volume.shape, np.diag([1.0, 1.5, 2.0, 1.0]))
    for turn in made.turns():
        other, affine = made.turned(volume, new.affine @ change, turn)
        with pytest.raises(GridMismatchError):
            turn_between(Grid(other.shape, affine), "a", new, "b")


def cohort(folder, turn_labels, turn_valid):
    """Three cases whose references and masks are stored otherwise than their maps."""
    rng = np.random.default_rng(0)
    cases = []
    for i in range(3):
        files = {
            "probs": (rng.random(made.SHAPE).astype(np.float32), None),
            "labels": ((rng.random(made.SHAPE) < 0.3).astype(np.uint8), turn_labels),
            "valid": ((rng.random(made.SHAPE) < 0.8).astype(np.uint8), turn_valid),
        }
        for name, (array, turn) in files.items():
            affine = made.OBLIQUE
            if turn is not None:
                array, affine = made.turned(array, affine, turn)
            nib.save(nib.Nifti1Image(array, affine), folder / f"{name}{i}.nii.gz")
        paths = {name: folder / f"{name}{i}.nii.gz" for name in files}
        cases.append(Case(f"c{i}", unit=f"c{i}", **paths))
    return Cohort(tuple(cases), {})


LAS, EXCHANGED = ((0, 1, 2), (True, False, False)), ((1, 0, 2), (False, False, False))


@pytest.mark.parametrize(
    ("labels", "valid"),
    [
        (LAS, None),
        (None, LAS),
        (EXCHANGED, LAS),
        (((2, 0, 1), (True, False, True)),) * 2,
    ],
)
def test_a_turned_reference_scores_to_the_bit_as_its_twin(tmp_path, labels, valid):
    definition = ScoreDefinition()
    (tmp_path / "as_is").mkdir()
    (tmp_path / "turned").mkdir()
    twin = score_cohort(cohort(tmp_path / "as_is", None, None), definition)
    notes = []
    table = score_cohort(
        cohort(tmp_path / "turned", labels, valid), definition, on_note=notes.append
    )
    assert table.rows_digest == twin.rows_digest
    assert not twin.turned
    assert len([line for line in notes if "3 cases" in line]) == 1
    table.write(tmp_path / "scores.parquet")
    recorded = read_table(tmp_path / "scores.parquet").turned
    assert recorded == table.turned
    assert recorded.keys() == {"c0", "c1", "c2"}


def test_a_mask_of_what_counts_meets_a_turned_map(tmp_path):
    """Voxels that do not count need no number, wherever the mask stores them."""
    pair = cohort(tmp_path, EXCHANGED, LAS)
    case = pair.cases[0]
    values = np.asarray(nib.load(case.probs).dataobj).copy()
    valid = np.asarray(nib.load(tmp_path / "valid0.nii.gz").dataobj)[::-1]
    values[valid == 0] = np.nan
    nib.save(nib.Nifti1Image(values, made.OBLIQUE), case.probs)
    score_cohort(Cohort((case,), {}), ScoreDefinition())
    values[tuple(np.argwhere(valid)[0])] = np.nan
    nib.save(nib.Nifti1Image(values, made.OBLIQUE), case.probs)
    with pytest.raises(ExceptionGroup) as caught:
        score_cohort(Cohort((case,), {}), ScoreDefinition())
    assert "NaN or infinite" in str(caught.value.exceptions[0])
