"""FROC through the command line."""

import csv
import json

import coverax as cx
from coverax.calibrate import froc_at, froc_of_table, froc_rows


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_evaluate_and_validate_write_the_curve_of_their_scans(files, cli):
    root = files.root
    table, path = root / "s.parquet", root / "c.json"
    lesions = ("--lesions", "corner", "--mask-lesions")
    assert cli("score", *files.options, *lesions, "-o", table).code == 0
    assert cli("calibrate", table, "--alpha", "0.2", "-o", path).code == 0
    end = cli("evaluate", path, *files.options, "-o", root / "e", "--figures")
    assert end.code == 0, end.err
    assert "FROC of foreground" in end.out
    done = cli("validate", table, "--alpha", "0.2", "-o", root / "v", "--figures")
    assert done.code == 0, done.err
    assert "FROC of foreground" in done.out
    curve = froc_of_table(cx.scores.read_table(table))[0]["foreground"]
    expected = froc_rows("foreground", curve)
    for folder, name in (("e", "evaluation"), ("v", "validation")):
        found = rows_of(root / folder / "froc.csv")
        assert [int(row["n_false"]) for row in found] == [
            r["n_false"] for r in expected
        ]
        assert [float(row["cut"]) for row in found] == [r["cut"] for r in expected]
        content = json.loads((root / folder / f"{name}.json").read_text())
        assert content["froc"] == [froc_at("foreground", curve).to_json()]
    read = cx.evaluate.read_evaluation(root / "e" / "evaluation.json")
    assert read.froc[0] == froc_at("foreground", curve)
    assert cli("verify", root / "e", root / "v").code == 0
    for folder in ("e", "v"):
        assert (root / folder / "figures" / "froc_foreground.png").exists()
    (root / "e" / "froc.csv").write_text("region\n")
    assert cli("verify", root / "e").code == 1
    for shard in ("1/2", "2/2"):
        part = ("--shard", shard, "-o", root / "p")
        assert cli("evaluate", path, *files.options, *part).code == 0
    joined = ("--parts", root / "p", "-o", root / "j")
    assert cli("evaluate", path, *files.options, *joined).code == 0
    assert rows_of(root / "j" / "froc.csv") == rows_of(root / "v" / "froc.csv")


def test_groups_have_one_curve_of_all_scans(files, cli):
    rows = ["case_id,probs,labels,group"]
    rows += [
        f"case_{i:02d},{files.map(i)},{files.label(i)},{'AB'[i % 2]}" for i in range(12)
    ]
    cohort = files.root / "cohort.csv"
    cohort.write_text("\n".join(rows) + "\n")
    table, path = files.root / "s.parquet", files.root / "c.json"
    args = ("--lesions", "corner", "--mask-lesions", "-o", table)
    assert cli("score", "--cohort", cohort, *args).code == 0
    args = ("--alpha", "0.3", "--group-by", "group", "-o", path)
    assert cli("calibrate", table, *args).code == 0
    assert cli("evaluate", path, "--cohort", cohort, "-o", files.root / "e").code == 0
    curve = froc_of_table(cx.scores.read_table(table))[0]["foreground"]
    content = json.loads((files.root / "e" / "evaluation.json").read_text())
    assert content["froc"] == [froc_at("foreground", curve).to_json()]
