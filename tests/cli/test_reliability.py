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
    assert "case c2: " in result.errors[0]
    assert f"{volumes / 'probs' / 'c2.nii.gz'}: the classes" in result.errors[0]
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
    assert f"{table}: the score table holds no such bins" in result.errors[0]
    assert cli("reliability", "-o", volumes / "x").code == 2
    wrong = volumes / "t.json"
    wrong.write_text(json.dumps({"schema": 7}))
    args = ("temperature", "apply", wrong, "--probs", volumes / "probs")
    result = cli(*args, "-o", volumes / "y")
    assert result.code == 1
    assert "not a coverax temperature" in result.errors[0]


def test_labels_that_no_class_of_a_softmax_claims_are_refused(volumes, cli):
    _, y = stored(volumes, 3)
    y = y.copy()
    y[0, 0, 0] = 3
    path = write_nifti(volumes / "labels" / "c3.nii.gz", y)
    args = options(volumes, *REGIONS, "--softmax")
    for command in (("score",), ("reliability",), ("temperature", "fit")):
        result = cli(*command, *args, "-o", volumes / "out")
        assert result.code == 1
        assert "c3" in result.errors[0]
        assert f"{path}: unexpected label 3; expected 0, 1, 2" in result.errors[0]
    # The label can be left out, or belong to a class of several.
    out = ("-o", volumes / "s.parquet")
    assert cli("score", *args, "--ignore-label", "3", *out).code == 0
    joined = ("--region", "a=1:1,3", "--region", "b=2:2", "--softmax")
    assert cli("score", *options(volumes, *joined), *out).code == 0
    # Independent channels may leave labels to the background.
    assert cli("score", *args[:-1], *out).code == 0


def test_volumes_are_read_under_the_options_of_score(volumes, cli):
    for i in range(6):
        p, y = stored(volumes, i)
        z = np.log(p + 1e-6).astype(np.float32)
        write_nifti(volumes / "logits" / f"c{i}.nii.gz", z)
        y = y.copy()
        y[0] = 9
        write_nifti(volumes / "labels" / f"c{i}.nii.gz", y)
    args = ("--probs", volumes / "logits", "--labels", volumes / "labels", *REGIONS)
    more = ("--softmax", "--logits", "--ignore-label", "9")
    table = volumes / "s.parquet"
    assert cli("score", *args, *more, "-o", table).code == 0
    plain = ("--no-figures", "--json", "-o")
    want = cli("reliability", table, *plain, volumes / "x").json
    assert cli("reliability", *args, *more, *plain, volumes / "y").json == want
    over, _ = stored(volumes, 0)
    over = over * np.float32(1.0005)
    write_nifti(volumes / "probs" / "c0.nii.gz", over)
    args = options(volumes, *REGIONS, "--ignore-label", "9", "--no-figures")
    refused = cli("reliability", *args, "-o", volumes / "z")
    assert "--allow-overshoot" in refused.errors[0]
    assert cli("reliability", *args, "--allow-overshoot", "-o", volumes / "z").code == 0


def test_options_of_scoring_are_refused_beside_a_table(volumes, cli):
    table = volumes / "s.parquet"
    assert cli("score", *options(volumes, *REGIONS), "-o", table).code == 0
    for given in (("--bins", "10"), ("--band-edges=-5,0",), ("--ignore-label", "0")):
        result = cli("reliability", table, *given, "-o", volumes / "x")
        assert result.code == 2
        assert given[0].split("=")[0] in result.err
        assert "cannot change a score table" in result.err


def test_comparisons_without_draws_print_no_interval(volumes, cli):
    table = volumes / "s.parquet"
    args = options(volumes, *REGIONS, "--softmax")
    assert cli("score", *args, "-o", table).code == 0
    base = ("reliability", table, "--against", table, "--no-figures", "-o")
    with_draws = cli(*base, volumes / "x")
    assert "difference +0.00000 (+0.00000 to +0.00000)" in with_draws.out
    without = cli(*base, volumes / "y", "--draws", "0")
    assert "difference +0.00000\n" in without.out
    assert "\n  from" in with_draws.out
    assert "\n  from" not in without.out
    found = json.loads((volumes / "y" / "reliability.json").read_text())
    assert found["against"]["regions"]["softmax"]["nll"]["interval"] is None


def test_tables_of_other_bins_are_not_compared(volumes, cli):
    one, two = volumes / "a.parquet", volumes / "b.parquet"
    args = options(volumes, *REGIONS)
    assert cli("score", *args, "-o", one).code == 0
    assert cli("score", *args, "--bins", "10", "-o", two).code == 0
    result = cli("reliability", one, "--against", two, "-o", volumes / "x")
    assert result.code == 1
    assert (
        f"{one} and {two} cannot be compared, their bins differ: 20 and 10"
        in result.errors[0]
    )


@pytest.fixture
def sites(volumes, cli):
    """The table of the six cases at two sites, one of them with one patient."""
    lines = ["case_id,probs,labels,unit,group"]
    for i in range(6):
        site, unit = ("north", f"p{i}") if i < 4 else ("south", "p9")
        files = f"probs/c{i}.nii.gz,labels/c{i}.nii.gz"
        lines.append(f"c{i},{files},{unit},{site}")
    (volumes / "cohort.csv").write_text("\n".join(lines) + "\n")
    table = volumes / "s.parquet"
    args = ("--cohort", volumes / "cohort.csv", *REGIONS, "--softmax")
    assert cli("score", *args, "-o", table).code == 0
    return table


def test_the_table_shows_intervals_sites_and_absent_classes(sites, cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    out = sites.parent / "out"
    shown = cli("reliability", sites, "--no-figures", "-o", out)
    summary = json.loads((out / "reliability.json").read_text())
    assert max(map(len, shown.out.splitlines())) <= 60
    parts = [*summary["regions"], summary["top_label"], summary["mean_over_regions"]]
    parts += [r["groups"]["north"] for r in summary["regions"]]
    for part in parts:
        for how in ("pooled", "macro"):
            for end in part[f"{how}_interval"]["ece"]:
                assert f"{end:.4f}" in shown.out
    for low, high in summary["softmax"]["interval"].values():
        assert f"{low:.4f}" in shown.out
        assert f"{high:.4f}" in shown.out
    for name in ("a", "b"):
        assert f"{name}, north" in shown.out
        south = next(r for r in summary["regions"] if r["region"] == name)["groups"]
        assert f"{south['south']['pooled']['ece']:.4f}" in shown.out
    assert "b: absent from 1 of 6 references" in shown.out
    assert "a: absent" not in shown.out


def test_few_units_are_said_in_one_line(sites, cli):
    result = cli("reliability", sites, "--no-figures", "-o", sites.parent / "out")
    said = [line for line in result.err.splitlines() if "fewer than 10 units" in line]
    assert said == [
        "intervals over fewer than 10 units are rough and too short, and there is none "
        "of one unit: background (5), a (5), b (5)"
    ]


def test_soft_bins_are_kept_read_and_shown(volumes, cli):
    """By way of a table, of parts, and of the volumes: the same."""
    args = options(volumes, *REGIONS, "--softmax", "--engine", "host")
    asked = (*args, "--soft-bins", 10)
    assert cli("score", *asked, "-o", volumes / "s.parquet").code == 0
    for shard in ("1/2", "2/2"):
        made = cli("score", *asked, "--shard", shard, "-o", volumes / "parts")
        assert made.code == 0
    joined = volumes / "joined.parquet"
    assert cli("merge", volumes / "parts", "-o", joined).code == 0
    assert joined.read_bytes() == (volumes / "s.parquet").read_bytes()
    plain = ("--draws", 0, "--no-figures")
    shown = cli("reliability", joined, *plain, "-o", volumes / "out")
    assert shown.code == 0
    assert "a, soft ACE: macro" in shown.out
    read = cli("reliability", *asked, *plain, "-o", volumes / "read", "--json")
    own = json.loads((volumes / "out" / "reliability.json").read_text())
    assert read.json["regions"][1]["macro"] == own["regions"][1]["macro"]
    refused = cli("reliability", joined, "--soft-bins", 5, "-o", volumes / "no")
    assert refused.code == 2
    assert "--soft-bins cannot change a score table" in " ".join(refused.err.split())
    refused = cli("score", *asked, "--bins", 0, "-o", volumes / "no.parquet")
    assert refused.code == 2
