"""What maps say of where they come from, through the commands."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from tests.synthetic import case, write_nifti

from coverax.files import digest_json

N = 12


@pytest.fixture
def root(tmp_path):
    """Twelve cases; a second cohort with the same files under other names and units."""
    rng = np.random.default_rng(3)
    for i in range(N):
        probs, mask = case((8, 9, 7), 40, rng)
        write_nifti(tmp_path / "probs" / f"c{i:02}.nii.gz", probs)
        write_nifti(tmp_path / "labels" / f"c{i:02}.nii.gz", mask)
    return tmp_path


def read(path):
    return np.asarray(nib.load(path).dataobj)


def cohort(root, name, case_ids, units):
    lines = ["case_id,unit,probs,labels"]
    for i, (case_id, unit) in enumerate(zip(case_ids, units, strict=True)):
        lines.append(f"{case_id},{unit},probs/c{i:02}.nii.gz,labels/c{i:02}.nii.gz")
    (root / name).write_text("\n".join(lines) + "\n")
    return root / name


def folders(root, probs="probs"):
    return ("--probs", root / probs, "--labels", root / "labels")


@pytest.fixture
def calibrated(root, cli):
    """Score and calibrate; the calibration's path."""

    def run(*files, alpha="0.3", to="c.json"):
        table = root / f"{to}.parquet"
        result = cli("score", *(files or folders(root)), "-o", table)
        assert result.code == 0, result.err
        result = cli("calibrate", table, "--alpha", alpha, "-o", root / to)
        assert result.code == 0, result.err
        return root / to

    return run


CASES, UNITS = [f"c{i:02}" for i in range(N)], [f"patient{i}" for i in range(N)]
OTHERS = [f"x{i}" for i in range(N)]


@pytest.mark.parametrize(
    ("case_ids", "units"),
    [(OTHERS, UNITS), (CASES, OTHERS), (OTHERS, OTHERS)],
    ids=["by unit", "by case id", "by map"],
)
def test_cases_that_calibrated_are_known_by_unit_case_id_or_map(
    root, cli, calibrated, case_ids, units
):
    own = calibrated("--cohort", cohort(root, "one.csv", CASES, UNITS))
    other = cohort(root, "two.csv", case_ids, units)
    if case_ids == CASES:  # other maps, so that names alone tell
        for path in (root / "probs").iterdir():
            write_nifti(path, read(path)[::-1])
        for path in (root / "labels").iterdir():
            write_nifti(path, read(path)[::-1])
    result = cli("evaluate", own, "--cohort", other, "-o", root / "e", "--json")
    assert result.json["n_units_seen_in_calibration"] == N
    assert result.json["held_out"] is False
    (found,) = result.json["results"]
    assert (found["expected_ecr"], found["ecr_band"]) == (None, [])
    result = cli("evaluate", own, "--cohort", other, "-o", root / "e2")
    assert "Not held out: 12 of 12 units" in result.out
    assert "exact law" not in result.out


def test_new_cases_are_held_out_and_have_their_law(root, cli, calibrated):
    own = calibrated()
    for kind in ("probs", "labels"):
        for path in sorted((root / kind).iterdir()):
            write_nifti(root / "new" / kind / f"n{path.name}", read(path)[::-1])
    result = cli("evaluate", own, *folders(root / "new"), "-o", root / "e", "--json")
    assert result.json["held_out"] is True
    assert result.json["results"][0]["expected_ecr"] == 10 / 13


def test_learning_cases_under_other_units_do_not_calibrate(root, cli):
    sides = ("--transform", "inner=identity", "--transform", "outer=identity")
    learning, table = root / "l.parquet", root / "s.parquet"
    cli("score", *folders(root), *sides, "--set-sizes", "-o", learning)
    learned = cli("learn-sets", learning, "--alpha", "0.4", "-o", root / "t.json")
    assert learned.code == 0, learned.err
    for case_ids, what in ((CASES, "cases"), (OTHERS, "maps")):
        files = ("--cohort", cohort(root, "own.csv", case_ids, UNITS))
        assert cli("score", *files, *sides, "-o", table).code == 0
        command = ("calibrate", table, "--method", "sets", "--alpha", "0.4")
        result = cli(*command, "--transforms", root / "t.json", "-o", root / "c.json")
        assert result.code == 1
        assert f"12 of 12 calibration {what} were used to choose" in result.err


@pytest.fixture
def scaled(root, cli):
    """Maps at two temperatures, in `root/cold` and `root/hot`."""
    fit = root / "t.json"
    files = folders(root)
    assert cli("temperature", "fit", *files, "-o", fit).code == 0
    assert cli("temperature", "fit", *files, "--voxels", "50", "-o", root / "u.json")
    for own, to in ((fit, "cold"), (root / "u.json", "hot")):
        result = cli(
            "temperature", "apply", own, "--probs", root / "probs", "-o", root / to
        )
        assert result.code == 0, result.err
    for folder in ("cold", "hot"):  # as if the fit had seen other cases
        record = root / folder / "scaled.json"
        content = json.loads(record.read_text())
        assert set(content["parts"].values()) == {"temperature"}
        del content["digest"]
        content["parts"] = {}
        record.write_text(json.dumps(content | {"digest": digest_json(content)}))
    return root


def test_scaled_and_unscaled_maps_do_not_mix(scaled, cli, calibrated):
    root = scaled
    shutil.copytree(root / "cold", root / "mixed")
    for i in range(3):
        shutil.copy(root / "probs" / f"c{i:02}.nii.gz", root / "mixed")
    result = cli("score", *folders(root, "mixed"), "-o", root / "m.parquet")
    assert (result.code, len(result.errors)) == (1, 1)
    assert "maps are of different kinds" in result.errors[0]
    plain, cold = calibrated(), calibrated(*folders(root, "cold"), to="cold.json")
    for own, probs in ((plain, "cold"), (cold, "probs"), (cold, "hot")):
        maps = ("--probs", root / probs)
        for command in (
            ("predict", own, *maps, "-o", root / "out"),
            ("monitor", own, *maps),
            ("evaluate", own, *folders(root, probs), "-o", root / "e"),
        ):
            result = cli(*command)
            assert (result.code, len(result.errors)) == (1, 1), command
            assert "the calibration is for maps with" in result.errors[0]
    assert cli("predict", cold, "--probs", root / "cold", "-o", root / "out").code == 0
    mask = nib.load(root / "out" / "c00.nii.gz")
    assert b"temperature" not in mask.header["descrip"].tobytes()


def test_parts_travel_through_temperature_apply_and_are_refused(root, cli):
    files = folders(root)
    parts = {f"c{i:02}": "train" if i < 2 else "test" for i in range(N)}
    (root / "probs" / "infer.json").write_text(json.dumps({"parts": parts}))
    table = root / "s.parquet"
    result = cli("score", *files, "-o", table)
    assert "2 cases are of the training part of their model" in result.err
    result = cli("calibrate", table, "--alpha", "0.3", "-o", root / "c.json")
    assert (result.code, len(result.errors)) == (1, 1)
    assert "2 cases are of the training part" in result.errors[0]
    few = root / "few"
    for kind in ("probs", "labels"):
        (few / kind).mkdir(parents=True)
        for i in (5, 6, 7):
            shutil.copy(root / kind / f"c{i:02}.nii.gz", few / kind)
    assert cli("temperature", "fit", *folders(few), "-o", root / "t.json").code == 0
    apply = ("temperature", "apply", root / "t.json", "--probs", root / "probs")
    assert cli(*apply, "-o", root / "out").code == 0
    assert cli("score", *folders(root, "out"), "-o", table).code == 0
    result = cli("calibrate", table, "--alpha", "0.3", "-o", root / "c.json")
    assert "2 cases are of the training part" in result.errors[0]
    assert "3 cases are of units that their temperature" in result.errors[0]


def test_maps_of_training_cases_are_not_held_out(root, cli, calibrated):
    own = calibrated()
    for kind in ("probs", "labels"):
        for path in sorted((root / kind).iterdir()):
            write_nifti(root / "new" / kind / f"n{path.name}", read(path)[::-1])
    record = {"parts": {"nc00": "train", "nc01": "learning", "nc02": "new"}}
    (root / "new" / "probs" / "infer.json").write_text(json.dumps(record))
    result = cli("evaluate", own, *folders(root / "new"), "-o", root / "e", "--json")
    assert result.json["n_units_seen_in_calibration"] == 0
    assert result.json["n_cases_of_spent_parts"] == {"train": 1, "learning": 1}
    assert result.json["held_out"] is False
    assert result.json["results"][0]["expected_ecr"] is None


def cut(root, below):
    """Maps that keep no value below this."""
    for path in (root / "probs").iterdir():
        probs = read(path)
        write_nifti(path, np.where(probs < below, 0, probs).astype(np.float32))


def test_a_threshold_of_0_needs_leave_and_its_cause_is_named(root, cli):
    cut(root, 0.9)
    table, own = root / "s.parquet", root / "c.json"
    result = cli("score", *folders(root), "-o", table)
    assert "no map has a value between 0 and 0.9" in result.err
    command = ("calibrate", table, "--alpha", "0.1", "-o", own)
    result = cli(*command)
    assert (result.code, len(result.errors)) == (1, 1)
    assert "VACUOUS" in result.errors[0]
    assert "cut before they were saved" in result.errors[0]
    assert not own.exists()
    result = cli(*command, "--allow-vacuous")
    assert (result.code, json.loads(own.read_text())["status"]) == (0, "VACUOUS")
    predict = ("predict", own, "--probs", root / "probs", "-o", root / "out")
    assert cli(*predict).code == 1
    result = cli(*predict, "--allow-vacuous")
    assert result.code == 0
    assert "whole volumes among the masks: 12" in result.err
    sidecar = json.loads((root / "out" / "c00.json").read_text())
    assert sidecar["guarantee"] is False
    assert sidecar["masks"][0]["whole_volume"] is True


@pytest.mark.parametrize("method", ["crc", "sets"])
def test_every_method_refuses_a_cut_that_leaves_nothing_out(root, cli, method):
    cut(root, 0.95)
    sides = ("--transform", "inner=identity", "--transform", "outer=identity")
    table = root / "s.parquet"
    assert cli("score", *folders(root), *sides, "-o", table).code == 0
    command = ("calibrate", table, "--alpha", "0.2", "--method", method)
    result = cli(*command, "-o", root / "c.json")
    assert (result.code, len(result.errors)) == (1, 1)
    assert "VACUOUS" in result.errors[0]
    result = cli(*command, "-o", root / "c.json", "--allow-vacuous")
    assert result.code == 0
    assert "NO INFORMATIVE GUARANTEE (VACUOUS)" in result.out


def test_hard_masks_are_refused_by_every_command_that_reads_maps(root, cli, calibrated):
    own = calibrated()
    for path in (root / "probs").iterdir():
        write_nifti(path, (read(path) > 0.5).astype(np.float32))
    maps = ("--probs", root / "probs")
    files = folders(root)
    commands = {
        "score": ("score", *files, "-o", root / "h.parquet"),
        "reliability": ("reliability", *files, "--no-figures", "-o", root / "r"),
        "fit": ("temperature", "fit", *files, "-o", root / "t.json"),
        "predict": ("predict", own, *maps, "-o", root / "out"),
        "monitor": ("monitor", own, *maps),
        "evaluate": ("evaluate", own, *files, "-o", root / "e"),
    }
    for name, command in commands.items():
        result = cli(*command)
        assert (result.code, len(result.errors)) == (1, 1), name
        assert "the maps of 12 cases hold 0 and 1 alone" in result.errors[0], name
        if name == "fit":  # what is allowed there has no temperature
            continue
        resume = ("--resume",) if name in ("score", "predict") else ()
        assert cli(*command, "--allow-hard-masks", *resume).code == 0, name
    assert not (root / "out.partial").exists()


def test_monitor_knows_the_maps_that_calibrated(root, cli, calibrated):
    own = calibrated()
    for i in range(3):
        path = root / "new" / f"other{i}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        shutil.copy(root / "probs" / f"c{i:02}.nii.gz", path)
    result = cli("monitor", own, "--probs", root / "new", "--json")
    assert result.json["n_seen_in_calibration"] == 3
