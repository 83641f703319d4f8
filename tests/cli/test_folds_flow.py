"""Five folds of a small cohort through the command line, from score to evaluation."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest
from tests.sets_cohort import blobs
from tests.synthetic import write_nifti

import coverax as cx

SPACING = (1.0, 1.5, 2.5)
N_FOLDS, N_EACH, N_NEW = 5, 10, 6


def under(fold, probs):
    """The map of another model: blunter with every fold, and a little too low."""
    odds = np.log(probs / (1 - probs)) * (1 - 0.15 * fold) - 0.2 * fold
    return (1 / (1 + np.exp(-odds))).astype(np.float32)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """`cohort.csv` with a column fold; maps of new cases, one folder a fold."""
    root = tmp_path_factory.mktemp("folds")
    n = N_FOLDS * N_EACH
    probs, labels = blobs(n + N_NEW, 11)
    rows = ["case_id,probs,labels,fold"]
    for i in range(n):
        fold, case = i % N_FOLDS, f"c{i:02d}"
        write_nifti(root / "oof" / f"{case}.nii.gz", under(fold, probs[i]), SPACING)
        write_nifti(root / "labels" / f"{case}.nii.gz", labels[i], SPACING)
        rows.append(f"{case},oof/{case}.nii.gz,labels/{case}.nii.gz,{fold}")
    for i in range(n, n + N_NEW):
        case = f"n{i - n}"
        write_nifti(root / "new_labels" / f"{case}.nii.gz", labels[i], SPACING)
        for fold in range(N_FOLDS):
            path = root / f"new_{fold}" / f"{case}.nii.gz"
            write_nifti(path, under(fold, probs[i]), SPACING)
    (root / "cohort.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture(scope="module")
def table(cohort, tmp_path_factory):
    from coverax.scores import ScoreDefinition, score_cohort, sorted_tolerances
    from coverax.table import parse_region, parse_transforms
    from coverax.volumes import read_cohort

    names = ["inner=identity", "outer=identity", "outer=logit", "outer=distance"]
    definition = ScoreDefinition(
        regions=(parse_region("foreground=0:1"),),
        tolerances=sorted_tolerances(["0.1"]),
        transforms=parse_transforms(names),
    )
    path = tmp_path_factory.mktemp("table") / "s.parquet"
    score_cohort(read_cohort(cohort / "cohort.csv"), definition, engine="host").write(
        path
    )
    return path


SETS = ("--method", "sets", "--inner", "identity", "--outer", "identity")
METHODS = {
    "sets": (*SETS, "--alpha", "0.4"),
    "logit": (*SETS[:-1], "logit", "--alpha", "0.4"),
    "distance": (*SETS[:-1], "distance", "--alpha", "0.4"),
    "each": (*SETS, "--joint", "each", "--alpha", "0.2"),
    "majority": ("--method", "crc", "--alpha", "0.2"),
    "union": ("--method", "crc", "--vote", "union", "--alpha", "0.2"),
    "share": ("--method", "crc", "--vote", "0.6", "--alpha", "0.3"),
    "fnr": ("--method", "fnr", "--alpha", "0.1"),
}


def maps_of(cohort, folds=range(N_FOLDS)):
    return [word for k in folds for word in ("--probs", cohort / f"new_{k}")]


def calibrated(table, cli, out, name):
    done = cli("calibrate", table, *METHODS[name], "--folds", "-o", out)
    assert done.code == 0, done.err
    return json.loads(out.read_text())


def test_votes_become_one_label_map_in_another_container(cohort, table, cli, tmp_path):
    pytest.importorskip("SimpleITK", exc_type=ImportError)
    out = tmp_path / "c.json"
    calibrated(table, cli, out, "majority")
    for name, more in (("each", ()), ("one", ("--merge", "--as", "mha"))):
        args = (*maps_of(cohort), *more, "-o", tmp_path / name)
        assert cli("predict", out, *args).code == 0
    for i in range(N_NEW):
        mask, file = cx.volumes.read_labels(tmp_path / f"one/n{i}.mha")
        twin, like = cx.volumes.read_labels(tmp_path / f"each/n{i}.nii.gz")
        np.testing.assert_array_equal(mask, twin)
        cx.volumes.check_same_grid(file.grid, file.path, like.grid, like.path)
    calibrated(table, cli, out, "sets")
    done = cli("predict", out, *maps_of(cohort), "--merge", "-o", tmp_path / "no")
    assert done.code == 1
    assert "not confidence sets: leave --merge out" in done.errors[0]


@pytest.mark.parametrize("name", METHODS)
def test_what_is_predicted_is_what_is_evaluated_and_what_memory_gives(
    name, cohort, table, cli, tmp_path
):
    out = tmp_path / "c.json"
    calibrated(table, cli, out, name)
    is_sets = name in ("sets", "logit", "distance", "each")
    sides = ("--sides",) if is_sets else ()
    masks = tmp_path / "m"
    done = cli("predict", out, *maps_of(cohort), *sides, "-o", masks)
    assert done.code == 0, done.err
    assert "fold 4: " in done.err
    labels = cohort / "new_labels"
    done = cli(
        *("evaluate", out, *maps_of(cohort), "--labels", labels),
        *("-o", tmp_path / "e", "--json"),
    )
    assert done.code == 0, done.err
    (result,) = done.json["results"]
    assert done.json["held_out"]
    with (tmp_path / "e" / "cases.csv").open() as stream:
        rows = {row["case_id"]: row for row in csv.DictReader(stream)}
    calibration = cx.calibrate.read_calibration(out)
    wanted = ("inner", "outer") if is_sets else ("mask",)
    n_covered = 0
    for case, row in rows.items():
        maps = [
            np.asanyarray(nib.load(cohort / f"new_{k}" / f"{case}.nii.gz").dataobj)
            for k in range(N_FOLDS)
        ]
        truth = np.asanyarray(nib.load(labels / f"{case}.nii.gz").dataobj) > 0
        found = cx.predict.fold_masks(calibration, maps, spacing_mm=SPACING)
        sidecar = json.loads((masks / f"{case}.json").read_text())
        assert sidecar["statement"] == calibration.statement
        for kind in wanted:
            suffix = f"_{kind}" if is_sets else ""
            written = np.asanyarray(nib.load(masks / f"{case}{suffix}.nii.gz").dataobj)
            np.testing.assert_array_equal(written > 0, found[kind])
            column = f"n_{kind}" if is_sets else "calibrated_volume_ml"
            scale = 1 if is_sets else float(np.prod(SPACING)) / 1000
            assert float(row[column]) == pytest.approx(found[kind].sum() * scale)
        if is_sets:
            inside = not (found["inner"] & ~truth).any()
            outside = not (truth & ~found["outer"]).any()
            assert (row["inner_covered"], row["outer_covered"]) == (
                str(inside),
                str(outside),
            )
            n_covered += inside and outside
        else:
            missed = (truth & ~found["mask"]).sum() / truth.sum()
            assert float(row["calibrated_fnr"]) == pytest.approx(missed)
    if is_sets:
        assert result["joint"]["n_covered"] == n_covered
    done = cli(
        *("evaluate", out, *maps_of(cohort), "--labels", labels, "-o", tmp_path / "f")
    )
    assert done.code == 0, done.err
    assert calibration.statement[:40].split()[0] in done.out


def test_sets_of_voxels_are_the_mean_of_p_values_by_hand(cohort, table, cli, tmp_path):
    """Brute force in fractions, from the table and the files alone."""
    from fractions import Fraction

    out = tmp_path / "c.json"
    calibrated(table, cli, out, "sets")
    scores = cx.scores.read_table(table)
    folds = scores.column("fold")
    done = cli("predict", out, *maps_of(cohort), "--sides", "-o", tmp_path / "m")
    assert done.code == 0
    maps = [
        np.asanyarray(nib.load(cohort / f"new_{k}" / "n0.nii.gz").dataobj)
        for k in range(N_FOLDS)
    ]
    rng = np.random.default_rng(0)
    inner, outer = (
        np.asanyarray(nib.load(tmp_path / "m" / f"n0_{side}.nii.gz").dataobj) > 0
        for side in ("inner", "outer")
    )
    assert inner.any()
    assert not outer.all()
    border = outer & ~inner
    places = np.concatenate([np.argwhere(border), np.argwhere(~border)])
    for place in map(tuple, rng.permutation(places)[:300]):
        for side, sign, mask in (("inner", 1, ~inner), ("outer", -1, outer)):
            own = scores.column(f"{side}_score@identity")
            each = [
                Fraction(
                    1
                    + int((own[folds == str(k)] >= sign * float(maps[k][place])).sum()),
                    N_EACH + 1,
                )
                for k in range(N_FOLDS)
            ]
            # alpha 0.4, half of it a side, half of that for the mean
            above = sum(each, Fraction(0)) / N_FOLDS > Fraction(1, 10)
            assert mask[place] == above


def test_a_majority_of_five_is_three_votes_at_three_fifths(table, cli, tmp_path):
    content = calibrated(table, cli, tmp_path / "c.json", "majority")
    assert content["folds"] == {"names": list("01234"), "votes": 3, "sides": []}
    assert content["options"]["fold_alpha"] == "3/25"
    assert [t["fold"] for t in content["thresholds"]] == list("01234")
    assert content["alpha"] == 0.2
    union = calibrated(table, cli, tmp_path / "u.json", "union")
    assert (union["folds"]["votes"], union["options"]["fold_alpha"]) == (1, "1/5")
    share = calibrated(table, cli, tmp_path / "s.json", "share")
    assert (share["folds"]["votes"], share["options"]["fold_alpha"]) == (4, "3/25")


@pytest.mark.parametrize(
    "words",
    [
        ("--alpha", "0.1"),
        ("--method", "crc", "--alpha", "0.2"),
        ("--method", "rcps", "--alpha", "0.2", "--delta", "0.1"),
        ("--method", "ltt", "--alpha", "0.2", "--delta", "0.1"),
        (*SETS, "--alpha", "0.3"),
    ],
)
def test_a_table_of_several_folds_has_no_ranking_of_its_own(
    words, table, cli, tmp_path
):
    done = cli("calibrate", table, *words, "-o", tmp_path / "c.json")
    assert (done.code, len(done.errors)) == (1, 1)
    assert "5 folds (0, 1, 2, 3, 4)" in done.errors[0]
    assert "--folds" in done.errors[0]
    assert "leave the column fold out" in done.errors[0]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--method", "fnr", "--delta", "0.1"), "one model"),
        (("--method", "fnr", "--weights", "weight"), "one model"),
        (("--method", "fnr", "--break-ties"), "one model"),
        (("--method", "fnr", "--group-by", "group"), "too few units"),
        (("--method", "fnr", "--raters", "draw"), "worst"),
        (("--method", "crc", "--loss", "fpr"), "missed voxels"),
        (("--method", "crc", "--loss", "missed_lesions"), "union"),
        (("--method", "crc", "--vote", "1"), "share of votes"),
        (("--method", "crc", "--vote", "most"), "majority, union or a share"),
        ((*SETS, "--joint", "max"), "each or bonferroni"),
        ((*SETS, "--regions", "joint"), "each on its own"),
        (("--method", "rcps", "--delta", "0.1"), "does not go with --method rcps"),
    ],
)
def test_what_has_no_proof_for_folds_is_refused_with_the_reason(
    words, reason, table, cli, tmp_path
):
    args = (*words, "--alpha", "0.2", "--folds", "-o", tmp_path / "c.json")
    done = cli("calibrate", table, *args)
    assert done.code in (1, 2)
    assert reason in " ".join(done.err.split())
    assert not (tmp_path / "c.json").exists()


def test_folds_that_are_none_are_refused_by_name(cohort, cli, tmp_path):
    text = (cohort / "cohort.csv").read_text()
    lines = [line.split(",") for line in text.splitlines()]
    header, first, *rest = lines

    def refused(rows, words):
        path = cohort / "other.csv"
        path.write_text("\n".join(",".join(row) for row in rows) + "\n")
        out = tmp_path / "s.parquet"
        done = cli("score", "--cohort", path, "--tolerance", "0.1", "-o", out)
        if done.code == 0:
            args = ("--method", "fnr", "--alpha", "0.2", "--folds")
            done = cli("calibrate", out, *args, "-o", tmp_path / "c.json")
            out.unlink()
        assert (done.code, len(done.errors)) == (1, 1)
        assert words in done.errors[0]

    refused([row[:3] for row in lines], "no column fold")
    refused([header, *([*row[:3], "0"] for row in lines[1:])], "0 alone")
    refused([header, [*first[:3], ""], *rest], f"fold of case {first[0]} is empty")
    units = ["u", *(row[0] for row in rest[1:])]
    two = [first, *rest]
    owned = [[*row, "u" if i < 2 else units[i - 1]] for i, row in enumerate(two)]
    refused([[*header, "unit"], *owned], "unit u lies in fold 0 and in fold 1")


def test_a_fold_too_small_is_named_with_its_size(table, cli, tmp_path):
    args = (*SETS, "--alpha", "0.1", "--folds", "-o", tmp_path / "c.json")
    done = cli("calibrate", table, *args)
    assert (done.code, len(done.errors)) == (1, 1)
    assert "TOO_FEW_CASES" in done.errors[0]
    assert "fold 0 has 10" in done.errors[0]
    assert "plan" in done.errors[0]
    args = ("--method", "fnr", "--alpha", "0.05", "--folds", "-o", tmp_path / "c.json")
    done = cli("calibrate", table, *args)
    assert "fold 3: TOO_FEW_CASES (rank 11 of 10 units)" in done.errors[0]
    done = cli("calibrate", table, *args, "--allow-vacuous")
    assert done.code == 0
    assert json.loads((tmp_path / "c.json").read_text())["status"] == "TOO_FEW_CASES"


def test_the_maps_of_other_folds_or_grids_are_refused(cohort, table, cli, tmp_path):
    out, masks = tmp_path / "c.json", tmp_path / "m"
    calibrated(table, cli, out, "fnr")
    for folds in (range(1), range(4)):
        for command in ("predict", "evaluate"):
            labels = (
                ("--labels", cohort / "new_labels") if command == "evaluate" else ()
            )
            args = (command, out, *maps_of(cohort, folds), *labels, "-o", masks)
            done = cli(*args)
            assert (done.code, len(done.errors)) == (1, 1)
            assert "5 folds (0, 1, 2, 3, 4)" in done.errors[0]
            assert "--probs 5 times" in done.errors[0]
    wrong = tmp_path / "wrong"
    for path in sorted((cohort / "new_4").iterdir())[1:]:
        values = np.asanyarray(nib.load(path).dataobj)
        write_nifti(wrong / path.name, values, (1.0, 1.0, 1.0))
    args = ("predict", out, *maps_of(cohort, range(4)), "--probs", wrong, "-o", masks)
    done = cli(*args)
    assert done.code == 1
    assert "case n0: no map of fold 4" in done.err
    done = cli(*args, "--allow-missing")
    assert done.code == 1
    assert all(word in done.err for word in ("case n1", "wrong"))
    assert not masks.exists()


def marked(folder, mark):
    """Copies of maps that say which model made them."""
    new = folder.with_name(f"{folder.name}_marked")
    for path in folder.iterdir():
        image = nib.load(path)
        image.header["descrip"] = f"coverax infer:{mark}".encode()
        new.mkdir(exist_ok=True)
        nib.save(image, new / path.name)
    return new


def test_maps_that_name_their_model_are_told_from_those_of_another_fold(
    cohort, cli, tmp_path
):
    """Folders in another order are refused, and so is a fold of two models."""
    lines = [row.split(",") for row in (cohort / "cohort.csv").read_text().splitlines()]
    for name, model_of in (
        ("own", lambda fold, _i: f"model{fold}"),
        ("mixed", lambda fold, i: f"model{fold}" + ("b" if i > 40 else "")),
    ):
        rows = [lines[0]]
        for i, (case, path, labels, fold) in enumerate(lines[1:]):
            image = nib.load(cohort / path)
            image.header["descrip"] = f"coverax infer:{model_of(fold, i)}".encode()
            new = cohort / name / f"{case}.nii.gz"
            new.parent.mkdir(exist_ok=True)
            nib.save(image, new)
            rows.append([case, f"{name}/{case}.nii.gz", labels, fold])
        listed = cohort / f"{name}.csv"
        listed.write_text("\n".join(map(",".join, rows)) + "\n")
        done = cli(
            *("score", "--cohort", listed, "--tolerance", "0.1"),
            *("-o", tmp_path / f"{name}.parquet"),
        )
        assert done.code == (name == "mixed"), done.err
    assert "a fold is predicted by one model" in done.errors[0]
    out = tmp_path / "c.json"
    args = ("--method", "fnr", "--alpha", "0.2", "--folds", "-o", out)
    assert cli("calibrate", tmp_path / "own.parquet", *args).code == 0
    folders = [marked(cohort / f"new_{k}", f"model{k}") for k in range(N_FOLDS)]
    swapped = [folders[1], folders[0], *folders[2:]]
    labels = ("--labels", cohort / "new_labels")
    for command, more in (("predict", ()), ("evaluate", labels)):
        for name, given in (("right", folders), ("wrong", swapped)):
            probs = [word for folder in given for word in ("--probs", folder)]
            done = cli(command, out, *probs, *more, "-o", tmp_path / f"{command}{name}")
            assert done.code == (name == "wrong"), done.err
        assert "the mark 'infer:model0'" in done.err


def test_validate_knows_the_law_of_each_fold(table, cli):
    done = cli("validate", table, "--method", "fnr", "--alpha", "0.2", "--json")
    assert done.code == 0, done.err
    found = done.json["results"]
    assert [entry["fold"] for entry in found] == list("01234")
    for entry in found:
        (row,) = entry["splits"]
        assert entry["n_units"] == N_EACH
        assert row["coverage_mean"] == pytest.approx(row["expected"])
    assert "no law is known" in done.json["evidence"]["folds"]
    shown = cli("validate", table, "--method", "fnr", "--alpha", "0.2")
    assert "fold 0: fnr of foreground" in shown.out


def test_plan_tells_what_calibrate_asks_of_a_fold(cli):
    done = cli("plan", "--alpha", "0.1", "--folds", "5", "--json")
    rows = {row["method"]: row["n_each"] for row in done.json["rows"]}
    assert rows["sets, each side"] == 19
    assert rows["sets, both sides (bonferroni, halves)"] == 39
    assert rows["fnr (union)"] == cx.calibrate.n_needed("0.1") == 9
    assert rows["crc, majority (3 of 5)"] == 16
    assert cli("plan", "--alpha", "0.1", "--folds", "5").code == 0
    assert cli("plan", "--alpha", "0.1", "--folds", "1").code == 2
