"""Volumes, releases and a monitor on 200 real predictions, through the command line."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest

from coverax.calibrate import Triage, compliance_band
from coverax.cli.app import run
from coverax.scores import read_table

N = 100


@pytest.fixture(scope="module")
def folder(shared_data, tmp_path_factory):
    """Half of the cohort scored, the other half new."""
    root = tmp_path_factory.mktemp("clinic")
    tool = shared_data.parent / "tools" / "unpack_cohort.py"
    subprocess.run([sys.executable, tool, "hippocampus", root], check=True)
    with (root / "cohort.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    order = np.random.default_rng(2026).permutation(len(rows))
    for name, part in (("known", order[:N]), ("new", order[N:])):
        with (root / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([header, *[rows[i] for i in sorted(part)]])
    done("score", "--cohort", root / "known.csv", "-o", root / "scores.parquet")
    return root


def done(*args):
    assert run([str(a) for a in args]) == 0


def evaluated(folder, *method):
    path, out = folder / f"{method[0]}.json", folder / f"{method[0]}-evaluated"
    done(
        "calibrate",
        folder / "scores.parquet",
        "--method",
        *method,
        "--alpha",
        "0.1",
        "-o",
        path,
    )
    done("evaluate", path, "--cohort", folder / "new.csv", "-o", out)
    summary = json.loads((out / "evaluation.json").read_text())
    assert summary["held_out"]
    with (out / "cases.csv").open(newline="") as file:
        return summary["results"][0], list(csv.DictReader(file))


def test_intervals_hold_as_often_as_the_law_says(folder):
    """Within the central 99.9 % of the law: of a fixed split, a fixed fact."""
    result, rows = evaluated(folder, "volume")
    found = result["interval"]
    low, high = compliance_band(N, 91, N, 0.999)
    assert (result["n_counted"], result["rank"]) == (N, 91)
    assert low <= found["coverage"] <= high
    assert found["coverage"] == np.mean([row["covered"] == "True" for row in rows])
    assert 0.1 < found["width_share_median"] < 0.3
    for row in rows:
        inside = float(row["low_ml"]) <= float(row["true_ml"]) <= float(row["high_ml"])
        assert inside == (row["covered"] == "True")
    # Voxels taken for independent cover a tenth: the figure of the page.
    table = read_table(folder / "scores.parquet")
    p = table.column("bin_sum_p").sum(1)
    squares = table.column("sum_squares").sum(1)
    squares += (2 * table.column("bin_sum_py") - table.column("bin_sum_y")).sum(1)
    hit = np.abs(table.column("n_foreground") - p) <= 1.645 * np.sqrt(p - squares)
    assert hit.mean() < 0.2


def test_what_goes_out_costs_what_was_promised_over_all_splits(folder):
    """The rule itself over 400 splits of the scored half: a mean below alpha.

    Five standard errors: false-fail rate 3e-7 if the mean were alpha, and it is less.
    """
    result, _ = evaluated(folder, "triage", "--bad-below", "0.87")
    assert 0 < result["release"]["share_released"] < 1
    assert result["floor"]["coverage"] > compliance_band(N, 91, N, 0.999)[0]
    from coverax.calibrate import released

    table, rule = read_table(folder / "scores.parquet"), Triage(bad_below="0.87")
    unsure = rule.uncertainty(table.columns)
    losses = rule.losses(table.columns, table.column("n_foreground"))
    rng, realised = np.random.default_rng(0), []
    for _ in range(400):
        order = rng.permutation(N)
        known, new = order[:50], order[50:]
        out = released(unsure[known], losses[known], unsure[new], "0.1")
        realised.append((losses[new] * out).mean())
    error = np.std(realised) / 20
    assert 0.05 < np.mean(realised) < 0.1 + 5 * error


def test_a_healthy_half_raises_no_alarm_and_a_bad_reference_does(folder):
    """New cases in random order of names; then references that are all shifted."""
    path, maps, labels = folder / "fnr.json", folder / "maps", folder / "labels-new"
    done("calibrate", folder / "scores.parquet", "--alpha", "0.1", "-o", path)
    with (folder / "new.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    order = np.random.default_rng(1).permutation(len(rows))
    for kind, out in (("probs", maps), ("labels", labels)):
        out.mkdir()
        for k, i in enumerate(order):
            (out / f"n{k:03d}.nii.gz").symlink_to(folder / rows[i][kind])
    args = ("monitor", path, "--probs", maps, "--state", folder / "m.json")
    done(*args, "--labels", labels)
    state = json.loads((folder / "m.json").read_text())
    assert len(state["maps"]) == len(state["references"]) == N
    failed = np.mean([e["losses"]["foreground"] for e in state["references"]])
    assert failed < 0.3
    # The reference of the next case for each: most masks miss it.
    wrong = folder / "labels-wrong"
    wrong.mkdir()
    import nibabel as nib

    for file in sorted(labels.iterdir())[:20]:
        image = nib.load(file)
        moved = np.roll(np.asarray(image.dataobj), 5, axis=0)
        nib.save(nib.Nifti1Image(moved, image.affine), wrong / file.name)
    end = run([str(a) for a in (*args[:-1], folder / "w.json", "--labels", wrong)])
    assert end == 3
