"""What a command refuses before it spends anything, in one line that helps."""

import shutil
from pathlib import Path

import pytest

from coverax.files import publish_sealed_json
from coverax.stream import Journal
from coverax.volumes import read_groups

PARTS = ("probs", "labels")


def test_a_column_that_is_not_there_is_answered_with_those_that_could_be(
    template, tmp_path, cli
):
    cases = ("--probs", template / "probs", "--labels", template / "labels")
    table = tmp_path / "s.parquet"
    assert cli("score", *cases, "--engine", "host", "-o", table).code == 0
    for option in ("--unit", "--group-by", "--weights"):
        args = ("--alpha", ".3", option, "WRONG", "-o", tmp_path / "c")
        found = cli("calibrate", table, *args)
        assert found.code == 1
        assert "n_voxels" not in found.errors[0]
        assert ("weight" if option == "--weights" else "unit, group") in found.errors[0]


def test_copies_are_refused_in_evaluation_too(template, tmp_path, cli):
    for part in ("probs", "labels"):
        shutil.copytree(template / part, tmp_path / part)
    cases = ("--probs", tmp_path / "probs", "--labels", tmp_path / "labels")
    table, calibration = tmp_path / "s.parquet", tmp_path / "c.json"
    assert cli("score", *cases, "--engine", "host", "-o", table).code == 0
    assert cli("calibrate", table, "--alpha", ".3", "-o", calibration).code == 0
    for part in ("probs", "labels"):
        own = tmp_path / part / "case_00.nii.gz"
        shutil.copy(own, own.with_name("copy.nii.gz"))
    found = cli(
        "evaluate", calibration, *cases, "--engine", "host", "-o", tmp_path / "e"
    )
    assert found.code == 1
    assert "one map under several names" in found.errors[0]


def test_copies_in_two_groups_are_refused_too(template, tmp_path, cli):
    names = sorted(p.name[:-7] for p in (template / "probs").iterdir())
    rows = [
        ",".join(
            [name, *(f"{template}/{part}/{name}.nii.gz" for part in PARTS), "AB"[i % 2]]
        )
        for i, name in enumerate(names)
    ]
    cohort, calibration = tmp_path / "cohort.csv", tmp_path / "c.json"
    cohort.write_text("\n".join(["case_id,probs,labels,group", *rows]))
    cases = ("--cohort", cohort, "--engine", "host")
    assert cli("score", *cases, "-o", tmp_path / "s.parquet").code == 0
    level = ("--alpha", ".4", "--group-by", "group")
    assert cli("calibrate", tmp_path / "s.parquet", *level, "-o", calibration).code == 0
    shutil.copy(template / "probs" / f"{names[0]}.nii.gz", tmp_path / "copy.nii.gz")
    copied = f"copy,copy.nii.gz,{template}/labels/{names[0]}.nii.gz,B"
    cohort.write_text("\n".join(["case_id,probs,labels,group", *rows, copied]))
    found = cli("evaluate", calibration, *cases, "-o", tmp_path / "e")
    assert found.code == 1
    assert "one map under several names" in found.errors[0]


def test_a_temperature_is_not_fitted_on_training_cases(template, tmp_path, cli):
    shutil.copytree(template / "probs", tmp_path / "probs")
    record = {"schema": 1, "parts": {"case_00": "train"}}
    publish_sealed_json(tmp_path / "probs" / "infer.json", record)
    cases = ("--probs", tmp_path / "probs", "--labels", template / "labels")
    found = cli("temperature", "fit", *cases, "-o", tmp_path / "t.json")
    assert found.code == 1
    assert "1 case is of the training part" in found.errors[0]


def test_groups_are_read_by_the_name_that_was_calibrated(tmp_path):
    path = tmp_path / "g.csv"
    path.write_text("case_id,group,site\na,A,S\n", encoding="utf-8")
    assert read_groups(path, "site", instead="group") == {"a": "S"}
    assert read_groups(path, "scanner", instead="group") == {"a": "A"}
    path.write_text("case_id,place\na,A\n", encoding="utf-8")
    with pytest.raises(ValueError, match="site or group is missing; it has case_id, p"):
        read_groups(path, "site", instead="group")


@pytest.mark.parametrize(
    "command",
    [
        ("predict", "c.json", "--probs", "probs"),
        ("temperature", "apply", "t.json", "--probs", "probs"),
        ("pack", "probs"),
        ("export", "probs"),
        ("picture", "masks", "--probs", "probs"),
    ],
    ids=lambda command: command[0],
)
def test_what_a_failed_run_has_kept_is_said_once(
    command, template, tmp_path, cli, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for part in PARTS:
        shutil.copytree(template / part, part)
    cases = ("--probs", "probs", "--labels", "labels")
    for made in (
        ("score", *cases, "--engine", "host", "-o", "s.parquet"),
        ("calibrate", "s.parquet", "--alpha", ".3", "-o", "c.json"),
        ("temperature", "fit", *cases, "-o", "t.json"),
        ("predict", "c.json", "--probs", "probs", "-o", "masks"),
    ):
        assert cli(*made).code == 0
    read = "masks" if "masks" in command else "probs"  # what it reads as it goes
    other, *_, spoilt = sorted(Path(read).glob("*.nii.gz"))
    good = spoilt.read_bytes()
    spoilt.write_bytes(good[:-9] if read == "probs" else other.read_bytes())
    failed = cli(*command, "-o", "out")
    assert failed.code == 1
    assert failed.err.count("are kept: go on with --resume") == 1
    spoilt.write_bytes(good)
    assert cli(*command, "-o", "out", "--resume").code == 0


def test_a_refused_run_does_not_speak_of_what_another_has_kept(template, tmp_path, cli):
    cases = ("--probs", template / "probs", "--labels", template / "labels")
    table, calibration = tmp_path / "s.parquet", tmp_path / "c.json"
    assert cli("score", *cases, "--engine", "host", "-o", table).code == 0
    assert cli("calibrate", table, "--alpha", ".3", "-o", calibration).code == 0
    other = Journal(tmp_path / "m", {}, resume=False)
    (tmp_path / "m.partial").mkdir()
    other.add("case_00", {})
    found = cli("predict", calibration, *cases[:2], "-o", tmp_path / "m")
    other.close(keep=False)
    assert found.code == 1
    assert "another run is writing it" in found.err
    assert "are kept" not in found.err
