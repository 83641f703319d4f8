"""Several raters a case and lesions, from score to validation on the command line."""

import csv
import json

import numpy as np
import pytest
from tests.oracles.lesions import missed_share
from tests.synthetic import write_nifti

import coverax as cx

N, RATERS, SHAPE = 24, ("ann", "bob"), (7, 6, 5)


def arrays():
    rng = np.random.default_rng(0)
    for i in range(N):
        field = rng.standard_normal(SHAPE)
        probs = (1 / (1 + np.exp(-2 * field))).astype(np.float32)
        yield i, probs, [field + rng.normal(0, 0.4, SHAPE) > 1 for _ in RATERS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Maps, one folder of references a rater, and the same as cohort.csv."""
    root = tmp_path_factory.mktemp("raters")
    rows = []
    for i, probs, masks in arrays():
        write_nifti(root / "probs" / f"c{i:02d}.nii.gz", probs)
        for rater, mask in zip(RATERS, masks, strict=True):
            write_nifti(root / "labels" / rater / f"c{i:02d}.nii.gz", mask)
            rows.append(
                {
                    "case_id": f"c{i:02d}",
                    "probs": f"probs/c{i:02d}.nii.gz",
                    "labels": f"labels/{rater}/c{i:02d}.nii.gz",
                    "rater": rater,
                    "unit": f"p{i}",
                }
            )
    write_csv(root / "cohort.csv", rows)
    return root


def write_csv(path, rows):
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def scored(folder, tmp_path, cli):
    options = ("--lesions", "corner", "--curves", "--engine", "host")
    table = tmp_path / "s.parquet"
    assert (
        cli("score", "--cohort", folder / "cohort.csv", *options, "-o", table).code == 0
    )
    return table


def test_folders_of_raters_and_cohort_csv_score_the_same(folder, scored, cli, tmp_path):
    both = ("--probs", folder / "probs", "--labels", folder / "labels")
    table = tmp_path / "f.parquet"
    assert cli("score", *both, "--lesions", "corner", "-o", table).code == 0
    one, two = cx.scores.read_table(table), cx.scores.read_table(scored)
    for name in ("case_id", "rater", "critical_probability@0.1", "n_foreground"):
        np.testing.assert_array_equal(one.column(name), two.column(name))
    assert set(one.column("rater")) == set(RATERS)


def test_worst_of_raters_through_every_command(folder, scored, cli, tmp_path):
    out = tmp_path / "c.json"
    refused = cli("calibrate", scored, "--alpha", "0.2", "-o", out)
    assert refused.code == 1
    assert "--raters worst" in refused.errors[0]
    args = ("--alpha", "0.2", "--raters", "worst", "-o", out)
    assert cli("calibrate", scored, *args).code == 0
    content = json.loads(out.read_text())
    assert content["options"]["raters"] == "worst"
    cut = content["probability_threshold"]["value"]
    cases = ("--cohort", folder / "cohort.csv", "--engine", "host")
    assert cli("evaluate", out, *cases, "-o", tmp_path / "e").code == 0
    summary = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    result = summary["results"][0]
    fnr, detected, complies, dice = [], [], [], []
    for _, probs, masks in arrays():
        missed = [(m & (probs < cut)).sum() for m in masks]
        pairs = list(zip(missed, masks, strict=True))
        mask = probs >= cut
        dice.append(min(2 * (m & mask).sum() / (m.sum() + mask.sum()) for m in masks))
        fnr.append(max(n / m.sum() for n, m in pairs))
        complies.append(all(n <= int(0.1 * m.sum() + 1e-9) for n, m in pairs))
        detected.append(min(1 - missed_share(probs, m, cut, "corner") for m in masks))
    assert result["n_counted"] == N
    assert result["calibrated"]["ecr"] == pytest.approx(np.mean(complies))
    assert result["calibrated"]["fnr_mean"] == pytest.approx(np.mean(fnr))
    assert result["calibrated"]["dice"] == pytest.approx(np.mean(dice))
    assert result["calibrated"]["lesion_detection"] == pytest.approx(np.mean(detected))
    with (tmp_path / "e" / "cases.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2 * N
    assert sum(row["counted"] == "True" for row in rows) == N
    levels = ("--alpha", "0.2", "--raters", "worst")
    assert cli("validate", scored, *levels, "-o", tmp_path / "v").code == 0
    found = json.loads((tmp_path / "v" / "validation.json").read_text())
    row = found["results"][0]["splits"][0]
    assert row["coverage_mean"] == pytest.approx(row["expected"], abs=1e-9)
    cuts = [min(critical(p, m) for m in masks) for _, p, masks in arrays()]
    for name, worst in (
        ("fnr", lambda p, m, cut: (m & (p < cut)).sum() / m.sum()),
        ("lesion_detection", lambda p, m, cut: missed_share(p, m, cut, "corner")),
    ):
        losses = np.array(
            [[max(worst(p, m, c) for m in ms) for c in cuts] for _, p, ms in arrays()]
        )
        metrics = {name: losses if name == "fnr" else 1 - losses}
        exact = cx.validate.all_splits(-np.array(cuts), N // 2, "0.2", metrics)
        assert row["metrics"][name]["mean"] == pytest.approx(exact.metric_means[name])


def critical(probs, mask):
    """The largest cut at which at most a tenth of the mask is missed."""
    return float(np.sort(probs[mask])[mask.sum() // 10])


@pytest.mark.parametrize("rule", ["worst", "draw"])
def test_missed_lesions_are_controlled_and_evaluated(
    folder, scored, cli, tmp_path, rule
):
    out = tmp_path / "c.json"
    args = ("--method", "crc", "--loss", "missed_lesions", "--alpha", "0.3")
    assert cli("calibrate", scored, *args, "--raters", rule, "-o", out).code == 0
    cases = ("--cohort", folder / "cohort.csv", "--engine", "host")
    assert cli("evaluate", out, *cases, "-o", tmp_path / "e").code == 0
    summary = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    (risk,) = summary["results"][0]["risks"]
    assert risk["loss"] == "missed_lesions"
    assert risk["mean"] <= risk["level"]
    detection = summary["results"][0]["calibrated"]["lesion_detection"]
    assert detection == pytest.approx(1 - risk["mean"])


def test_sets_with_confidence_against_every_rater(folder, cli, tmp_path):
    table, out = tmp_path / "s.parquet", tmp_path / "c.json"
    cases = ("--cohort", folder / "cohort.csv", "--engine", "host")
    sets = ("--transform", "inner=identity", "--transform", "outer=identity")
    assert cli("score", *cases, *sets, "-o", table).code == 0
    args = ("--method", "sets", "--alpha", "0.4", "--joint", "max", "--raters", "worst")
    # On the map itself the larger score is never below 0: the outer set is everything.
    command = ("calibrate", table, *args, "--delta", "0.2", "-o", out)
    assert "VACUOUS" in cli(*command).errors[0]
    assert cli(*command, "--allow-vacuous").code == 0
    content = json.loads(out.read_text())
    rank = cx.calibrate.pac_rank(N, "0.4", "0.2")
    assert {t["rank"] for t in content["thresholds"]} == {rank}
    assert cli("evaluate", out, *cases, "-o", tmp_path / "e").code == 0
    summary = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    # The calibration cases themselves: the rank-th smallest of them is the threshold.
    assert summary["results"][0]["joint"]["n_covered"] == rank
    alone = cli("calibrate", table, *args, "--bound", "hoeffding", "-o", out)
    assert alone.code == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rater": ""}, "one row names no rater"),
        ({"rater": "ann"}, "occurs twice"),
        ({"unit": "other"}, "differ in more than the reference"),
        ({"probs": "probs/c01.nii.gz"}, "differ in more than the reference"),
    ],
)
def test_rows_of_a_case_must_agree(folder, cli, tmp_path, change, message):
    with (folder / "cohort.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    rows[1] |= change
    write_csv(folder / "bad.csv", rows)
    found = cli("score", "--cohort", folder / "bad.csv", "-o", tmp_path / "s.parquet")
    assert found.code == 1
    assert message in found.errors[0]


def test_a_reference_that_one_rater_lacks_is_named(folder, cli, tmp_path):
    import shutil

    shutil.copytree(folder / "labels", tmp_path / "labels")
    (tmp_path / "labels" / "bob" / "c03.nii.gz").unlink()
    both = ("--probs", folder / "probs", "--labels", tmp_path / "labels")
    found = cli("score", *both, "-o", tmp_path / "s.parquet")
    assert found.code == 1
    assert "case c03" in found.err
    assert "bob" in found.err
    args = ("--allow-missing", "--json", "-o", tmp_path / "s.parquet")
    found = cli("score", *both, *args)
    assert found.json["excluded"] == {"no_reference (bob)": ["c03"]}
    assert found.json["n_rows"] == 2 * N - 1
