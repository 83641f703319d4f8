"""`coverax split`: units in one part each, rows that lead to the same files, a seal."""

import csv
import json
from pathlib import Path

import pytest
from tests.cli.conftest import N_CASES


def write_cohort(files, columns="case_id,probs,labels,unit,site", n=N_CASES):
    """Two cases a unit, three units a site; the first map by its absolute path."""
    rows = []
    for i in range(n):
        probs = files.map(i) if i == 0 else f"probs/{files.map(i).name}"
        cells = {
            "case_id": f"case_{i:02d}",
            "probs": str(probs),
            "labels": f"labels/{files.label(i).name}",
            "unit": f"u{i // 2}",
            "site": "AB"[i // 6],
            "age": "-1",
        }
        rows.append(",".join(cells[name] for name in columns.split(",")))
    path = files.root / "cohort.csv"
    path.write_text("\n".join([columns, *rows]) + "\n")
    return path


def rows_of(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_the_parts_hold_every_row_once_and_no_unit_twice(files, cli):
    cohort = write_cohort(files, "case_id,probs,labels,unit,site,age")
    output = files.root / "deep" / "er" / "parts"
    done = cli("split", cohort, "--calibration", "0.5", "-o", output)
    assert (done.code, done.out) == (0, "")
    parts = {n: rows_of(output / f"{n}.csv") for n in ("calibration", "test")}
    assert sorted(p.name for p in output.iterdir()) == [
        *("calibration.csv", "split.json", "test.csv")
    ]
    ids = [row["case_id"] for rows in parts.values() for row in rows]
    assert sorted(ids) == [f"case_{i:02d}" for i in range(N_CASES)]
    units = [{row["unit"] for row in rows} for rows in parts.values()]
    assert [len(u) for u in units] == [3, 3]
    assert not units[0] & units[1]
    before = {row["case_id"]: row for row in rows_of(cohort)}
    for row in (row for rows in parts.values() for row in rows):
        old = before[row["case_id"]]
        assert list(row) == list(old)
        assert [row[n] for n in ("unit", "site", "age")] == [
            old[n] for n in ("unit", "site", "age")
        ]
        for column in ("probs", "labels"):
            assert (output / row[column]).samefile(files.root / old[column])
            is_absolute = Path(old[column]).is_absolute()
            assert Path(row[column]).is_absolute() == is_absolute
    for name in parts:
        table = files.root / f"{name}.parquet"
        assert cli("score", "--cohort", output / f"{name}.csv", "-o", table).code == 0


def test_a_split_is_its_seed_and_is_sealed(files, cli):
    cohort = write_cohort(files)

    def drawn(seed, name):
        args = ("--calibration", "1/3", "--learning", "1/3", "--seed", seed)
        assert cli("split", cohort, *args, "-o", files.root / name).code == 0
        return json.loads((files.root / name / "split.json").read_text())

    first, again = drawn(0, "a"), drawn(0, "b")
    assert first == again
    assert any(drawn(seed, f"s{seed}")["parts"] != first["parts"] for seed in (1, 2, 3))
    assert sorted(first["files"]) == ["calibration.csv", "learning.csv", "test.csv"]
    assert cli("verify", files.root / "a").code == 0
    altered = files.root / "a" / "test.csv"
    altered.write_text(altered.read_text().replace("case_0", "case_1", 1))
    assert cli("verify", files.root / "a").code == 1
    refused = cli("split", cohort, "--calibration", "0.5", "-o", files.root / "b")
    assert (refused.code, len(refused.errors)) == (1, 1)
    assert "not empty" in refused.errors[0]


def test_a_split_is_the_one_that_train_draws_of_the_same_units(files, cli):
    from coverax.train.split import read_split, split_units

    cohort = write_cohort(files)
    args = ("--calibration", "0.5", "-o", files.root / "parts")
    assert cli("split", cohort, *args).code == 0
    mine = read_split(files.root / "parts" / "split.json")
    units = {f"case_{i:02d}": f"u{i // 2}" for i in range(N_CASES)}
    assert mine == split_units(units, {"calibration": 0.5, "test": 0.5}, 0)


def test_balanced_parts_hold_each_value_in_its_share(files, cli):
    cohort, output = write_cohort(files), files.root / "parts"
    args = ("--calibration", "1/3", "--balance", "site", "-o", output)
    done = cli("split", cohort, *args)
    assert done.code == 0
    assert "calibrate --group-by site" in done.err
    units = {(r["site"], r["unit"]) for r in rows_of(output / "calibration.csv")}
    assert sorted(site for site, _ in units) == ["A", "B"]


def test_units_that_a_name_tells_stand_in_the_parts(files, cli):
    cohort, output = write_cohort(files, "case_id,probs,labels"), files.root / "parts"
    pattern = ("--unit-pattern", r"case_(\d)")
    args = ("--calibration", "0.5", "-o", output)
    assert cli("split", cohort, *pattern, *args).code == 0
    found = [rows_of(output / f"{n}.csv") for n in ("calibration", "test")]
    assert [{row["unit"] for row in rows} for rows in found] in (
        [{"0"}, {"1"}],
        [{"1"}, {"0"}],
    )


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--by", "case_id"), "unit u0 has cases of several values of case_id"),
        (("--by", "scanner"), "no column scanner"),
        (("--balance", "scanner"), "no column scanner"),
        (("--learning", "0.5"), "must leave some units to test"),
        (("--learning", "0.01"), "the part learning (share 0.01) of 6 units"),
        (("--balance", "site", "--learning", "0.1"), "site 'A': the part learning"),
    ],
)
def test_a_split_that_cannot_be_is_refused(files, cli, args, words):
    cohort, output = write_cohort(files), files.root / "parts"
    done = cli("split", cohort, "--calibration", "0.5", *args, "-o", output)
    assert (done.code, len(done.errors)) == (1, 1)
    assert words in done.errors[0]
    assert not output.exists()
