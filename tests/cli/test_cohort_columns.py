"""Columns of cohort.csv beyond the known ones, through every later step."""

import json

import numpy as np
import pytest
from tests.synthetic import write_nifti

import coverax as cx

N, SHAPE = 60, (4, 4, 3)


@pytest.fixture(scope="module")
def drifting(tmp_path_factory):
    """Sixty cases whose maps get worse with time; names and rows are in another order."""
    root = tmp_path_factory.mktemp("drift")
    rng = np.random.default_rng(0)
    rows = ["case_id,probs,labels,site,acquired,age,drawn"]
    for i, when in enumerate(rng.permutation(N)):
        mask = np.zeros(SHAPE, np.uint8)
        mask[1:3, 1:3, 1] = 1
        probs = rng.uniform(0, 0.2, SHAPE).astype(np.float32)
        probs[mask == 1] = 0.95 - 0.005 * when - 0.01 * rng.uniform(size=4)
        write_nifti(root / "probs" / f"c{i}.nii.gz", probs)
        write_nifti(root / "labels" / f"c{i}.nii.gz", mask)
        date = np.datetime64("2019-11-20") + int(when) * 7
        rows.append(
            f"c{i},probs/c{i}.nii.gz,labels/c{i}.nii.gz,{'AB'[i % 2]},{date},"
            f"{10 + when},{rng.integers(1000)}"
        )
    (root / "cohort.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture
def scored(drifting, tmp_path, cli):
    table = tmp_path / "s.parquet"
    done = cli("score", "--cohort", drifting / "cohort.csv", "-o", table)
    assert done.code == 0
    assert "further columns are kept: site, acquired, age, drawn" in done.err
    return table


def test_validate_finds_drift_in_the_order_of_acquisition_and_in_no_other(scored, cli):
    """P-values are valid, so a small one happens in the random order once in 10,000."""
    found = {}
    for column in ("acquired", "age", "drawn"):
        done = cli("validate", scored, "--alpha", "0.1", "--order-by", column, "--json")
        assert done.code == 0, done.err
        found[column] = done.json["results"][0]["order"]
    kinds = {column: order["sorted_as"] for column, order in found.items()}
    assert kinds == {"acquired": "dates", "age": "numbers", "drawn": "numbers"}
    assert found["acquired"]["p_value_capital"] < 1e-4
    assert found["age"]["p_value_capital"] == found["acquired"]["p_value_capital"]
    assert found["drawn"]["p_value_capital"] > 1e-4


@pytest.mark.parametrize("column", ["n_foreground", "nothing", "weight"])
def test_validate_orders_and_holds_out_by_the_cohort_alone(scored, cli, column):
    for option in ("--order-by", "--hold-out-by"):
        done = cli("validate", scored, "--alpha", "0.1", option, column)
        assert (done.code, len(done.errors)) == (1, 1)
        assert "site, acquired, age, drawn" in done.errors[0]
    held = cli(
        *("validate", scored, "--alpha", "0.1", "--hold-out-by", "site", "--json")
    )
    assert {row["group"] for row in held.json["results"][0]["hold_out"]} == {"A", "B"}


def test_groups_of_a_further_column_through_predict_and_evaluate(
    drifting, scored, cli, tmp_path
):
    out, cohort = tmp_path / "c.json", drifting / "cohort.csv"
    args = ("--alpha", "0.2", "--group-by", "site", "-o", out)
    assert cli("calibrate", scored, *args).code == 0
    done = cli("evaluate", out, "--cohort", cohort, "-o", tmp_path / "e")
    assert done.code == 0, done.err
    summary = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    assert [r["group"] for r in summary["results"]] == ["A", "B"]
    assert [r["n_counted"] for r in summary["results"]] == [N // 2, N // 2]
    folders = ("--probs", drifting / "probs", "--labels", drifting / "labels")
    done = cli("evaluate", out, *folders, "-o", tmp_path / "f")
    assert (done.code, len(done.errors)) == (1, 1)
    assert "no column site" in done.errors[0]


@pytest.mark.parametrize("column", ["n_foreground", "overshoot", "rater"])
def test_groups_are_not_of_what_the_reference_tells(scored, cli, tmp_path, column):
    args = ("--alpha", "0.2", "--group-by", column, "-o", tmp_path / "c.json")
    done = cli("calibrate", scored, *args)
    assert (done.code, len(done.errors)) == (1, 1)
    assert f"{column} is known from map and reference alone" in done.errors[0]
    assert done.errors[0].count(",") < 10
    assert "unit, group, site, acquired" in done.errors[0]


def test_groups_are_checked_before_a_mask_is_made(drifting, scored, cli, tmp_path):
    out, groups, masks = tmp_path / "c.json", tmp_path / "g.csv", tmp_path / "m"
    args = ("--alpha", "0.2", "--group-by", "site", "-o", out)
    assert cli("calibrate", scored, *args).code == 0
    command = ("predict", out, "--probs", drifting / "probs", "-o", masks)
    rows = ["case_id,group", *[f"c{i},A" for i in range(N - 2)], f"c{N - 2},Z"]
    for content, words in (
        (
            rows,
            [f"case c{N - 2}: site 'Z' was not calib", f"case c{N - 1}: no site is"],
        ),
        (rows[:1] + [f"{r}," for r in rows[1:]], ["g.csv, line 2: more cells"]),
        (["case_id,age"], ["g.csv: column site or group is missing; it has case_id"]),
    ):
        groups.write_text("\n".join(content) + "\n")
        done = cli(*command, "--groups", groups)
        assert done.code == 1
        assert all(word in done.err for word in words)
        assert "Predicting: 1" not in done.err
        assert not list(tmp_path.glob("m*"))


@pytest.mark.parametrize(
    "column", ["n_voxels", "overshoot", "bin_count", "lesion_peaks", "x@0.1"]
)
def test_a_column_called_as_one_of_the_table_is_refused_before_scoring(
    drifting, cli, tmp_path, column
):
    text = (drifting / "cohort.csv").read_text().replace("acquired", column, 1)
    cohort = drifting / "other.csv"
    cohort.write_text(text)
    done = cli("score", "--cohort", cohort, "-o", tmp_path / "s.parquet")
    assert (done.code, len(done.errors)) == (1, 1)
    assert f"column {column} of the cohort" in done.errors[0]
    assert "Scoring: " not in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_table_with_further_columns_is_read_back(scored):
    table = cx.scores.read_table(scored)
    assert table.cohort_columns == (
        *("case_id", "unit", "group", "rater"),
        *("site", "acquired", "age", "drawn"),
    )
    assert set(table.grouping("site")) == {"A", "B"}
