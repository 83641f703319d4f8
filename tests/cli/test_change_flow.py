"""Changes between two visits through the command line: pairs, list and evaluation."""

import csv
import json
import shutil

import pytest
from tests.cli.conftest import N_CASES

import coverax as cx


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def cohort(files):
    """Six patients of two visits, the later one first in the file."""
    lines = ["case_id,probs,labels,patient,visit"]
    for i in reversed(range(N_CASES)):
        name = files.map(i).name
        lines.append(f"c{i:02},probs/{name},labels/{name},p{i // 2},M{6 * (i % 2):02}")
    path = files.root / "cohort.csv"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def changes(cohort, files, cli):
    table, path = files.root / "s.parquet", files.root / "change.json"
    assert cli("score", "--cohort", cohort, "-o", table).code == 0
    args = ("--method", "volume", "--change", "--alpha", "0.3", "--unit", "patient")
    assert cli("calibrate", table, *args, "-o", path).code == 0
    return path


def test_the_list_holds_what_the_evaluation_says(changes, cohort, files, cli):
    masks, out = files.root / "masks", files.root / "evaluated"
    assert cli("predict", changes, "--cohort", cohort, "-o", masks).code == 0
    assert cli("evaluate", changes, "--cohort", cohort, "-o", out).code == 0
    listed = {r["unit"]: r for r in rows_of(masks / "changes.csv")}
    judged = {r["unit"]: r for r in rows_of(out / "cases.csv")}
    threshold = cx.calibrate.read_calibration(changes).thresholds[0]
    assert threshold.n_units == len(listed) == len(judged) == N_CASES // 2
    for unit, row in listed.items():
        i, case = 2 * int(unit[1:]), judged[unit]
        assert (row["earlier"], row["later"]) == (f"c{i:02}", f"c{i + 1:02}")
        assert (case["earlier"], case["case_id"]) == (row["earlier"], row["later"])
        assert row["change_ml"] == case["volume_ml"]
        low, high = float(row["low_ml"]), float(row["high_ml"])
        assert (low, high) == (float(case["low_ml"]), float(case["high_ml"]))
        assert (case["covered"] == "True") == (low <= float(case["true_ml"]) <= high)
        assert (case["covered"] == "True") == (float(case["score"]) <= threshold.value)
        assert row["excludes_zero"] == str(low > 0 or high < 0)
        both = [json.loads((masks / f"c{k:02}.json").read_text()) for k in (i, i + 1)]
        first, second = (s["masks"][0]["volume_ml"] for s in both)
        assert float(row["change_ml"]) == pytest.approx(second - first)
        assert float(row["earlier_ml"]) == first
    summary = json.loads((out / "evaluation.json").read_text())
    result = summary["results"][0]
    assert result["change"] is True
    assert result["n_counted"] == N_CASES // 2
    assert result["n_zero_excluded"] == sum(
        r["excludes_zero"] == "True" for r in listed.values()
    )
    verdicts = cx.verify.verify_files([masks, out, changes])
    assert {v.status for v in verdicts} == {"whole"}
    page = files.root / "report.html"
    assert cli("report", changes, out, "-o", page).code == 0
    assert "intervals that hold the change" in page.read_text()


def test_shards_and_a_run_that_goes_on_list_the_same(changes, cohort, files, cli):
    whole, parts, joined = (files.root / n for n in ("whole", "parts", "joined"))
    args = ("predict", changes, "--cohort", cohort)
    assert cli(*args, "-o", whole).code == 0
    for shard in ("1/2", "2/2"):
        assert cli(*args, "--shard", shard, "-o", parts).code == 0
    assert cli(*args, "--parts", parts, "-o", joined).code == 0
    names = sorted(p.name for p in whole.iterdir())
    assert names == sorted(p.name for p in joined.iterdir())
    for name in ("changes.csv", "c00.json"):
        assert (whole / name).read_bytes() == (joined / name).read_bytes()


def test_names_of_bids_tell_the_visits(files, cli):
    root, options = files.root / "bids", []
    for i in range(N_CASES):
        name = f"sub-{i // 2:02}_ses-{i % 2 + 1}.nii.gz"
        for kind, source in (("probs", files.map(i)), ("labels", files.label(i))):
            (root / kind).mkdir(parents=True, exist_ok=True)
            shutil.copy(source, root / kind / name)
    options = ("--probs", root / "probs", "--labels", root / "labels")
    table, change, out = (root / n for n in ("s.parquet", "c.json", "out"))
    assert cli("score", *options, "-o", table).code == 0
    args = ("--method", "volume", "--change", "--alpha", "0.3", "-o", change)
    assert cli("calibrate", table, *args).code == 0
    found = cli("predict", change, "--probs", root / "probs", "-o", out)
    assert found.code == 0
    listed = rows_of(out / "changes.csv")
    assert [r["unit"] for r in listed] == [f"sub-{i:02}" for i in range(6)]
    assert cli("evaluate", change, *options, "-o", root / "evaluated").code == 0


def test_new_cases_without_pairs_are_refused_before_the_first_mask(
    changes, cohort, files, cli
):
    out = files.root / "masks"
    found = cli("predict", changes, "--probs", files.probs, "-o", out)
    assert (found.code, len(found.errors)) == (1, 1)
    assert "--cohort" in found.errors[0]
    lines = cohort.read_text().splitlines()
    cohort.write_text("\n".join(lines[:-1]))
    for command in (
        ("predict", changes, "--cohort", cohort, "-o", out),
        ("evaluate", changes, "--cohort", cohort, "-o", out),
    ):
        found = cli(*command)
        assert (found.code, len(found.errors)) == (1, 1)
        assert "unit p0: a change needs two different visits" in found.errors[0]
    assert not out.exists()
    cohort.write_text(cohort.read_text().replace(",visit", ",session"))
    found = cli("predict", changes, "--cohort", cohort, "-o", out)
    assert found.code == 1
    assert "visit" in found.errors[0]


def test_groups_have_changes_of_their_own(cohort, files, cli):
    lines = cohort.read_text().splitlines()
    rows = [f"{line},{'AB'[int(line[1:3]) // 2 % 2]}" for line in lines[1:]]
    cohort.write_text("\n".join([f"{lines[0]},site", *rows]))
    table, change, masks, out = (
        files.root / n for n in ("s.parquet", "c.json", "masks", "out")
    )
    assert cli("score", "--cohort", cohort, "-o", table).code == 0
    args = ("--method", "volume", "--change", "--alpha", "0.5", "--unit", "patient")
    found = cli("calibrate", table, *args, "--group-by", "site", "-o", change)
    assert found.code == 0
    assert cli("predict", change, "--cohort", cohort, "-o", masks).code == 0
    assert cli("evaluate", change, "--cohort", cohort, "-o", out).code == 0
    listed = {r["unit"]: r for r in rows_of(masks / "changes.csv")}
    judged = rows_of(out / "cases.csv")
    assert len(judged) == len(listed) == N_CASES // 2
    for row in judged:
        assert [row["low_ml"], row["high_ml"]] == [
            listed[row["unit"]][k] for k in ("low_ml", "high_ml")
        ]
    cohort.write_text(cohort.read_text().replace(",A", ",B", 1))
    for command, target in (("predict", "more"), ("evaluate", "again")):
        found = cli(command, change, "--cohort", cohort, "-o", files.root / target)
        assert (found.code, len(found.errors)) == (1, 1)
        assert "are of groups A and B" in found.errors[0]
