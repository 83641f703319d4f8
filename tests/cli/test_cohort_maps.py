"""`--cohort` where only maps are wanted: the same masks, looks and maps as of a folder."""

import json

import pytest
from tests.cli.conftest import N_CASES


def write(files, columns, keep=lambda _i: True, name="new.csv"):
    """The cohort in a CSV of some columns, cases in another order."""
    rows = []
    for i in reversed(range(N_CASES)):
        cells = {
            "case_id": f"case_{i:02d}",
            "probs": f"probs/{files.map(i).name}",
            "labels": f"labels/{files.label(i).name}",
            "site": "AB"[i % 2],
            "unit": f"u{i // 2}",
        }
        rows += [",".join(cells[c] for c in columns)] if keep(i) else []
    path = files.root / name
    path.write_text("\n".join([",".join(columns), *rows]) + "\n")
    return path


def contents(folder):
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def test_predict_of_a_cohort_writes_the_masks_of_its_folder(files, calibrated, cli):
    cohort = write(files, ("case_id", "probs"))
    masks = {n: files.root / n for n in ("folder", "rows")}
    of_folder = ("--probs", files.probs, "-o", masks["folder"])
    assert cli("predict", calibrated, *of_folder).code == 0
    assert cli("predict", calibrated, "--cohort", cohort, "-o", masks["rows"]).code == 0
    assert contents(masks["folder"]) == contents(masks["rows"])


def test_predict_takes_the_group_of_a_case_from_its_row(files, cli):
    with_labels = write(files, ("case_id", "probs", "labels", "site"), name="cal.csv")
    table, out = files.root / "s.parquet", files.root / "c.json"
    assert cli("score", "--cohort", with_labels, "-o", table).code == 0
    args = ("--alpha", "0.4", "--group-by", "site", "-o", out)
    assert cli("calibrate", table, *args).code == 0
    masks, cohort = files.root / "m", write(files, ("case_id", "probs", "site"))
    assert cli("predict", out, "--cohort", cohort, "-o", masks).code == 0
    for i in range(N_CASES):
        sidecar = json.loads((masks / f"case_{i:02d}.json").read_text())
        assert sidecar["group"] == "AB"[i % 2]
    bare = write(files, ("case_id", "probs"), name="bare.csv")
    refused = cli("predict", out, "--cohort", bare, "-o", files.root / "n")
    assert (refused.code, len(refused.errors)) == (1, 1)
    assert "no column site" in refused.errors[0]


def test_monitor_bets_on_the_references_and_units_of_a_cohort(files, cli):
    columns = ("case_id", "probs", "labels", "unit")
    old = write(files, columns, lambda i: i < 6, "old.csv")
    new = write(files, columns, lambda i: i >= 6)
    table, out = files.root / "s.parquet", files.root / "c.json"
    assert cli("score", "--cohort", old, "-o", table).code == 0
    args = ("--alpha", "0.4", "--per-unit", "one", "-o", out)
    assert cli("calibrate", table, *args).code == 0
    look = ("monitor", out, "--cohort", new)
    found = cli(*look, "--state", files.root / "state.json", "--json").json
    assert (found["n_new"], found["n_new_references"]) == (3, 3)
    assert "one map of each unit is compared: 3 of 6" in cli(*look, "--once").err
    assert cli(*look, "--labels", files.labels).code == 2


def test_apply_of_a_cohort_knows_its_units(files, cli):
    fit, cohort = files.root / "t.json", write(files, ("case_id", "probs", "unit"))
    half = write(files, ("case_id", "probs", "labels", "unit"), lambda i: i % 2 == 0)
    assert cli("temperature", "fit", "--cohort", half, "-o", fit).code == 0
    cohort = write(files, ("case_id", "probs", "unit"))
    args = ("--cohort", cohort, "-o", files.root / "scaled")
    done = cli("temperature", "apply", fit, *args)
    assert done.code == 0
    assert f"{N_CASES} of {N_CASES} maps of cases or units" in done.err
    names = [p.name for p in files.probs.iterdir()]
    assert set(names) < {p.name for p in (files.root / "scaled").iterdir()}


@pytest.mark.parametrize("command", ["predict", "monitor"])
def test_maps_come_from_one_place(files, calibrated, cli, command):
    cohort = write(files, ("case_id", "probs"))
    end = ("-o", files.root / "x") if command == "predict" else ()
    for given in ((), ("--probs", files.probs, "--cohort", cohort)):
        done = cli(command, calibrated, *given, *end)
        assert done.code == 2
        assert "give either --probs or --cohort" in done.err


def test_one_file_name_in_two_folders_is_refused_by_apply(files, cli):
    fit = files.root / "t.json"
    assert cli("temperature", "fit", *files.options, "-o", fit).code == 0
    other = files.root / "other" / files.map(0).name
    other.parent.mkdir()
    other.write_bytes(files.map(1).read_bytes())
    cohort = files.root / "c.csv"
    cohort.write_text(f"case_id,probs\na,{files.map(0)}\nb,{other}\n")
    done = cli("temperature", "apply", fit, "--cohort", cohort, "-o", files.root / "s")
    assert done.code == 1
    assert f"case a and case b would both write {files.map(0).name}" in done.err
    assert not (files.root / "s").exists()
