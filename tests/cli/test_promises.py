"""What the command line promises: floors, scarce regions, pictures, looks, laws."""

import json
from fractions import Fraction

import nibabel as nib
import numpy as np
import pytest
from tests import bags
from tests.synthetic import write_nifti

import coverax as cx
from coverax.volumes import Case, Cohort


@pytest.fixture(scope="module")
def singleton_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("singletons")
    bag = bags.singletons("host")
    for row, case_id in enumerate(bag.column("case_id")):
        write_nifti(folder / "probs" / f"{case_id}.nii.gz", bag.probs[row])
        write_nifti(folder / "labels" / f"{case_id}.nii.gz", bag.labels[row])
    return folder


def test_the_floor_keeps_its_promise_through_predict_and_evaluate(
    singleton_files, tmp_path
):
    """Exactly rank of those `other` serves, groups never met among them."""
    bag = bags.singletons("host")
    folder = singleton_files
    ids, groups = bag.column("case_id"), bag.column("group")
    definition = cx.scores.ScoreDefinition(tolerances=(bags.TOLERANCE,))
    cases = {
        case_id: Case(
            case_id=case_id,
            probs=folder / "probs" / f"{case_id}.nii.gz",
            labels=folder / "labels" / f"{case_id}.nii.gz",
            unit=case_id,
            group=group,
        )
        for case_id, group in zip(ids, groups, strict=True)
    }
    whole = cx.scores.score_cohort(
        Cohort(tuple(cases.values()), {}), definition, engine="host"
    )
    bag = bags.Bag(whole, bag.probs, bag.labels)
    complied = evaluated = 0
    for case_id, group in zip(ids, groups, strict=True):
        found = cx.calibrate.calibrate_fnr(
            bag.without(case_id), "0.1", group_by="group", group_floor=5
        )
        out = tmp_path / case_id
        maps = {case_id: cases[case_id].probs}
        cx.predict.predict_folder(found, maps, out, groups={case_id: group})
        mask = np.asarray(nib.load(out / f"{case_id}.nii.gz").dataobj) > 0
        reference = np.asarray(nib.load(cases[case_id].labels).dataobj) > 0
        missed = int((reference & ~mask).sum())
        complied += missed <= Fraction("0.1") * int(reference.sum())
        summary = cx.evaluate.evaluate_groups(
            found, Cohort((cases[case_id],), {}), engine="host"
        ).summary
        (result,) = summary.results
        assert result.group == "other"
        evaluated += result.calibrated.n_compliant
    rank = cx.calibrate.conformal_rank(39, "0.1")
    assert (complied, evaluated) == (rank, rank)


@pytest.fixture
def two_regions(tmp_path):
    """Channels of a common structure, and of one that three of fifteen cases have."""
    probs, labels = bags.maps(15, 1)
    for i, (p, y) in enumerate(zip(probs, labels, strict=True)):
        rare = np.zeros_like(y) if i >= 3 else y & (p > np.median(p[y]))
        codes = np.where(rare, 2, np.where(y, 1, 0)).astype(np.uint8)
        both = np.stack([p, p], axis=-1)
        write_nifti(tmp_path / "probs" / f"c{i:02d}.nii.gz", both)
        write_nifti(tmp_path / "labels" / f"c{i:02d}.nii.gz", codes)
    return tmp_path


def test_a_scarce_region_gets_no_mask_and_the_others_do(two_regions, cli):
    folder = two_regions
    where = ("--probs", folder / "probs", "--labels", folder / "labels")
    regions = ("--region", "common=0:1", "--region", "rare=1:2")
    scores, c = folder / "s.parquet", folder / "c.json"
    assert cli("score", *where, *regions, "-o", scores).code == 0
    asked = ("calibrate", scores, "--alpha", "0.2", "--tolerance", "0.1", "-o", c)
    refused = cli(*asked)
    assert refused.code == 1
    assert "region rare: TOO_FEW_CASES" in refused.errors[0]
    assert not c.exists()
    assert cli(*asked, "--allow-scarce", "--allow-vacuous").code == 2
    done = cli(*asked, "--allow-scarce")
    assert done.code == 0
    assert "region rare: refused (TOO_FEW_CASES): no mask" in done.out
    masks = folder / "masks"
    shown = cli("predict", c, "--probs", folder / "probs", "-o", masks)
    assert shown.code == 0, shown.err
    assert "no mask of rare" in shown.err
    assert sorted(path.name for path in masks.glob("c00*")) == [
        "c00.json",
        "c00_common.nii.gz",
    ]
    sidecar = json.loads((masks / "c00.json").read_text())
    assert sidecar["guarantee"] is True
    assert [entry["mask"] for entry in sidecar["masks"]] == ["c00_common.nii.gz", None]
    found = cli("evaluate", c, *where, "-o", folder / "e", "--json").json
    assert [result["region"] for result in found["results"]] == ["common"]
    assert found["not_evaluated"] == {"rare": "refused in calibration (TOO_FEW_CASES)"}


@pytest.fixture(scope="module")
def set_files(tmp_path_factory):
    """Twenty cases of sets, their maps with and without ties."""
    folder = tmp_path_factory.mktemp("sets")
    bag = bags.sets("host", 3, ("inner=surface", "outer=surface"))
    for i in range(20):
        part = "cal" if i < 15 else "new"
        for kind, arrays in (("probs", bag.probs), ("labels", bag.labels)):
            path = folder / part / kind / f"c{i:02d}.nii.gz"
            write_nifti(path, arrays[i], bags.SPACING_MM)
    return folder


@pytest.fixture
def set_calibration(set_files, tmp_path, cli):
    where = [
        w
        for kind in ("probs", "labels")
        for w in (f"--{kind}", set_files / "cal" / kind)
    ]
    asked = ("--transform", "inner=surface", "--transform", "outer=surface")
    scores, c = tmp_path / "s.parquet", tmp_path / "c.json"
    assert cli("score", *where, *asked, "-o", scores).code == 0
    method = ("--method", "sets", "--joint", "max", "--regions", "joint")
    assert cli("calibrate", scores, *method, "--alpha", "0.2", "-o", c).code == 0
    return c


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("missing", "case c17: no scan in"),
        ("transposed", "case c17: "),
        ("moved", "case c17: the affines of"),
        ("folder", "no such folder"),
    ],
)
def test_a_wrong_scan_is_refused_by_name_before_anything_is_predicted(
    change, why, set_calibration, set_files, tmp_path, cli
):
    pytest.importorskip("matplotlib")
    images = scans(set_files, tmp_path / "images")
    path = images / "c17_0000.nii.gz"
    if change == "missing":
        path.unlink()
    elif change == "transposed":
        write_nifti(path, np.zeros((8, 9, 11), np.float32), bags.SPACING_MM)
    elif change == "moved":
        write_nifti(path, np.zeros((9, 11, 8), np.float32), (1.0, 1.5, 2.2))
    else:
        images = tmp_path / "nowhere"
    found = drawn(cli, set_calibration, set_files, tmp_path, images)
    assert found.code == 1
    assert why in found.errors[0]
    if change != "folder":
        assert found.errors[1:] == [
            "error: no scan that can be drawn of 1 of 5 cases; without "
            "--images maps are drawn on (of coverax picture by --probs)"
        ]
    assert not (tmp_path / "masks").exists()
    assert not (tmp_path / "masks.partial").exists()


def test_scans_of_nnunet_names_are_drawn(set_calibration, set_files, tmp_path, cli):
    pytest.importorskip("matplotlib")
    images = scans(set_files, tmp_path / "images")
    found = drawn(cli, set_calibration, set_files, tmp_path, images)
    assert found.code == 0, found.err
    onto_maps = cli(
        *("predict", set_calibration, "--probs", set_files / "new" / "probs"),
        *("-o", tmp_path / "again", "--overlay", tmp_path / "on_maps"),
    )
    assert onto_maps.code == 0
    pictures = [
        (tmp_path / name / "c17.png").read_bytes() for name in ("png", "on_maps")
    ]
    assert pictures[0] != pictures[1]


def scans(set_files, folder):
    rng = np.random.default_rng(0)
    for path in sorted((set_files / "new" / "probs").iterdir()):
        name = path.name.replace(".nii.gz", "_0000.nii.gz")
        scan = rng.random((9, 11, 8)).astype(np.float32)
        write_nifti(folder / name, scan, bags.SPACING_MM)
    return folder


def drawn(cli, calibration, set_files, folder, images):
    return cli(
        *("predict", calibration, "--probs", set_files / "new" / "probs"),
        *("-o", folder / "masks", "--overlay", folder / "png", "--images", images),
    )


def test_all_regions_and_both_ratios_are_printed(
    set_calibration, set_files, tmp_path, cli
):
    where = [
        w
        for kind in ("probs", "labels")
        for w in (f"--{kind}", set_files / "new" / kind)
    ]
    shown = cli("evaluate", set_calibration, *where, "-o", tmp_path / "e")
    assert shown.code == 0, shown.err
    assert "All regions at once: " in shown.out
    assert "of 5 cases are covered" in shown.out.replace("\n", " ")
    assert "size ratio (cube root)" in shown.out
    assert "volume ratio" in shown.out
    rows = json.loads((tmp_path / "e" / "evaluation.json").read_text())["results"]
    assert rows[0]["n_axes"] == 3
    with (tmp_path / "e" / "cases.csv").open() as stream:
        names, first = (next(stream).strip().split(",") for _ in range(2))
    case = dict(zip(names, first, strict=True))
    size, volume = (float(case[f"outer_{k}_ratio"]) for k in ("size", "volume"))
    assert size**3 == pytest.approx(volume)


def test_validate_does_not_answer_for_sets_with_another_method(
    set_calibration, tmp_path, cli
):
    del set_calibration
    refused = cli("validate", tmp_path / "s.parquet", "--alpha", "0.2")
    assert refused.code == 1
    assert len(refused.errors) == 1
    assert "scores of sets (inner=surface:cut=0.5" in refused.errors[0]
    for method in ("fnr", "sets"):
        args = ("validate", tmp_path / "s.parquet", "--alpha", "0.2", "--json")
        named = cli(*args, "--method", method)
        assert named.code == 0, named.err
        assert named.json["method"] == method


@pytest.mark.parametrize("levels", [None, 4])
def test_an_evaluation_claims_the_exact_law_where_no_score_ties(levels, tmp_path, cli):
    probs, labels = bags.maps(40, 5, levels=levels)
    for i in range(40):
        part = tmp_path / ("cal" if i < 20 else "new")
        write_nifti(part / "probs" / f"c{i:02d}.nii.gz", probs[i])
        write_nifti(part / "labels" / f"c{i:02d}.nii.gz", labels[i])
    cal, new = (
        ("--probs", tmp_path / p / "probs", "--labels", tmp_path / p / "labels")
        for p in ("cal", "new")
    )
    scores, c = tmp_path / "s.parquet", tmp_path / "c.json"
    assert cli("score", *cal, "--tolerance", "0.1", "-o", scores).code == 0
    # Of few levels the cut is 0 here, which says nothing but keeps its law.
    vacuous = () if levels is None else ("--allow-vacuous",)
    assert cli("calibrate", scores, "--alpha", "0.2", "-o", c, *vacuous).code == 0
    shown = cli("evaluate", c, *new, "-o", tmp_path / "e")
    assert shown.code == 0, shown.err
    text = " ".join(shown.out.split())
    (result,) = json.loads((tmp_path / "e" / "evaluation.json").read_text())["results"]
    band = result["ecr_band"][0]
    if levels is None:
        assert "the exact law expects 81.0%" in text
        assert result["law"] == "exact"
        assert band["high"] is not None
    else:
        assert "scores tie, so the law says at least 81.0%" in text
        assert "exact law" not in text
        assert (result["law"], band["high"]) == ("at_least", None)
        assert result["n_tied"] > 1


def test_monitor_says_that_its_level_is_of_one_look(singleton_files, tmp_path, cli):
    where = [w for k in ("probs", "labels") for w in (f"--{k}", singleton_files / k)]
    scores, c = tmp_path / "s.parquet", tmp_path / "c.json"
    assert cli("score", *where, "-o", scores).code == 0
    levels = ("--alpha", "0.2", "--tolerance", "0.1")
    assert cli("calibrate", scores, *levels, "-o", c).code == 0
    look = ("monitor", c, "--probs", singleton_files / "probs")
    shown = cli(*look)
    assert "of this look" in shown.out
    assert "82 % of healthy years" in shown.out
    assert "The level is of one look" in cli(*look, "--json").json["looks"]
    assert "of this one look" in " ".join(
        cli("monitor", "--help").out.replace("│", " ").split()
    )
