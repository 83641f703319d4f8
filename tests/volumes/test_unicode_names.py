"""Case ids are compared in one Unicode form, wherever they come from."""

import unicodedata

import numpy as np
import pytest
from tests import nnunet_files as made
from tests.synthetic import case, write_nifti

import coverax as cx

NAME = "Zoë_Ångström"
NFC, NFD = (unicodedata.normalize(form, NAME) for form in ("NFC", "NFD"))
SHAPE = (5, 6, 4)


def write(folder, name):
    probs, mask = case(SHAPE, 9, np.random.default_rng(0))
    write_nifti(folder / "probs" / f"{name}.nii.gz", probs)
    write_nifti(folder / "labels" / f"{name}.nii.gz", mask)
    return folder / "probs", folder / "labels"


@pytest.fixture
def both(tmp_path):
    """The maps named in one form, the references in the other."""
    assert NFC != NFD
    return write(tmp_path / "a", NFD)[0], write(tmp_path / "b", NFC)[1]


def test_maps_and_references_meet_across_forms(both):
    (found,) = cx.volumes.match_folders(*both).cases
    assert found.case_id == found.unit == NFC
    assert found.probs.is_file()
    assert found.labels.is_file()


def test_files_of_groups_and_cohorts_are_read_in_one_form(both, tmp_path):
    groups = tmp_path / "g.csv"
    groups.write_text(f"case_id,group\n{NFD},{NFD}\n", encoding="utf-8")
    assert cx.volumes.read_groups(groups) == {NFC: NFC}
    cohort = tmp_path / "cohort.csv"
    line = f"{NFD},{both[0] / NFD}.nii.gz,{both[1] / NFC}.nii.gz,{NFD},{NFD},{NFD}"
    head = "case_id,probs,labels,unit,group," + NFD
    cohort.write_text(f"{head}\n{line}\n", encoding="utf-8")
    (found,) = cx.volumes.read_cohort(cohort).cases
    assert (found.case_id, found.unit, found.group) == (NFC, NFC, NFC)
    assert found.columns == ((NFC, NFC),)
    assert found.probs.is_file()  # a path is the file system's own


def test_arrays_and_files_have_one_name(both):
    probs, mask = case(SHAPE, 9, np.random.default_rng(0))
    named = cx.scores.score_arrays([probs], [mask], 0.1, case_ids=[NFD])
    assert named.column("case_id").tolist() == [NFC]


def test_two_names_that_fall_together_are_refused(tmp_path):
    write(tmp_path, NFC)
    folders = write(tmp_path, NFD)
    with pytest.raises(
        ValueError, match=r"occurs twice.*two Unicode forms: rename one"
    ):
        cx.volumes.match_folders(*folders)
    cohort = tmp_path / "cohort.csv"
    lines = [f"{n},probs/{n}.nii.gz,labels/{n}.nii.gz" for n in (NFC, NFD)]
    text = "\n".join(["case_id,probs,labels", *lines])
    cohort.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=f"case {NFC} occurs twice"):
        cx.volumes.read_cohort(cohort)
    groups = tmp_path / "g.csv"
    groups.write_text(f"case_id,group\n{NFC},a\n{NFD},b\n", encoding="utf-8")
    with pytest.raises(ValueError, match=f"case {NFC} occurs twice"):
        cx.volumes.read_groups(groups)


def test_softmax_files_meet_their_references_across_forms(tmp_path):
    made.write_dataset(tmp_path / "r")
    path = made.write_case(tmp_path / "r", NFD, made.softmax(0))
    labels = tmp_path / "labels"
    labels.mkdir()
    segmentation = path.with_suffix(".nii.gz")
    (labels / f"{NFC}.nii.gz").write_bytes(segmentation.read_bytes())
    (found,) = cx.volumes.find_results(tmp_path / "r", labels).cases
    assert found.case_id == NFC


def test_a_part_is_known_under_either_form(both):
    record = f'{{"parts": {{"{NFC}": "train"}}}}'
    (both[0] / "infer.json").write_text(record, encoding="utf-8")
    (found,) = cx.volumes.match_folders(*both).cases
    assert found.part == "train"
