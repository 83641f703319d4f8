"""Every method from score to evaluation on the command line, and what is refused."""

import csv
import json

import numpy as np
import pytest
from tests import synthetic

from coverax.cli.app import run


def coverax(*args):
    return run([str(a) for a in args])


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """60 cases of 3 sites, one patient each but for two; a score table with curves."""
    folder = tmp_path_factory.mktemp("methods")
    synthetic.write_cohort(folder, 60, (8, 9, 7), 40, seed=3)
    rows = [
        {
            "case_id": f"case_{i:03d}",
            "probs": f"probs/case_{i:03d}.nii.gz",
            "labels": f"labels/case_{i:03d}.nii.gz",
            "unit": f"p{max(i, 1)}",
            "group": "abc"[i % 3],
            "weight": 1 + i % 2,
        }
        for i in range(60)
    ]
    with (folder / "cohort.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    args = ("--cohort", folder / "cohort.csv", "--engine", "host")
    table = folder / "scores.parquet"
    assert coverax("score", *args, "--curves", "-o", table) == 0
    return folder


METHODS = {
    "fnr": ["--alpha", "0.2"],
    "weights": ["--alpha", "0.2", "--weights", "weight"],
    "crc": ["--method", "crc", "--alpha", "0.2"],
    "rcps": ["--method", "rcps", "--alpha", "0.4", "--delta", "0.2"],
    "ltt": ["--method", "ltt", "--alpha", "0.5", "--delta", "0.2", "--also", "fpr=0.5"],
}


@pytest.mark.parametrize("name", METHODS)
def test_calibrate_predict_and_evaluate(cohort, tmp_path, name):
    out = tmp_path / "calibration.json"
    args = (*METHODS[name], "--per-unit", "one", "-o", out)
    if name == "fnr":
        args = (*METHODS[name], "--per-unit", "all", "-o", out)
    assert coverax("calibrate", cohort / "scores.parquet", *args) == 0
    content = json.loads(out.read_text())
    assert content["status"] == "OK"
    masks = tmp_path / "masks"
    assert coverax("predict", out, "--probs", cohort / "probs", "-o", masks) == 0
    assert len(list(masks.glob("*.nii.gz"))) == 60
    cases = ("--cohort", cohort / "cohort.csv", "--engine", "host")
    assert coverax("evaluate", out, *cases, "-o", tmp_path / "evaluation") == 0
    summary = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())
    result = summary["results"][0]
    if name in ("crc", "rcps", "ltt"):
        assert all(risk["mean"] <= risk["level"] for risk in result["risks"])
        assert result["calibrated"]["ecr"] is None
    else:
        assert result["calibrated"]["ecr"] >= 0.8
        assert result["expected_ecr"] is None


def test_groups_go_through_predict_and_evaluate(cohort, tmp_path, capsys):
    out = tmp_path / "calibration.json"
    table = cohort / "scores.parquet"
    args = ("--alpha", "0.2", "--group-by", "group", "--per-unit", "one", "-o", out)
    assert coverax("calibrate", table, *args) == 0
    cuts = {t["group"]: -t["value"] for t in json.loads(out.read_text())["thresholds"]}
    assert list(cuts) == ["a", "b", "c"]
    masks = tmp_path / "masks"
    predict = ("predict", out, "--probs", cohort / "probs", "-o", masks)
    assert coverax(*predict) == 1
    assert "--groups" in capsys.readouterr().err
    groups = tmp_path / "groups.csv"
    lines = [f"case_{i:03d},{'abc'[i % 3]}" for i in range(60)]
    groups.write_text("\n".join(["case_id,group", *lines]))
    assert coverax(*predict, "--groups", groups) == 0
    sidecar = json.loads((masks / "case_001.json").read_text())
    assert sidecar["group"] == "b"
    assert sidecar["masks"][0]["probability_threshold"]["value"] == cuts["b"]
    cases = ("--cohort", cohort / "cohort.csv", "--engine", "host")
    assert coverax("evaluate", out, *cases, "-o", tmp_path / "e") == 0
    summary = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    found = {
        r["group"]: r["calibrated"]["probability_threshold"] for r in summary["results"]
    }
    assert found == cuts
    groups.write_text("\n".join(["case_id,group", "case_000,z"]))
    unseen = ("predict", out, "--probs", cohort / "probs", "-o", tmp_path / "new")
    assert coverax(*unseen, "--groups", groups) == 1
    assert "group 'z' was not calibrated, only a, b, c" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--method", "rcps", "--alpha", "0.1"], 2, "needs --delta"),
        (["--method", "crc", "--alpha", "0.1", "--weights", "weight"], 2, "--weights"),
        (["--method", "crc", "--alpha", "0.1", "--tolerance", "0.1"], 2, "--tolerance"),
        (["--method", "crc", "--alpha", "0.1", "--loss", "dice"], 1, "ltt can"),
        (["--method", "crc", "--alpha", "0.001"], 1, "INFEASIBLE"),
        (
            ["--method", "ltt", "--alpha", "0.1", "--delta", "0.1", "--also", "x"],
            2,
            "LOSS",
        ),
        (["--alpha", "0.1", "--group-by", "nothing"], 1, "no column 'nothing'"),
        (["--alpha", "0.1", "--unit", "nothing"], 1, "no column 'nothing'"),
        (["--method", "sets", "--alpha", "0.1", "--per-unit", "all"], 2, "--per-unit"),
    ],
)
def test_what_cannot_be_given_is_refused(cohort, tmp_path, capsys, args, code, message):
    if "--per-unit" not in args:
        args = [*args, "--per-unit", "one"]
    out = tmp_path / "c.json"
    assert coverax("calibrate", cohort / "scores.parquet", *args, "-o", out) == code
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_validate_writes_exact_numbers_and_says_which_evidence_is_which(
    cohort, tmp_path, capsys
):
    args = ["--alpha", "0.1", "--alpha", "0.3", "--fraction", "0.5", "--splits", "200"]
    more = ["--hold-out-by", "group", "--order-by", "case_id"]
    out = tmp_path / "v"
    table = cohort / "scores.parquet"
    assert coverax("validate", table, *args, *more, "-o", out) == 0
    found = json.loads((out / "validation.json").read_text())
    (result,) = found["results"]
    assert result["n_units"] == 59
    for row in result["splits"]:
        assert row["coverage_mean"] == pytest.approx(row["expected"], abs=1e-9)
        # One unit owns two cases: the hierarchical threshold over every split of units.
        assert row["whole_units"]["coverage_mean"] >= row["whole_units"]["least"]
        spread = 6 * row["coverage_sd"] / np.sqrt(200) + 0.03
        assert abs(row["random"]["coverage_mean"] - row["coverage_mean"]) < spread
        assert set(row["metrics"]) == {"fnr", "p_fnr", "fpr", "pc", "dice", "volume_ml"}
    assert [r["group"] for r in result["hold_out"]] == ["a", "a", "b", "b", "c", "c"]
    assert set(found["evidence"]) == {"splits", "hold_out", "order"}
    assert "say nothing about new cases from elsewhere" in capsys.readouterr().out


def test_validate_metrics_are_those_of_masks_over_every_split(cohort, tmp_path):
    """FNR and predicted share against the volumes, by all splits of six cases."""
    import itertools

    import nibabel as nib

    import coverax as cx
    from coverax.validate.metrics import critical_metrics

    table = cx.scores.read_table(cohort / "scores.parquet")
    rows = np.arange(2, 8)
    load = [
        [
            np.asarray(nib.nifti1.load(cohort / d / f"case_{i:03d}.nii.gz").dataobj)
            for d in ("probs", "labels")
        ]
        for i in rows
    ]
    critical = table.critical_probability(0.1)[rows]
    cases = cx.calibrate.cases_of(
        table.column("case_id"), rows, np.ones(table.n_rows, bool)
    )
    metrics = critical_metrics(table, "foreground", 0.1, cases)
    fnr, pc = [], []
    for chosen in itertools.combinations(range(6), 4):
        t = cx.calibrate.split_threshold(-critical[list(chosen)], "0.4")
        rest = [i for i in range(6) if i not in chosen]
        fnr.append(np.mean([(load[i][0][load[i][1] > 0] < -t).mean() for i in rest]))
        pc.append(np.mean([(load[i][0] >= -t).mean() for i in rest]))
    found = cx.validate.all_splits(-critical, 4, "0.4", metrics)
    assert found.metric_means["fnr"] == pytest.approx(np.mean(fnr), abs=1e-12)
    assert found.metric_means["pc"] == pytest.approx(np.mean(pc), abs=1e-12)


def test_without_curves_validate_reports_coverage_alone(cohort, tmp_path):
    table = tmp_path / "s.parquet"
    args = ("--cohort", cohort / "cohort.csv", "--engine", "host")
    assert coverax("score", *args, "-o", table) == 0
    assert coverax("validate", table, "--alpha", "0.1", "-o", tmp_path / "v") == 0
    found = json.loads((tmp_path / "v" / "validation.json").read_text())
    assert found["metrics"].startswith("coverage alone")
    assert found["results"][0]["splits"][0]["metrics"] == {}
    assert coverax("validate", table, "--alpha", "0.1", "-o", tmp_path / "v") == 1
    assert coverax("validate", table, "--alpha", "2", "-o", tmp_path / "w") == 2
    bad = ("--alpha", "0.1", "--splits", "many", "-o", tmp_path / "w")
    assert coverax("validate", table, *bad) == 2


def test_validate_without_a_folder_prints_and_writes_nothing(
    cohort, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert coverax("validate", cohort / "scores.parquet", "--alpha", "0.1") == 0
    assert "r/(n+1)" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_monitor_is_silent_on_the_same_maps_and_alarms_on_others(
    cohort, tmp_path, capsys
):
    out = tmp_path / "c.json"
    table = cohort / "scores.parquet"
    args = ("--alpha", "0.2", "--per-unit", "one", "-o", out)
    assert coverax("calibrate", table, *args) == 0
    capsys.readouterr()
    same = ("monitor", out, "--json")
    assert coverax(*same, "--probs", cohort / "probs") == 0
    assert json.loads(capsys.readouterr().out)["drift"] is False
    rng = np.random.default_rng(0)
    for i in range(30):
        probs, _ = synthetic.case((8, 9, 7), 40, rng)
        synthetic.write_nifti(tmp_path / "new" / f"n{i}.nii.gz", probs**0.7)
    assert coverax(*same, "--probs", tmp_path / "new") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["drift"] is True
    assert found["n_new"] == 30
