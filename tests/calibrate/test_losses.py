"""Losses of one's own: functions of counts, and tables from a file."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tests import synthetic

import coverax as cx
from coverax.calibrate import Counts, Loss, LossCurves, read_loss_curves
from coverax.cli.app import run

CUTS = np.array([0.0, 0.25, 0.5, 0.75], np.float32)


@pytest.fixture(scope="module")
def cases():
    rng = np.random.default_rng(0)
    pairs = [
        synthetic.case((6, 7, 5), int(rng.integers(9, 60)), rng) for _ in range(60)
    ]
    return tuple(map(np.stack, zip(*pairs, strict=True)))


@pytest.fixture(scope="module")
def table(cases):
    return cx.scores.score_arrays(*cases, ["0.1"], engine="host")


def squared_miss(counts: Counts):
    """A miss counts by its square; 0 at cut 0."""
    return (1 - counts.n_true_positive / counts.n_foreground) ** 2


OWN = Loss(squared_miss, "squared share that is missed", -1, True, "squared_miss")


def test_a_function_of_counts_is_controlled_on_the_masks(cases, table):
    probs, _ = cases
    found = cx.calibrate.calibrate_crc(table, "0.1", loss=OWN)

    def corrected(cut):
        missed = [(y & (p < cut)).sum() / y.sum() for p, y in zip(*cases, strict=True)]
        return (np.square(missed).sum() + 1) / (len(probs) + 1)

    cut = found.thresholds[0].probability
    assert corrected(cut) <= 0.1 < corrected(cut + 1 / 1024)
    assert found.options["loss"] == "squared_miss"
    assert found.options["own_loss"] == OWN.words
    assert "The loss is the user's own" in found.statement
    rcps = cx.calibrate.calibrate_rcps(table, "0.3", "0.1", loss=OWN)
    assert rcps.status.name == "OK"
    ltt = cx.calibrate.calibrate_ltt(table, "0.3", "0.1", loss=OWN, also={"fpr": "0.5"})
    assert ltt.options["also"] == {"fpr": 0.5}


def test_a_bound_other_than_one_is_for_crc_alone(table):
    double = OWN._replace(
        of=lambda counts: 2 * squared_miss(counts), bound=2.0, name="d"
    )
    one = cx.calibrate.calibrate_crc(table, "0.1", loss=OWN)
    two = cx.calibrate.calibrate_crc(table, "0.2", loss=double)
    assert two.thresholds[0].value == one.thresholds[0].value
    assert two.options["loss_bound"] == 2.0
    for call in (cx.calibrate.calibrate_rcps, cx.calibrate.calibrate_ltt):
        with pytest.raises(ValueError, match="divide it by its bound"):
            call(table, "0.2", "0.1", loss=double)


def test_a_loss_that_rises_is_sent_to_ltt(table):
    """It claims to be monotone; the cases say otherwise."""
    bumpy = OWN._replace(
        of=lambda counts: np.broadcast_to(
            np.where((counts.cuts > 0.2) & (counts.cuts < 0.3), 0.0, 0.1),
            counts.n_predicted.shape,
        ),
        name="bumpy",
    )
    with pytest.raises(ValueError, match=r"increases from lam .* LTT takes others"):
        cx.calibrate.calibrate_crc(table, "0.3", loss=bumpy)
    with pytest.raises(ValueError, match=r"increases from lam .* LTT takes others"):
        cx.calibrate.calibrate_rcps(table, "0.3", "0.1", loss=bumpy)
    assert cx.calibrate.calibrate_ltt(table, "0.3", "0.1", loss=bumpy).status == 0
    for method in (cx.calibrate.calibrate_crc, cx.calibrate.calibrate_rcps):
        more = ("0.1",) if method is cx.calibrate.calibrate_rcps else ()
        with pytest.raises(ValueError, match=r"bumpy is not monotone .* ltt can"):
            method(table, "0.3", *more, loss=bumpy._replace(is_monotone=False))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"of": lambda c: squared_miss(c) * np.nan}, "not be NaN"),
        ({"of": lambda c: squared_miss(c) + 1}, r"must lie in \[0, 1"),
        ({"name": "fnr"}, "loss name fnr is taken"),
    ],
)
def test_losses_that_cannot_be_are_refused(table, change, message):
    with pytest.raises(ValueError, match=message):
        cx.calibrate.calibrate_crc(table, "0.3", loss=OWN._replace(**change))


def losses_of(cases):
    """FNR of each case at each cut."""
    return np.array(
        [
            [(y & (p < c)).sum() / y.sum() for c in CUTS]
            for p, y in zip(*cases, strict=True)
        ]
    )


def write_losses(path, losses, header=None):
    lines = [header or ",".join(["case_id", *(f"{c:g}" for c in CUTS)])]
    lines += [
        ",".join([f"case_{i}", *map(repr, row.tolist())])
        for i, row in enumerate(losses)
    ]
    path.write_text("\n".join(lines))
    return path


def test_a_table_of_losses_gives_what_the_function_gives(cases, table, tmp_path):
    losses = losses_of(cases)
    curves = read_loss_curves(write_losses(tmp_path / "mine.csv", losses), safe="small")
    found = cx.calibrate.calibrate_crc(table, "0.3", loss=curves)
    passing = [
        c for c, own in zip(CUTS, losses.T, strict=True) if (own.sum() + 1) / 61 <= 0.3
    ]
    assert found.thresholds[0].probability == max(passing)
    assert found.options["loss"] == "mine"
    assert found.options["loss_digest"] == curves.digest
    assert "computed by the user" in found.statement
    with pytest.raises(ValueError, match="stands alone"):
        cx.calibrate.calibrate_ltt(
            table, "0.3", "0.1", loss=curves, also={"fpr": "0.5"}
        )
    wrong = read_loss_curves(tmp_path / "mine.csv", safe="large")
    with pytest.raises(ValueError, match="increases from lam"):
        cx.calibrate.calibrate_crc(table, "0.3", loss=wrong)
    few = LossCurves(CUTS, {"case_0": losses[0]}, -1)
    with pytest.raises(
        ValueError, match="no row for 59 cases of the table, as case_1,"
    ):
        cx.calibrate.calibrate_crc(table, "0.3", loss=few)


@pytest.mark.parametrize(
    ("header", "losses", "message"),
    [
        ("case,0,0.5", np.zeros((1, 2)), "expected columns case_id"),
        ("case_id,0,zero", np.zeros((1, 2)), "line 1: 'zero' is no number"),
        ("case_id,0.5,0.5", np.zeros((1, 2)), "ascending"),
        ("case_id,0,1.5", np.zeros((1, 2)), r"cuts in \[0, 1\]"),
        ("case_id,0,0.5", np.zeros((1, 3)), "line 2: 4 cells for 3 columns"),
    ],
)
def test_a_file_of_losses_that_is_wrong_is_refused(tmp_path, header, losses, message):
    with pytest.raises(ValueError, match=message):
        read_loss_curves(write_losses(tmp_path / "l.csv", losses, header), safe="small")


def test_a_loss_of_ones_own_is_not_evaluated_and_that_is_said(
    cases, table, tmp_path, capsys
):
    for i, (p, y) in enumerate(zip(*cases, strict=True)):
        synthetic.write_nifti(tmp_path / "p" / f"case_{i}.nii.gz", p)
        synthetic.write_nifti(tmp_path / "y" / f"case_{i}.nii.gz", y)
    kind = cx.scores.MapKind(0, ("float",))
    known = replace(table, definition=table.definition.with_kind(kind))
    cx.calibrate.calibrate_crc(known, "0.1", loss=OWN).write(tmp_path / "c.json")
    files = ("--probs", tmp_path / "p", "--labels", tmp_path / "y")
    args = ("evaluate", tmp_path / "c.json", *files, "-o", tmp_path / "e")
    assert run([str(a) for a in args]) == 0
    assert "its mean was not measured here" in capsys.readouterr().out
    summary = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    assert summary["results"][0]["risks"][0]["mean"] is None


def test_a_file_of_losses_on_the_command_line(cases, table, tmp_path, capsys):
    table.write(tmp_path / "s.parquet")
    file = write_losses(tmp_path / "mine.csv", losses_of(cases))
    out = tmp_path / "c.json"

    def calibrate(*more):
        args = ("calibrate", tmp_path / "s.parquet", "--alpha", "0.3", "-o", out, *more)
        return run([str(a) for a in args])

    assert calibrate("--method", "crc", "--loss-file", file, "--safe", "small") == 0
    assert json.loads(out.read_text())["options"]["loss_safe"] == "small cuts"
    assert calibrate("--method", "crc", "--loss-file", file, "--safe", "large") == 1
    assert "LTT takes others" in capsys.readouterr().err
    assert calibrate("--method", "crc", "--loss-file", file) == 2
    assert calibrate("--method", "crc", "--safe", "small") == 2
    both = ("--loss-file", file, "--safe", "small", "--loss", "fnr")
    assert calibrate("--method", "crc", *both) == 2
    assert calibrate("--loss-file", file, "--safe", "small") == 2
