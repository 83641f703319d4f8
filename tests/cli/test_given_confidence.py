"""Masks that go out by a confidence of one's own, a further column of cohort.csv."""

import csv
import json

import numpy as np
import pytest
from tests.cli.conftest import N_CASES

import coverax as cx
from coverax.predict import predict_folder

NUMBERS = np.random.default_rng(3).permutation(N_CASES) - 4.5
HIGH = ("--confidence", "sure", "--confident-at", "high")


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_cohort(files, name="cohort.csv", numbers=NUMBERS, column="sure"):
    rows = [f"case_id,probs,labels,{column}"]
    for i, number in enumerate(numbers):
        rows.append(f"case_{i:02d},{files.map(i)},{files.label(i)},{number}")
    (files.root / name).write_text("\n".join(rows) + "\n")
    return files.root / name


@pytest.fixture
def scored(files, cli):
    table = files.root / "scores.parquet"
    assert cli("score", "--cohort", write_cohort(files), "-o", table).code == 0
    return table


def calibrate(cli, files, table, *args):
    path = files.root / "c.json"
    end = cli("calibrate", table, "--method", "triage", *args, "-o", path)
    return end, path


@pytest.mark.parametrize(("at", "sign"), [("high", -1), ("low", 1)])
def test_the_column_decides_what_goes_out(scored, files, cli, at, sign):
    args = ("--alpha", "0.12", "--confidence", "sure", "--confident-at", at)
    end, path = calibrate(cli, files, scored, *args)
    assert end.code == 0, end.err
    assert f"sure of the cohort, where {at} is confident" in " ".join(end.out.split())
    options = json.loads(path.read_text())["options"]
    assert (options["confidence"], options["confident_at"]) == ("sure", at)
    masks, out, cohort = files.root / "m", files.root / "e", files.root / "cohort.csv"
    assert cli("predict", path, "--cohort", cohort, "-o", masks).code == 0
    assert cli("evaluate", path, "--cohort", cohort, "-o", out).code == 0
    listed, judged = rows_of(masks / "triage.csv"), rows_of(out / "cases.csv")
    table = cx.scores.read_table(scored)
    losses = cx.calibrate.Triage().losses(table.columns, table.column("n_foreground"))
    expected = cx.calibrate.released(sign * NUMBERS, losses, sign * NUMBERS, "0.12")
    assert 0 < expected.sum() < N_CASES
    for rows in (listed, judged):
        assert [row["released"] == "True" for row in rows] == expected.tolist()
        assert [float(row["uncertainty"]) for row in rows] == (sign * NUMBERS).tolist()
        assert {row["dice_floor"] for row in rows} == {""}
    found = json.loads((out / "evaluation.json").read_text())["results"][0]
    assert found["release"]["realised"] == pytest.approx((losses * expected).mean())
    assert "floor" not in found
    assert cli("verify", masks, out, path).code == 0


def test_parts_of_a_run_decide_as_the_whole(scored, files, cli):
    _, path = calibrate(cli, files, scored, "--alpha", "0.12", *HIGH)
    root, cohort = files.root, ("--cohort", files.root / "cohort.csv")
    for command, name in (("predict", "triage.csv"), ("evaluate", "cases.csv")):
        whole, parts, joined = (root / f"{command}-{n}" for n in ("w", "p", "j"))
        assert cli(command, path, *cohort, "-o", whole).code == 0
        for shard in ("1/2", "2/2"):
            end = cli(command, path, *cohort, "--shard", shard, "-o", parts)
            assert end.code == 0, end.err
        end = cli(command, path, *cohort, "--parts", parts, "-o", joined)
        assert end.code == 0, end.err
        assert (joined / name).read_bytes() == (whole / name).read_bytes()


def test_another_confidence_is_no_finished_mask(scored, files, cli):
    """A resumed run keeps no verdict that another number gave."""
    _, path = calibrate(cli, files, scored, "--alpha", "0.12", *HIGH)
    found = cx.calibrate.read_calibration(path)
    maps = {f"case_{i:02d}": files.map(i) for i in range(2)}
    numbers = {"case_00": 9.0, "case_01": 9.0}
    broken = files.root / "nothing.nii.gz"
    with pytest.raises(ExceptionGroup):
        predict_folder(
            found, maps | {"case_01": broken}, files.root / "m", confidences=numbers
        )
    numbers["case_00"] = -9.0
    predict_folder(found, maps, files.root / "m", confidences=numbers, resume=True)
    verdicts = [row["released"] for row in rows_of(files.root / "m" / "triage.csv")]
    assert verdicts == ["False", "True"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--confidence", "sure"), "low or high"),
        (("--confidence", "n_foreground", "--confident-at", "low"), "without the ref"),
        (("--confidence", "unit", "--confident-at", "low"), "no column 'unit'"),
        (("--confidence", "entropy", "--confident-at", "low"), "here sure"),
        (("--confidence", "mass", "--confident-at", "low"), "goes with a column"),
        (("--confident-at", "high"), "goes with a column"),
    ],
)
def test_a_confidence_that_cannot_rank_is_one_line(scored, files, cli, args, words):
    end, path = calibrate(cli, files, scored, "--alpha", "0.12", *args)
    assert end.code in (1, 2)
    assert words in " ".join(end.err.replace("│", " ").split())
    assert not path.exists()


@pytest.mark.parametrize("cell", ["", "high", "inf"])
def test_a_cell_that_is_no_number_names_its_case(scored, files, cli, cell):
    _, path = calibrate(cli, files, scored, "--alpha", "0.12", *HIGH)
    bad = write_cohort(files, "bad.csv", [*NUMBERS[:5], cell, *NUMBERS[6:]])
    table = files.root / "bad.parquet"
    assert cli("score", "--cohort", bad, "-o", table).code == 0
    ends = [
        calibrate(cli, files, table, "--alpha", "0.12", *HIGH)[0],
        cli("predict", path, "--cohort", bad, "-o", files.root / "m"),
        cli("evaluate", path, "--cohort", bad, "-o", files.root / "e"),
    ]
    for end in ends:
        assert end.code == 1
        (line,) = (line for line in end.errors if "case_05" in line)
        assert "finite number" in line


def test_new_cases_without_the_column_are_refused(scored, files, cli):
    _, path = calibrate(cli, files, scored, "--alpha", "0.12", *HIGH)
    other = write_cohort(files, "other.csv", column="other")
    for args in (("--probs", files.probs), ("--cohort", other)):
        end = cli("predict", path, *args, "-o", files.root / "m")
        assert (end.code, len(end.errors)) == (1, 1)
        assert "sure" in end.errors[0]
    for args in (files.options, ("--cohort", other)):
        end = cli("evaluate", path, *args, "-o", files.root / "e")
        assert (end.code, len(end.errors)) == (1, 1)
        assert "no column sure" in end.errors[0]


def test_the_library_refuses_the_same(scored, files, cli):
    _, path = calibrate(cli, files, scored, "--alpha", "0.12", *HIGH)
    found, maps = cx.calibrate.read_calibration(path), {"case_00": files.map(0)}
    for given, words in (({}, "no sure"), ({"case_00": np.nan}, "finite number")):
        with pytest.raises(ExceptionGroup) as caught:
            predict_folder(found, maps, files.root / "m", confidences=given)
        assert words in str(caught.value.exceptions[0])
    end, path = calibrate(cli, files, scored, "--alpha", "0.12")
    assert end.code == 0
    told_by_maps = cx.calibrate.read_calibration(path)
    with pytest.raises(ValueError, match="takes no confidences"):
        predict_folder(
            told_by_maps, maps, files.root / "m", confidences={"case_00": 1.0}
        )
    probs = np.full((2, 4, 4), 0.5, np.float32)
    with pytest.raises(ValueError, match="arrays in memory have none"):
        cx.predict.apply(found, probs)
    with pytest.raises(ValueError, match="arrays in memory have none"):
        cx.evaluate.evaluate_arrays(found, probs, probs > 0)


def test_a_confidence_that_differs_between_readers_needs_the_reference(scored):
    table = cx.scores.read_table(scored)
    twice = table.select(np.arange(2 * N_CASES) % N_CASES)
    columns = dict(twice.columns)
    columns["rater"] = np.array(["a", "b"], object).repeat(N_CASES)
    columns["sure"] = np.array([str(i) for i in range(2 * N_CASES)], object)
    triage = cx.calibrate.Triage(confidence="sure", confident_at="high")
    told = type(table)(columns, table.definition, {})
    policy = cx.calibrate.Policy("include", raters="worst")
    with pytest.raises(ValueError, match="case_00: sure differs"):
        cx.calibrate.calibrate_triage(told, "0.12", policy, triage=triage)
