"""The whole command line on real predictions: 200 hippocampi, both engines."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest

import coverax as cx
from coverax.cli.app import run

N, ALPHA, TOLERANCE = 100, "0.1", "0.1"
SPLITS = 10_000
# What both engines score alike is compared elsewhere, at less cost.
SLOW_DEVICE = pytest.mark.parametrize(
    "engine", ["host", pytest.param("device", marks=pytest.mark.slow)]
)


@pytest.fixture(scope="session")
def cohort_folder(shared_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hippocampus")
    tool = shared_data.parent / "tools" / "unpack_cohort.py"
    subprocess.run([sys.executable, tool, "hippocampus", folder], check=True)
    with (folder / "cohort.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    order = np.random.default_rng(2026).permutation(len(rows))
    for name, part in (("calibration", order[:N]), ("heldout", order[N:])):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([header, *[rows[i] for i in sorted(part)]])
    return folder


@SLOW_DEVICE
def test_score_calibrate_predict_evaluate(cohort_folder, engine, tmp_path):
    """ECR of held-out cases lies within the central 99.9 % of its exact law.

    False-fail rate 1e-3 by the law, but the split is fixed, so it is a fixed fact.
    """
    scores, calibration = tmp_path / "scores.parquet", tmp_path / "calibration.json"
    on = ["--engine", engine]
    assert (
        run(
            [
                "score",
                "--cohort",
                str(cohort_folder / "calibration.csv"),
                *on,
                "-o",
                str(scores),
            ]
        )
        == 0
    )
    assert (
        run(
            [
                "calibrate",
                str(scores),
                "--alpha",
                ALPHA,
                "--tolerance",
                TOLERANCE,
                "-o",
                str(calibration),
            ]
        )
        == 0
    )
    assert (
        run(
            [
                "evaluate",
                str(calibration),
                "--cohort",
                str(cohort_folder / "heldout.csv"),
                *on,
                "-o",
                str(tmp_path / "evaluation"),
            ]
        )
        == 0
    )
    summary = json.loads((tmp_path / "evaluation" / "evaluation.json").read_text())
    result = summary["results"][0]
    assert summary["held_out"]
    assert (result["n_calibration_units"], result["n_counted"], result["rank"]) == (
        100,
        100,
        91,
    )
    band = result["ecr_band"][-1]
    assert band["level"] == 0.999
    assert band["low"] <= result["calibrated"]["ecr"] <= band["high"]
    # a threshold is worth having: it complies more often than 0.5 does not
    assert band["low"] > 0.7


def test_masks_on_disk_agree_with_the_evaluation(cohort_folder, tmp_path):
    """Count misses on the written masks, in integers: the same cases comply."""
    import nibabel as nib

    scores, calibration = tmp_path / "scores.parquet", tmp_path / "calibration.json"
    run(
        ["score", "--cohort", str(cohort_folder / "calibration.csv"), "-o", str(scores)]
    )
    run(["calibrate", str(scores), "--alpha", ALPHA, "-o", str(calibration)])
    assert (
        run(
            [
                "predict",
                str(calibration),
                "--probs",
                str(cohort_folder / "probs"),
                "-o",
                str(tmp_path / "masks"),
            ]
        )
        == 0
    )
    run(
        [
            "evaluate",
            str(calibration),
            "--cohort",
            str(cohort_folder / "heldout.csv"),
            "-o",
            str(tmp_path / "evaluation"),
        ]
    )
    with (tmp_path / "evaluation" / "cases.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 100
    for row in rows:
        name = f"{row['case_id']}.nii.gz"
        mask = np.asarray(nib.load(tmp_path / "masks" / name).dataobj) == 1
        truth = np.asarray(nib.load(cohort_folder / "labels" / name).dataobj) == 1
        missed = int(np.count_nonzero(truth & ~mask))
        allowed = int(truth.sum()) // 10
        assert (missed <= allowed) == (row["calibrated_complies"] == "True")
        sidecar = json.loads(
            (tmp_path / "masks" / f"{row['case_id']}.json").read_text()
        )
        assert sidecar["masks"][0]["n_predicted"] == mask.sum()


@SLOW_DEVICE
def test_mean_coverage_over_ten_thousand_splits(cohort_folder, engine, tmp_path):
    """Mean coverage over seeded 100/100 splits is rank / (n + 1), by five errors.

    Five standard errors of 10,000 splits: false-fail rate 6e-7. Power: one rank more is
    0.0099 of coverage, more than fifteen standard errors. Ties can only cover more.
    """
    table_file = tmp_path / "scores.parquet"
    args = ["score", "--cohort", str(cohort_folder / "cohort.csv"), "--engine", engine]
    assert run([*args, "--tolerance", TOLERANCE, "-o", str(table_file)]) == 0
    table = cx.scores.read_table(table_file)
    scores = -table.critical_probability(0.1)
    tied = len(set(scores.tolist())) < len(scores)
    rng = np.random.default_rng(7)
    for alpha in ("0.05", "0.1", "0.2"):
        rank = cx.calibrate.conformal_rank(N, alpha)
        coverage = np.empty(SPLITS)
        for k in range(SPLITS):
            order = rng.permutation(len(scores))
            calibration, new = scores[order[:N]], scores[order[N:]]
            threshold = np.partition(calibration, rank - 1)[rank - 1]
            coverage[k] = np.mean(new <= threshold)
        error = coverage.std() / np.sqrt(SPLITS)
        assert 15 * error < 1 / (N + 1)  # power
        expected = rank / (N + 1)
        assert coverage.mean() > expected - 5 * error
        if not tied:
            assert coverage.mean() < expected + 5 * error
    # the threshold of one split is the library's
    assert cx.calibrate.split_threshold(scores[order[:N]], "0.2") == threshold


def test_validate_and_crc_agree_with_the_reference_numbers(cohort_folder, tmp_path):
    """All splits 100/100 give r / (n + 1); CRC's mean test FNR is the reference's.

    Reference CRC: .0101 / .0408 / .0907 by its own splits over the loss's own jumps. The
    tolerance is five standard errors of a mean over 40 splits (spread of the mean test
    FNR over splits: measured here) and two steps of the grid of cuts.
    """
    scores, out = tmp_path / "s.parquet", tmp_path / "validation"
    cohort = ["--cohort", str(cohort_folder / "cohort.csv"), "--engine", "host"]
    assert run(["score", *cohort, "--tolerance", "0.1", "-o", str(scores)]) == 0
    levels = ["--alpha", "0.05", "--alpha", "0.1", "--alpha", "0.2"]
    assert run(["validate", str(scores), *levels, "-o", str(out)]) == 0
    found = json.loads((out / "validation.json").read_text())
    for row, theory in zip(found["results"][0]["splits"], [96, 91, 81], strict=True):
        assert row["expected"] == theory / 101
        # Half a percent for tied scores: logits are stored in tenths.
        assert 0 <= row["coverage_mean"] - theory / 101 + 1e-9 < 0.005
    table = cx.scores.read_table(scores)
    curves = table.grid_curves()
    n_true = table.column("n_foreground")[:, None]
    losses = ((n_true - curves.n_true_positive) / n_true)[:, ::-1]
    lams = -curves.cuts[::-1].astype(float)
    rng = np.random.default_rng(0)
    for alpha, expected in [("0.02", 0.0101), ("0.05", 0.0408), ("0.1", 0.0907)]:
        means = []
        for _ in range(40):
            order = rng.permutation(200)
            k = cx.calibrate.crc_threshold(losses[order[:100]], lams, alpha).index
            means.append(losses[order[100:], k].mean())
        error = 5 * np.std(means, ddof=1) / np.sqrt(40) + 0.002
        assert abs(np.mean(means) - expected) < error
        assert np.mean(means) <= float(alpha)


@SLOW_DEVICE
def test_reliability_of_three_classes_is_that_of_the_definition(
    shared_data, tmp_path, engine
):
    """U-Net softmax and labels of 12 cases: every class, top label, NLL, in float64."""
    import nibabel as nib
    from tests.oracles import bins as oracle

    folder, table = tmp_path / "h", tmp_path / "scores.parquet"
    tool = shared_data.parent / "tools" / "unpack_cohort.py"
    command = [sys.executable, tool, "hippocampus", folder, "--limit", "12"]
    subprocess.run(command, check=True)
    args = ["--probs", str(folder / "probs4d"), "--labels", str(folder / "labels3")]
    args += ["--region", "anterior=1:1", "--region", "posterior=2:2", "--softmax"]
    args += ["--band-edges", "-5,0,2", "--engine", engine]
    assert run(["score", *args, "-o", str(table)]) == 0
    out = tmp_path / "out"
    assert run(["reliability", str(table), "--no-figures", "-o", str(out)]) == 0
    summary = json.loads((out / "reliability.json").read_text())
    files = sorted((folder / "probs4d").iterdir())
    p = np.concatenate([np.asarray(nib.load(f).dataobj).reshape(-1, 3) for f in files])
    y = np.concatenate(
        [
            np.asarray(nib.load(folder / "labels3" / f.name).dataobj).ravel()
            for f in files
        ]
    )
    names = [r["region"] for r in summary["regions"]]
    assert names == ["background", "anterior", "posterior"]

    def ece(values, hits):
        _, sum_p, sum_y, _ = oracle.hard(values, hits, 20)
        return np.abs(sum_p - sum_y).sum() / values.size

    for c, result in enumerate(summary["regions"]):
        assert result["pooled"]["ece"] == pytest.approx(ece(p[:, c], y == c), rel=1e-5)
        if c:
            exact = cx.reliability.adaptive_calibration_error(
                p[None, :, c], y[None] == c, 20
            )[0]
            assert result["adaptive_ce_grid"] == pytest.approx(exact, abs=1e-3)
            inside = [b["pooled"]["frequency"] for b in result["bands"]]
            assert inside == [0, 0, 1, 1]
            assert sum(b["n_voxels"] for b in result["bands"]) == y.size
    top = summary["top_label"]["pooled"]["ece"]
    assert top == pytest.approx(ece(p.max(1), p.argmax(1) == y), rel=1e-4)
    own = np.maximum(p[np.arange(y.size), y], 2.0**-24).astype(float)
    assert summary["softmax"]["nll"] == pytest.approx(-np.log(own).mean(), rel=1e-5)
