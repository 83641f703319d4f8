"""`coverax reliability` and `coverax temperature` end to end, on files."""

import json

import nibabel as nib
import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.oracles import bins as oracle
from tests.synthetic import write_nifti

SHAPE = (9, 8, 7)
REGIONS = ("--region", "a=1:1", "--region", "b=2:2")


@pytest.fixture
def volumes(tmp_path):
    """Six over-confident softmax maps of three classes; one reference lacks class b."""
    rng = np.random.default_rng(0)
    for i in range(6):
        z = rng.normal(0, 1, (*SHAPE, 3))
        e = np.exp(z)
        p = e / e.sum(-1, keepdims=True)
        y = (rng.random((*SHAPE, 1)) > p.cumsum(-1)).sum(-1).clip(0, 2)
        if i == 5:
            y[y == 2] = 0
        e = np.exp(3 * z)
        sharp = (e / e.sum(-1, keepdims=True)).astype(np.float32)
        write_nifti(tmp_path / "probs" / f"c{i}.nii.gz", sharp)
        write_nifti(tmp_path / "labels" / f"c{i}.nii.gz", y.astype(np.uint8))
    return tmp_path


def options(root, *more):
    return ("--probs", root / "probs", "--labels", root / "labels", *more)


def stored(root, i):
    p = np.asarray(nib.load(root / "probs" / f"c{i}.nii.gz").dataobj)
    return p, np.asarray(nib.load(root / "labels" / f"c{i}.nii.gz").dataobj)


def test_the_table_is_enough_and_equals_the_definition(volumes, cli, engine):
    table, out = volumes / "s.parquet", volumes / "out"
    args = options(volumes, *REGIONS, "--softmax", "--engine", engine)
    assert cli("score", *args, "-o", table).code == 0
    for i in range(6):  # volumes are not needed any more
        kept = [stored(volumes, i) for i in range(6)] if i == 0 else kept
        (volumes / "probs" / f"c{i}.nii.gz").unlink()
    summary = cli("reliability", table, "-o", out, "--json").json
    names = [r["region"] for r in summary["regions"]]
    assert names == ["background", "a", "b"]
    for c, result in enumerate(summary["regions"]):
        p = np.concatenate([k[0][..., c].ravel() for k in kept])
        y = np.concatenate([(k[1] == c).ravel() for k in kept])
        count, sum_p, sum_y, _ = oracle.hard(p, y, 20)
        there = count > 0
        gap = np.abs(sum_p[there] - sum_y[there]) / count[there]
        pooled = result["pooled"]
        assert pooled["ece"] == pytest.approx((count[there] * gap).sum() / p.size)
        assert pooled["ace"] == pytest.approx(gap.mean(), rel=1e-5)
        assert pooled["mce"] == pytest.approx(gap.max(), rel=1e-5)
        assert pooled["brier"] == pytest.approx(((p - y) ** 2).mean(), rel=1e-5)
        low, high = result["pooled_interval"]["nll"]
        assert low <= pooled["nll"] <= high
    assert summary["regions"][2]["n_absent"] == 1
    truth = np.concatenate([k[1].ravel() for k in kept])
    all_p = np.concatenate([k[0].reshape(-1, 3) for k in kept]).astype(float)
    nll = -np.log(all_p[np.arange(truth.size), truth]).mean()
    assert summary["softmax"]["nll"] == pytest.approx(nll, rel=1e-5)
    top, right = all_p.max(1), all_p.argmax(1) == truth
    count, sum_p, sum_y, _ = oracle.hard(top, right, 20)
    want = np.abs(sum_p - sum_y).sum() / truth.size
    assert summary["top_label"]["pooled"]["ece"] == pytest.approx(want, rel=1e-5)
    files = {path.name for path in out.iterdir()}
    assert {"cases.csv", "cases.parquet", "reliability.json"} < files
    assert {"dataset_histogram.svg", "reliability_diagram.png"} < files
    assert pq.read_table(out / "cases.parquet").num_rows == 18


def test_sixty_columns_hold_every_number(volumes, cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    args = options(volumes, *REGIONS, "--softmax", "--draws", "0", "--no-figures")
    shown = cli("reliability", *args, "-o", volumes / "a").out
    summary = cli("reliability", *args, "-o", volumes / "b", "--json").json
    for result in summary["regions"]:
        measures = [result["pooled"][k] for k in ("ece", "ace", "mce", "brier", "nll")]
        for number in [*measures, result["macro"]["ece"]]:
            assert f"{number:.4f}" in shown


def test_volumes_give_what_the_table_gives(volumes, cli):
    table = volumes / "s.parquet"
    assert cli("score", *options(volumes, *REGIONS), "-o", table).code == 0
    one = ("reliability", table, "-o", volumes / "x", "--no-figures", "--json")
    two = ("reliability", *options(volumes, *REGIONS), "-o", volumes / "y")
    assert cli(*one).json == cli(*two, "--no-figures", "--json").json


def test_absent_classes_and_left_out_regions(volumes, cli):
    table = volumes / "s.parquet"
    assert cli("score", *options(volumes, *REGIONS), "-o", table).code == 0
    base = ("reliability", table, "--no-figures", "--draws", "0", "--json")
    skip = cli(*base, "-o", volumes / "x").json
    include = cli(*base, "--absent", "include", "-o", volumes / "y").json
    assert skip["regions"][1]["macro"] != include["regions"][1]["macro"]
    assert skip["regions"][0]["macro"] == include["regions"][0]["macro"]
    one = cli(*base, "--leave-out", "a", "-o", volumes / "z").json
    assert [r["region"] for r in one["regions"]] == ["b"]


def test_temperature_lowers_the_log_loss_and_the_interval_says_so(volumes, cli):
    fit, hot = volumes / "t.json", volumes / "hot"
    args = (*options(volumes), *REGIONS, "--softmax")
    content = cli("temperature", "fit", *args, "-o", fit, "--json").json
    found = content["fits"]["softmax"]
    assert found["status"] == "OK"
    assert found["temperature"] == pytest.approx(3, rel=0.3)
    done = cli("temperature", "apply", fit, "--probs", volumes / "probs", "-o", hot)
    assert done.code == 0
    before, after = volumes / "a.parquet", volumes / "b.parquet"
    assert cli("score", *args, "-o", before).code == 0
    scaled = ("--probs", hot, "--labels", volumes / "labels", *args[4:])
    assert cli("score", *scaled, "-o", after).code == 0
    summary = cli(
        "reliability", before, "--against", after, "-o", volumes / "x", "--json"
    ).json
    change = summary["against"]["regions"]["softmax"]["nll"]
    assert change["difference"] < 0
    assert change["interval"][1] < 0
    assert change["second"] == pytest.approx(found["nll_after"], rel=1e-4)
    image = nib.load(hot / "c0.nii.gz")
    np.testing.assert_array_equal(
        image.affine, nib.load(volumes / "probs" / "c0.nii.gz").affine
    )
    p, _ = stored(volumes, 0)
    assert image.shape == p.shape
    np.testing.assert_array_equal(np.asarray(image.dataobj).argmax(-1), p.argmax(-1))


def test_sigmoid_regions_have_a_temperature_each(volumes, cli):
    fit = volumes / "t.json"
    args = (*options(volumes), *REGIONS)
    content = cli("temperature", "fit", *args, "-o", fit, "--json").json
    assert set(content["fits"]) == {"a", "b"}
    hot = volumes / "hot"
    assert cli("temperature", "apply", fit, "--probs", volumes / "probs", "-o", hot)
    old, _ = stored(volumes, 1)
    new = np.asarray(nib.load(hot / "c1.nii.gz").dataobj)
    np.testing.assert_array_equal(new[..., 0], old[..., 0])
    assert (new[..., 1] != old[..., 1]).any()


def test_a_softmax_that_does_not_sum_to_one_is_refused(volumes, cli):
    p, _ = stored(volumes, 2)
    write_nifti(volumes / "probs" / "c2.nii.gz", p * np.float32(0.9))
    args = options(volumes, *REGIONS, "--softmax")
    result = cli("score", *args, "-o", volumes / "s.parquet")
    assert result.code == 1
    assert "c2" in result.errors[0]
    assert "must sum to 1, got 0.9" in result.errors[0]
    assert cli("score", *args[:-1], "-o", volumes / "s.parquet").code == 0


def test_a_wrong_number_of_classes_is_refused(volumes, cli):
    args = options(volumes, "--region", "a=1:1", "--softmax")
    result = cli("score", *args, "-o", volumes / "s.parquet")
    assert result.code == 1
    assert "has 3 channels, the softmax 2 classes" in result.errors[0]
    args = options(volumes, "--region", "b=2:2", "--softmax")
    assert cli("score", *args, "-o", volumes / "s.parquet").code == 2


def test_what_a_table_cannot_answer_is_said(volumes, cli):
    table = volumes / "s.parquet"
    args = options(volumes, *REGIONS, "--bins", "0")
    assert cli("score", *args, "-o", table).code == 0
    result = cli("reliability", table, "-o", volumes / "x")
    assert result.code == 1
    assert "holds no such bins" in result.errors[0]
    assert cli("reliability", "-o", volumes / "x").code == 2
    wrong = volumes / "t.json"
    wrong.write_text(json.dumps({"schema": 7}))
    args = ("temperature", "apply", wrong, "--probs", volumes / "probs")
    result = cli(*args, "-o", volumes / "y")
    assert result.code == 1
    assert "not a coverax temperature" in result.errors[0]
