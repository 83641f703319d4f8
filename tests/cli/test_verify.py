"""`verify`: what was written is whole, what was altered is not, the rest is not ours."""

import json

import pytest


@pytest.fixture(scope="module")
def written(template, tmp_path_factory):
    """A folder with a file of every kind that needs no training."""
    from coverax.cli.app import run

    root = tmp_path_factory.mktemp("written")
    cases = ("--probs", template / "probs", "--labels", template / "labels")
    for args in (
        ("score", *cases, "--engine", "host", "-o", root / "s.parquet"),
        ("calibrate", root / "s.parquet", "--alpha", ".3", "-o", root / "c.json"),
        ("predict", root / "c.json", "--probs", cases[1], "-o", root / "masks"),
        ("evaluate", root / "c.json", *cases, "--engine", "host", "-o", root / "ev"),
        ("validate", root / "s.parquet", "--alpha", ".3", "-o", root / "va"),
        (*("reliability", root / "s.parquet", "--draws", "0"), "-o", root / "rel"),
        ("temperature", "fit", *cases, "-o", root / "t.json"),
    ):
        assert run([str(a) for a in args]) == 0
    return root


def verdicts_of(*paths):
    from coverax.verify import verify_files

    return {v.path.name: v for v in verify_files(paths)}


def test_all_that_the_commands_write_is_whole(written):
    found = verdicts_of(written)
    sealed = {n: v for n, v in found.items() if not n.endswith((".png", ".svg"))}
    assert {v.status for v in sealed.values()} == {"whole"}
    assert {"s.parquet", "c.json", "case_00.nii.gz", "cases.parquet"} <= sealed.keys()
    digest = json.loads((written / "c.json").read_text())["digest"]
    assert found["case_00.json"].about["calibration_digest"] == digest
    assert found["case_00.nii.gz"].about == {"belongs_to": "case_00.json"}
    assert found["s.parquet"].about["n_rows"] == 12


@pytest.mark.parametrize(
    "name",
    [
        *("s.parquet", "c.json", "t.json", "masks/case_03.json", "ev/evaluation.json"),
        *("masks/case_03.nii.gz", "ev/cases.csv", "va/validation.json"),
        *("rel/reliability.json", "rel/cases.parquet"),
    ],
)
def test_one_altered_byte_is_said_and_is_exit_1(written, cli, name):
    path = written / name
    before = path.read_bytes()
    data = bytearray(before)
    at = data.find(b"0.") if path.suffix in (".json", ".csv") else len(data) // 2
    data[at] ^= 1
    path.write_bytes(data)
    try:
        found = cli("verify", path)
        assert found.code == 1
        assert f"damaged: {path}" in found.out
        assert "not whole: 1 of 1 file" in found.errors[0]
        folder = cli("verify", path.parent, "--json")
        named = [v["path"] for v in folder.json if v["status"] == "damaged"]
        assert str(path) in named
    finally:
        path.write_bytes(before)
    assert cli("verify", path).code == 0


def test_a_mask_of_another_case_is_noticed(written, cli):
    mask, other = (written / "masks" / f"case_0{i}.nii.gz" for i in (1, 2))
    before = mask.read_bytes()
    mask.write_bytes(other.read_bytes())
    try:
        assert verdicts_of(mask)[mask.name].status == "damaged"
        assert "is not the file" in verdicts_of(written / "masks")["case_01.json"].what
    finally:
        mask.write_bytes(before)


def test_a_file_of_another_is_said_to_be_unknown(tmp_path, cli):
    (tmp_path / "notes.json").write_text('{"a": 1}')
    (tmp_path / "x.csv").write_text("a\n")
    found = cli("verify", tmp_path)
    assert found.code == 0
    assert found.out.count("unknown: ") == 2
    assert cli("verify", tmp_path / "none").code == 1


def test_a_journal_is_checked_line_by_line(tmp_path):
    from coverax.stream import Journal

    journal = Journal(tmp_path / "out", {}, resume=False)
    for key in "abc":
        journal.add(key, {"rows": [key]})
    journal.close(keep=True)
    assert verdicts_of(tmp_path)[journal.path.name].status == "whole"
    text = journal.path.read_text()
    journal.path.write_text(text.replace('["b"]', '["c"]'))
    found = verdicts_of(tmp_path)[journal.path.name]
    assert (found.status, "1 of 3 lines" in found.what) == ("damaged", True)
