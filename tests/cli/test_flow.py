"""Score, calibrate, predict, evaluate on files: what each command leaves behind."""

import csv
import json
import math

import nibabel as nib
import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.cli.conftest import N_CASES, SHAPE
from tests.synthetic import write_nifti


def load(path):
    return np.asanyarray(nib.load(path).dataobj)


def critical_by_hand(probs, mask, tolerance=(1, 10)):
    """The (allowed + 1)-th smallest foreground probability."""
    values = np.sort(probs[mask != 0])
    return values[tolerance[0] * values.size // tolerance[1]]


def test_the_whole_flow_by_hand(files, cli, engine):
    table, calibration = files.root / "out/scores.parquet", files.root / "out/c.json"
    masks, evaluation = files.root / "masks", files.root / "evaluation"
    on = ("--engine", engine)
    scored = cli("score", *files.options, *on, "-o", table, "--json").json
    assert scored["n_rows"] == N_CASES
    critical = [
        critical_by_hand(load(files.map(i)), load(files.label(i)))
        for i in range(N_CASES)
    ]
    rows = pq.read_table(table).to_pylist()
    assert [r["critical_probability@0.1"] for r in rows] == critical
    assert [r["case_id"] for r in rows] == [f"case_{i:02d}" for i in range(N_CASES)]
    assert {r["n_voxels"] for r in rows} == {math.prod(SHAPE)}
    assert [r["n_foreground"] for r in rows] == [
        int((load(files.label(i)) != 0).sum()) for i in range(N_CASES)
    ]
    assert {r["region"] for r in rows} == {"foreground"}

    done = cli("calibrate", table, "--alpha", "0.1", "-o", calibration, "--json")
    content = json.loads(calibration.read_text())
    assert done.json == content
    # rank = ceil(13 * 0.9) = 12 of 12: the least critical probability of all.
    cut = float(min(critical))
    assert (content["rank"], content["n_units"], content["status"]) == (12, 12, "OK")
    assert content["probability_threshold"] == {"value": cut, "hex": cut.hex()}
    assert content["threshold"] == {"value": -cut, "hex": (-cut).hex()}
    for words in (
        "probability at least 0.9",
        "at most 0.1",
        "exchangeable",
        "non-empty",
    ):
        assert words in content["statement"]

    assert cli("predict", calibration, "--probs", files.probs, "-o", masks).code == 0
    for i in range(N_CASES):
        name = f"case_{i:02d}"
        mask = nib.load(masks / f"{name}.nii.gz")
        assert mask.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(
            np.asanyarray(mask.dataobj), load(files.map(i)) >= np.float32(cut)
        )
        np.testing.assert_array_equal(mask.affine, nib.load(files.map(i)).affine)
        sidecar = json.loads((masks / f"{name}.json").read_text())
        assert sidecar["calibration_digest"] == content["digest"]
        assert sidecar["statement"] == content["statement"]
        volume_ml = int((load(files.map(i)) >= np.float32(cut)).sum()) / 1000
        assert sidecar["masks"][0]["volume_ml"] == pytest.approx(volume_ml, rel=1e-12)

    result = cli(
        "evaluate", calibration, *files.options, *on, "-o", evaluation, "--json"
    ).json
    stored = json.loads((evaluation / "evaluation.json").read_text())
    assert set(stored) - set(result) == {"digest", "files"}  # the seal of the file
    assert result == {key: stored[key] for key in result}
    assert result["held_out"] is False  # these very cases calibrated
    (region,) = result["results"]
    assert region["calibrated"]["ecr"] == 1.0
    assert region["n_counted"] == N_CASES
    fnr, fpr, dice, pc = [], [], [], []
    for i in range(N_CASES):
        truth, mask = load(files.label(i)) != 0, load(files.map(i)) >= 0.5
        fpr.append((mask & ~truth).sum() / (~truth).sum())
        fnr.append(1 - (truth & mask).sum() / truth.sum())
        dice.append(2 * (truth & mask).sum() / (truth.sum() + mask.sum()))
        pc.append(mask.mean())
    fixed = region["fixed"]
    assert fixed["ecr"] == np.mean(np.array(fnr) <= 0.1)
    assert fixed["fnr_mean"] == pytest.approx(np.mean(fnr), rel=1e-12)
    assert fixed["fnr_sd"] == pytest.approx(np.std(fnr, ddof=1), rel=1e-12)
    assert fixed["fpr"] == pytest.approx(np.mean(fpr), rel=1e-12)
    assert fixed["dice"] == pytest.approx(np.mean(dice), rel=1e-12)
    assert fixed["pc"] == pytest.approx(np.mean(pc), rel=1e-12)
    with (evaluation / "cases.csv").open() as stream:
        table_rows = list(csv.DictReader(stream))
    assert [r["case_id"] for r in table_rows] == [
        f"case_{i:02d}" for i in range(N_CASES)
    ]
    assert [float(r["critical_probability"]) for r in table_rows] == critical
    assert [float(r["fixed_fnr"]) for r in table_rows] == pytest.approx(fnr, rel=1e-12)


def test_both_engines_write_the_same_bytes(files, cli):
    for engine in ("host", "device"):
        output = files.root / f"{engine}.parquet"
        # Without bins: their logarithms may differ in the last bit.
        options = (*files.options, "--bins", "0", "--engine", engine)
        assert cli("score", *options, "-o", output).code == 0
    host, device = (
        (files.root / f"{e}.parquet").read_bytes() for e in ("host", "device")
    )
    assert host == device


def test_several_tolerances_need_a_choice(files, cli):
    table, output = files.root / "s.parquet", files.root / "c.json"
    score = ("score", *files.options, "--tolerance=0.2", "--tolerance=0.1", "-o", table)
    assert cli(*score, "--tolerance=0.10").code == 0
    names = [n for n in pq.read_table(table).column_names if "@" in n]
    assert names == ["critical_probability@0.1", "critical_probability@0.2"]
    command = ("calibrate", table, "--alpha", "0.1", "-o", output)
    result = cli(*command)
    assert (result.code, len(result.errors)) == (1, 1)
    assert "tolerances 0.1, 0.2" in result.errors[0]
    result = cli(*command, "--tolerance=0.3")
    assert (result.code, len(result.errors)) == (1, 1)
    assert "no scores for tolerance 0.3" in result.errors[0]
    assert cli(*command, "--tolerance=0.20").code == 0


def test_regions_have_rows_thresholds_and_masks_of_their_own(files, cli, engine):
    rng = np.random.default_rng(5)
    for i in range(N_CASES):
        write_nifti(files.map(i), rng.random((*SHAPE, 3), np.float32))
        write_nifti(files.label(i), rng.integers(0, 4, SHAPE).astype(np.uint8))
    regions = ("--region", "whole=2:1,2", "--region", "core=1:3")
    table, calibration = files.root / "s.parquet", files.root / "c.json"
    score = ("score", *files.options, *regions, "--engine", engine, "-o", table)
    assert cli(*score).code == 0
    rows = pq.read_table(table).to_pylist()
    assert [(r["case_id"], r["region"]) for r in rows[:4]] == [
        ("case_00", "core"),
        ("case_00", "whole"),
        ("case_01", "core"),
        ("case_01", "whole"),
    ]
    for row in rows:
        i, channel, labels = int(row["case_id"][-2:]), 1, (3,)
        if row["region"] == "whole":
            channel, labels = 2, (1, 2)
        mask = np.isin(load(files.label(i)), labels)
        expected = critical_by_hand(load(files.map(i))[..., channel], mask)
        assert row["critical_probability@0.1"] == expected
    command = ("calibrate", table, "--alpha", "0.1", "-o", calibration, "--json")
    content = cli(*command).json
    assert {t["region"] for t in content["thresholds"]} == {"whole", "core"}
    assert "threshold" not in content
    assert "each region on its own" in content["statement"]
    masks = files.root / "masks"
    assert cli("predict", calibration, "--probs", files.probs, "-o", masks).code == 0
    cuts = {t["region"]: -float.fromhex(t["hex"]) for t in content["thresholds"]}
    for region, channel in (("whole", 2), ("core", 1)):
        np.testing.assert_array_equal(
            load(masks / f"case_03_{region}.nii.gz"),
            load(files.map(3))[..., channel] >= np.float32(cuts[region]),
        )
    evaluation = files.root / "evaluation"
    command = ("evaluate", calibration, *files.options, "--engine", engine, "--json")
    result = cli(*command, "-o", evaluation).json
    assert {r["region"] for r in result["results"]} == {"whole", "core"}
    assert all(r["calibrated"]["ecr"] == 1.0 for r in result["results"])


def test_a_map_of_several_channels_needs_a_region(files, cli, engine):
    for i in range(N_CASES):
        write_nifti(files.map(i), np.zeros((*SHAPE, 2), np.float32))
    result = cli("score", *files.options, "--engine", engine, "-o", files.root / "s.pq")
    assert result.code == 1
    assert len(result.errors) == 2
    assert "has 2 channels; name a region with --region" in result.errors[0]
    listed = (files.root / "s.pq.errors.txt").read_text()
    assert listed.count("has 2 channels") == N_CASES


def test_flat_cases_flow(files, cli, engine):
    rng = np.random.default_rng(1)
    for i in range(N_CASES):
        write_nifti(files.map(i), rng.random((9, 8), np.float32))
        write_nifti(files.label(i), (rng.random((9, 8)) > 0.6).astype(np.uint8))
    table, calibration = files.root / "s.parquet", files.root / "c.json"
    assert cli("score", *files.options, "--engine", engine, "-o", table).code == 0
    assert cli("calibrate", table, "--alpha=.1", "-o", calibration).code == 0
    masks = files.root / "masks"
    assert cli("predict", calibration, "--probs", files.probs, "-o", masks).code == 0
    assert load(masks / "case_00.nii.gz").shape == (9, 8)


def test_voxels_that_do_not_count(files, cli, engine):
    """An ignored label and a valid mask leave the same voxels out, in score and evaluate."""
    rng = np.random.default_rng(2)
    csv_file = files.root / "cohort.csv"
    lines = ["case_id,probs,labels,valid"]
    for i in range(N_CASES):
        labels = load(files.label(i)).astype(np.uint8)
        keep = rng.random(SHAPE) > 0.3
        write_nifti(
            files.root / f"ignored/case_{i:02d}.nii.gz",
            np.where(keep, labels, 255).astype(np.uint8),
        )
        write_nifti(files.root / f"valid/case_{i:02d}.nii.gz", keep)
        name = files.map(i).name
        lines.append(f"case_{i:02d},probs/{name},labels/{name},valid/{name}")
    csv_file.write_text("\n".join(lines) + "\n")
    on = ("--engine", engine)
    by_label = ("--probs", files.probs, "--labels", files.root / "ignored")
    for name, args in (
        ("label", (*by_label, "--ignore-label", "255")),
        ("valid", ("--cohort", csv_file)),
    ):
        assert cli("score", *args, *on, "-o", files.root / f"{name}.parquet").code == 0
        output = files.root / f"{name}.json"
        scores = files.root / f"{name}.parquet"
        assert cli("calibrate", scores, "--alpha=.1", "-o", output).code == 0
    by_label_rows, by_valid_rows = (
        pq.read_table(files.root / f"{name}.parquet").to_pylist()
        for name in ("label", "valid")
    )
    assert by_label_rows == by_valid_rows
    assert by_valid_rows[0]["n_voxels"] < math.prod(SHAPE)
    keep = load(files.root / "valid/case_00.nii.gz") != 0
    inside = (load(files.label(0)) != 0) & keep
    assert by_valid_rows[0]["n_foreground"] == int(inside.sum())
    expected = critical_by_hand(load(files.map(0)), inside)
    assert by_valid_rows[0]["critical_probability@0.1"] == expected
    results = [
        cli(
            "evaluate",
            files.root / f"{n}.json",
            *a,
            *on,
            "-o",
            files.root / f"out_{n}",
            "--json",
        ).json
        for n, a in (("label", by_label), ("valid", ("--cohort", csv_file)))
    ]
    assert results[0]["results"] == results[1]["results"]


def test_an_ignored_minus_one_in_signed_bytes(files, cli):
    labels = load(files.label(0)).astype(np.int8)
    labels[0, 0, :3] = -1
    for i in range(N_CASES):
        write_nifti(files.label(i), labels)
    tables = []
    for engine in ("host", "device"):
        output = files.root / f"{engine}.parquet"
        command = ("score", *files.options, "--ignore-label=-1", "--engine", engine)
        assert cli(*command, "-o", output).code == 0
        tables.append(pq.read_table(output))
    # Logarithms may differ in the last bit.
    host, device = (table.drop_columns(["sum_log_loss"]) for table in tables)
    assert host.equals(device)
    row = tables[0].to_pylist()[0]
    assert row["n_voxels"] == math.prod(SHAPE) - 3
    assert row["n_foreground"] == int((labels == 1).sum())


def test_logits_give_the_masks_of_their_probabilities(files, cli, engine):
    for i in range(N_CASES):
        probs = load(files.map(i)).astype(np.float64)
        write_nifti(files.map(i), np.log(probs / (1 - probs)).astype(np.float32))
    table, calibration = files.root / "s.parquet", files.root / "c.json"
    score = ("score", *files.options, "--engine", engine)
    result = cli(*score, "-o", table)
    assert result.code == 1
    assert "must lie in [0, 1]" in result.errors[0]
    assert cli(*score, "--logits", "-o", table).code == 0
    done = cli("calibrate", table, "--alpha=.1", "-o", calibration, "--json").json
    assert done["score_definition"]["logits"] is True
    masks = files.root / "masks"
    assert cli("predict", calibration, "--probs", files.probs, "-o", masks).code == 0
    cut = -float.fromhex(done["threshold"]["hex"])
    sigmoid = 1 / (1 + np.exp(-load(files.map(0)).astype(np.float64)))
    differ = load(masks / "case_00.nii.gz") != (sigmoid >= cut)
    assert np.abs(sigmoid - cut)[differ].max(initial=0) < 1e-6


def test_overshoot_is_asked_for_and_recorded(files, cli, engine):
    probs = load(files.map(0)).copy()
    probs[0, 0, 0] = 1.0005
    write_nifti(files.map(0), probs)
    table, calibration = files.root / "s.parquet", files.root / "c.json"
    score = ("score", *files.options, "--engine", engine, "-o", table)
    result = cli(*score)
    assert result.code == 1
    assert "--allow-overshoot" in result.errors[0]
    assert cli(*score, "--allow-overshoot").code == 0
    overshoot = pq.read_table(table).column("overshoot").to_pylist()
    assert overshoot[0] == pytest.approx(5e-4, rel=1e-3)
    assert set(overshoot[1:]) == {0.0}
    assert cli("calibrate", table, "--alpha=.1", "-o", calibration).code == 0
    masks = files.root / "masks"
    assert cli("predict", calibration, "--probs", files.probs, "-o", masks).code == 0


def test_a_lesion_voxel_at_zero_is_reported(files, cli, engine):
    probs = load(files.map(0)).copy()
    probs[load(files.label(0)) != 0] = 0.0
    write_nifti(files.map(0), probs)
    table, calibration = files.root / "s.parquet", files.root / "c.json"
    command = ("score", *files.options, "--engine", engine, "-o", table, "--json")
    assert cli(*command).json["n_lesion_voxel_at_zero"] == 1
    command = ("calibrate", table, "--alpha=.1", "-o", calibration, "--json")
    assert "VACUOUS" in cli(*command).errors[0]
    content = cli(*command, "--allow-vacuous").json
    assert content["probability_threshold"]["value"] == 0.0
    assert "whole volume" in content["statement"]


def test_pac_calibration_says_so(files, scored, cli):
    output = files.root / "c.json"
    command = (
        "calibrate",
        scored,
        "--alpha=0.3",
        "--delta=0.1",
        "-o",
        output,
        "--json",
    )
    content = cli(*command).json
    assert content["delta"] == 0.1
    # 0.7**12 = 0.014 <= 0.1 < P(Bin(12, 0.7) >= 11) = 0.085 ... rank 12 or 11 by law.
    assert content["rank"] == 11
    assert "all but a share 0.1" in content["statement"]
    result = cli(
        *command[:2], "--alpha=0.1", "--delta=0.1", "-o", files.root / "d.json"
    )
    assert result.code == 1
    assert "INFEASIBLE" in result.errors[0]


def test_output_of_each_command_is_readable_at_any_width(
    calibrated, files, cli, monkeypatch
):
    for columns in ("60", "140"):
        monkeypatch.setenv("COLUMNS", columns)
        output = files.root / f"evaluation_{columns}"
        result = cli("evaluate", calibrated, *files.options, "-o", output)
        assert result.code == 0
        assert "Not held out" in result.out
        assert "ECR" in result.out
        assert max(map(len, result.out.splitlines())) <= int(columns)
        result = cli("plan", "--alpha", "0.1", "--delta", "0.05")
        assert result.code == 0
        assert max(map(len, result.out.splitlines())) <= int(columns)


def test_plan_counts_the_units_needed(cli):
    result = cli("plan", "--alpha", "0.1", "--delta", "0.05", "--json").json
    # 1/alpha - 1 = 9 units; the least n with 0.9**n <= 0.05 is 29.
    assert (result["n_needed"], result["n_needed_pac"]) == (9, 29)
    first = result["rows"][0]
    assert (first["n"], first["marginal"]["rank"]) == (20, 19)
    assert first["marginal"]["coverage"] == pytest.approx(19 / 21)
    assert first["pac"]["feasible"] is False


def test_version_and_bare_command(cli):
    from coverax import __version__

    result = cli("--version")
    assert (result.code, result.out) == (0, f"coverax {__version__}\n")
    assert cli().code == 0
    for command in ("score", "calibrate", "predict", "evaluate", "plan", "demo"):
        assert cli(command, "--help").code == 0
    assert cli("nonsense").code == 2
