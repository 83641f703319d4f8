"""A page of every kind of calibration and evaluation that there is."""

import re

import numpy as np
import pytest
from tests.sets_cohort import blobs
from tests.synthetic import write_nifti

import coverax as cx
from coverax.report import write_report

pytest.importorskip("jinja2")
N, N_FOLDS = 24, 2
SETS = "--method sets --inner identity --outer identity"
# Name -> calibration, and how its cases are given to `evaluate`.
KINDS = {
    "groups": ("--alpha .4 --group-by group", "--cohort new.csv"),
    "floor": ("--alpha .4 --group-by group --group-floor 9", "--cohort new.csv"),
    "ties": ("--alpha .3 --break-ties", "--cohort new.csv"),
    "delta": ("--alpha .4 --delta .2", "--cohort new.csv"),
    "seen": ("--alpha .3", "--cohort cal.csv"),
    "crc": ("--method crc --alpha .3", "--cohort new.csv"),
    "ltt": ("--method ltt --alpha .6 --delta .2 --also dice=.7", "--cohort new.csv"),
    "each": (f"{SETS} --alpha .3 --joint each", "--cohort new.csv"),
    "low": ("--method volume --alpha .3 --one-sided at-least", "--cohort new.csv"),
    "folds": ("--method crc --alpha .4 --folds", "FOLDS"),
    "fold-sets": (f"{SETS} --alpha .6 --folds", "FOLDS"),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two cohorts with a column fold, and the maps of new cases by each fold."""
    root = tmp_path_factory.mktemp("kinds")
    probs, labels = blobs(2 * N, 5)
    lines = {"cal": [], "new": []}
    for i in range(2 * N):
        part = "cal" if i < N else "new"
        name = f"{part}{i:02d}"
        write_nifti(root / part / "probs" / f"{name}.nii.gz", probs[i])
        write_nifti(root / part / "labels" / f"{name}.nii.gz", labels[i])
        paths = [f"{part}/{kind}/{name}.nii.gz" for kind in ("probs", "labels")]
        group = "small" if i % 6 == 0 else "AB"[i % 2]
        lines[part].append(",".join([name, *paths, group, f"f{i % N_FOLDS}"]))
    for part, rows in lines.items():
        head = "case_id,probs,labels,group,fold"
        (root / f"{part}.csv").write_text("\n".join([head, *rows]) + "\n")
    plain = [line.rpartition(",")[0] for line in (root / "cal.csv").read_text().split()]
    (root / "plain.csv").write_text("\n".join(plain) + "\n")
    return root


@pytest.fixture(scope="module")
def tables(root):
    """One table of one model, one of two folds."""
    from coverax.cli.app import run

    options = "--tolerance .1 --transform inner=identity --transform outer=identity"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for cohort, name in (("plain", "one"), ("cal", "folds")):
            asked = (
                f"score --cohort {cohort}.csv {options} --engine host -o {name}.parquet"
            )
            assert run(asked.split()) == 0
    return {"one": root / "one.parquet", "folds": root / "folds.parquet"}


SLOW = ("floor", "ties", "delta", "crc", "low", "fold-sets")


@pytest.mark.parametrize(
    "kind",
    [pytest.param(k, marks=[pytest.mark.slow] * (k in SLOW)) for k in KINDS],
)
def test_every_kind_has_its_promise_its_outcome_and_its_cases(
    kind, root, tables, tmp_path, cli, monkeypatch
):
    monkeypatch.chdir(root)
    how, given = KINDS[kind]
    folded = given == "FOLDS"
    cases = given.split()
    if folded:
        cases = ["--probs", "new/probs"] * N_FOLDS + ["--labels", "new/labels"]
    folder = tmp_path / "own"
    folder.mkdir()
    calibration = folder / "calibration.json"
    table = tables["folds" if folded else "one"]
    made = cli("calibrate", table, *how.split(), "-o", calibration)
    assert made.code == 0, made.err
    asked = cli("evaluate", calibration, *cases, "-o", folder / "evaluated")
    assert asked.code == 0, asked.err
    cohort = cx.volumes.read_cohort(root / f"{'cal' if kind == 'seen' else 'new'}.csv")
    write_report([folder, table], tmp_path / "r.html", cohort=cohort)
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    text = " ".join(re.sub(r"<[^>]*>", " ", page).split())
    summary = cx.evaluate.read_evaluation(folder / "evaluated" / "evaluation.json")
    for result in summary.results:
        said = cx.evaluate.sentence(result, held_out=summary.held_out)
        assert said.replace(">", "&gt;") in text
    assert (kind == "seen") == ("is not held out" in text)
    assert ("folds are not drawn" in text) == folded
    n_drawn = page.count('class="viewer"')
    assert n_drawn == 0 if folded else n_drawn >= 3


def test_too_few_cases_make_a_page_that_promises_nothing(root, tmp_path, cli):
    lines = (root / "plain.csv").read_text().split()
    few = root / "few.csv"
    few.write_text("\n".join(lines[:4]) + "\n")
    table = tmp_path / "own" / "s.parquet"
    assert cli("score", "--cohort", few, "-o", table).code == 0
    made = cx.calibrate.calibrate_fnr(cx.scores.read_table(table), "0.1")
    made.write(tmp_path / "own" / "calibration.json")
    write_report([tmp_path / "own"], tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "NO INFORMATIVE GUARANTEE" in page
    assert "status TOO_FEW_CASES" in page
    assert not np.isfinite(made.thresholds[0].value)
