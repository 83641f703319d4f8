"""From a BIDS derivative of probabilities to one of masks, as a user goes."""

import csv
import json

import numpy as np
import pytest
from tests import bids_files as made
from tests.synthetic import write_nifti

IMAGES = [made.image_of(s, ses) for s in range(1, 5) for ses in ("a", "b")]


@pytest.fixture
def roots(tmp_path):
    made.write_maps(tmp_path / "maps", IMAGES)
    made.write_references(tmp_path / "manual", IMAGES)
    return tmp_path / "maps", tmp_path / "manual"


def imported(cli, roots, *options, expect=0):
    done = cli("import", "bids", roots[0], "--labels", roots[1], *options)
    assert done.code == expect
    return done


def test_labels_meet_by_name_and_units_are_subjects(roots, tmp_path, cli):
    done = imported(cli, roots, "-o", tmp_path / "cohort.csv")
    assert "found 8 cases of 4 units" in done.err
    assert "their unit is sub-XX" in done.err
    with (tmp_path / "cohort.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["case_id"] for row in rows] == IMAGES
    assert {row["unit"] for row in rows} == {f"sub-{s:02d}" for s in range(1, 5)}
    assert rows[1]["probs"] == (
        "maps/sub-01/ses-b/anat/sub-01_ses-b_desc-net_probseg.nii.gz"
    )
    # The table of labels says that lesions are 1, the LabelMap that they are channel 2.
    for region in ("organ=1:2", "lesion=2:1"):
        assert f"to be scored with --region {region}" in done.err
    told = [part for line in done.err.splitlines() for part in line.split()]
    asked = [told[i + 1] for i, part in enumerate(told) if part == "--region"]
    regions = [part for region in asked for part in ("--region", region)]
    args = ("--cohort", tmp_path / "cohort.csv", *regions, "-o", tmp_path / "s")
    assert cli("score", *args).code == 0


def test_a_dry_run_writes_nothing_and_json_has_all(roots, tmp_path, cli):
    before = sorted(tmp_path.rglob("*"))
    done = imported(cli, roots, "--dry-run", "--json")
    assert sorted(tmp_path.rglob("*")) == before
    assert done.json["n_cases"] == 8
    assert done.json["regions"] == ["organ=1:2", "lesion=2:1"]
    imported(cli, roots, expect=2)


def test_what_has_no_partner_is_named(roots, tmp_path, cli):
    made.write_maps(roots[0], [made.image_of(9)])
    made.write_references(roots[1], [made.image_of(8, "a")])
    (roots[0] / "sub-01/ses-a/anat/sub-02_desc-net_probseg.nii.gz").touch()
    done = imported(cli, roots, "--dry-run")
    assert "left out (no reference): 1: sub-09" in done.err
    assert "left out (no map): 1: sub-08_ses-a" in done.err
    assert "found 8 cases" in done.err


def test_several_files_of_an_image_are_chosen_among(roots, tmp_path, cli):
    made.write_maps(roots[0], IMAGES, "_space-MNI_desc-net_probseg.nii.gz")
    made.write_references(roots[1], IMAGES, "_desc-other_dseg.nii.gz")
    made.write_references(roots[1], IMAGES, "_label-lesion_desc-manual_mask.nii.gz")
    done = imported(cli, roots, "--dry-run", expect=1)
    assert "2 files are of sub-01_ses-a" in done.errors[0]
    assert "choose one by --only space=|MNI" in done.errors[0]
    done = imported(cli, roots, "--dry-run", "--only", "space=", expect=1)
    assert "choose one by --labels-only" in done.errors[0]
    assert "suffix=dseg|mask" in done.errors[0]
    chosen = ("--only", "space=", "--labels-only", "suffix=mask")
    done = imported(cli, roots, "--dry-run", *chosen, "--json")
    # A mask of one label goes with the channel of that name.
    assert done.json["regions"] == ["lesion=2:1"]
    assert len(done.json["left_out"]["maps of other entities"]) == 8
    done = imported(cli, roots, "--dry-run", "--only", "space", expect=2)
    assert "KEY=VALUE" in done.err


@pytest.mark.parametrize(
    ("names", "regions"),
    [(["BG", "GM", "WM"], ["GM=1:1", "WM=2:2"]), (["BG", "L", "new"], ["L=1:7"])],
)
def test_without_a_table_labels_are_the_common_ones(tmp_path, cli, names, regions):
    made.write_maps(tmp_path / "maps", IMAGES, names=names)
    made.write_references(tmp_path / "manual", IMAGES, table=False)
    roots = (tmp_path / "maps", tmp_path / "manual")
    done = imported(cli, roots, "--dry-run", "--json")
    assert done.json["regions"] == regions
    lost = "new" in names
    assert any("the common labels of BIDS" in n for n in done.json["notes"]) == lost


def test_the_nearest_metadata_win_and_cases_must_agree(roots, tmp_path, cli):
    own = made.place(roots[0], IMAGES[0], "_desc-net_probseg.json")
    made.write_json(own, {"LabelMap": ["Background", "lesion", "organ"]})
    done = imported(cli, roots, "--dry-run", expect=1)
    assert "case sub-01_ses-b has regions organ=1:2, lesion=2:1" in done.errors[0]
    assert "case sub-01_ses-a has lesion=1:1, organ=2:2" in done.errors[0]
    own.write_text("[")
    done = imported(cli, roots, "--dry-run", expect=1)
    assert f"{own}: not JSON" in done.errors[0]


def test_a_map_of_one_label_is_one_region(tmp_path, cli):
    for image in IMAGES:
        path = made.place(tmp_path / "maps", image, "_label-L_probseg.nii.gz")
        write_nifti(path, np.full(made.SHAPE, 0.5, np.float32))
    made.write_references(tmp_path / "manual", IMAGES)
    roots = (tmp_path / "maps", tmp_path / "manual")
    done = imported(cli, roots, "--dry-run", "--json")
    assert done.json["regions"] == ["L=0:1"]  # by its abbreviation


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        ("table", "a column index of whole numbers"),
        ("names", "its LabelMap must be a list of names"),
        ("empty", "holds no sub-*/.._probseg volume"),
        ("twins", "are one file"),
        ("apart", "no map of"),
    ],
)
def test_what_cannot_be_a_cohort_is_one_line(roots, cli, break_it, message):
    maps, manual = roots
    if break_it == "table":
        (manual / "dseg.tsv").write_text("index\tname\nx\ty\n")
    if break_it == "names":
        made.write_json(maps / "desc-net_probseg.json", {"LabelMap": [1, 2]})
    if break_it == "empty":
        roots = (manual, manual)
    if break_it == "twins":
        first, second = (
            made.place(maps, image, "_desc-net_probseg.nii.gz") for image in IMAGES[:2]
        )
        second.unlink()
        second.hardlink_to(first)
    if break_it == "apart":
        other = maps.parent / "other"
        made.write_references(other, ["sub-77"])
        roots = (maps, other)
    done = imported(cli, roots, "--dry-run", expect=1)
    assert message in done.errors[0]
    assert len(done.errors) == 1
    assert json.dumps(done.out) == '""'
