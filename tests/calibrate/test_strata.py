"""Groups that a map tells of itself: by hand, and through the command line."""

import csv
import json
import math
from fractions import Fraction

import numpy as np
import pytest
from tests.synthetic import case, write_nifti

import coverax as cx
from coverax.cli.app import run

N, BINS, SPACING = 45, 3, (1.0, 2.0, 0.5)
VOXEL_ML = 1e-3


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    """Files and arrays of learning, calibration and new cases of many sizes."""
    root, rng = tmp_path_factory.mktemp("strata"), np.random.default_rng(11)
    arrays = {}
    for part in ("learn", "known", "new"):
        arrays[part] = [
            case((7, 6, 5), int(rng.integers(4, 90)), rng) for _ in range(N)
        ]
        for i, (probs, mask) in enumerate(arrays[part]):
            name = f"{part}_{i:02d}.nii.gz"
            write_nifti(root / part / "probs" / name, probs, SPACING)
            write_nifti(root / part / "labels" / name, mask, SPACING)
        done("score", *files(root, part), "-o", root / f"{part}.parquet")
    return root, arrays


def done(*args):
    assert run([str(a) for a in args]) == 0


def files(root, part):
    return ("--probs", root / part / "probs", "--labels", root / part / "labels")


def calibrated(root, *more):
    out = root / f"{len(more)}.json"
    done(
        *("calibrate", root / "known.parquet", "--alpha", "0.2", "-o", out),
        *("--group-by", f"predicted_volume:{BINS}"),
        *("--edges-from", root / "learn.parquet", *more),
    )
    return out, json.loads(out.read_text())


def bin_of(volume, edges):
    return f"{1 + sum(volume > edge for edge in edges)} of {BINS}"


def by_hand(arrays):
    """Edges of the learning cases, and the threshold of each bin."""
    volumes = sorted((p >= 0.5).sum() * VOXEL_ML for p, _ in arrays["learn"])
    edges = [volumes[math.ceil(k * N / BINS) - 1] for k in range(1, BINS)]
    scores = {}
    for probs, mask in arrays["known"]:
        own = bin_of((probs >= 0.5).sum() * VOXEL_ML, edges)
        critical = np.sort(probs[mask])[int(0.1 * mask.sum() + 1e-9)]
        scores.setdefault(own, []).append(-float(critical))
    ranks = {own: math.ceil((len(s) + 1) * 4 / 5) for own, s in scores.items()}
    return edges, {own: sorted(s)[ranks[own] - 1] for own, s in scores.items()}


def test_each_bin_has_the_threshold_of_its_own_units(cohorts):
    root, arrays = cohorts
    edges, thresholds = by_hand(arrays)
    path, content = calibrated(root)
    assert content["options"]["strata"]["edges"] == {
        "foreground": pytest.approx(edges, rel=1e-12)
    }
    again = cx.calibrate.read_calibration(path)
    assert again.to_json() == content
    assert {t.group: t.value for t in again.thresholds} == thresholds
    assert len(thresholds) == BINS
    assert f"{N} other units" in content["statement"]


def test_a_new_map_tells_its_group(cohorts, tmp_path):
    root, arrays = cohorts
    edges, thresholds = by_hand(arrays)
    path, _ = calibrated(root)
    out = tmp_path / "masks"
    done("predict", path, "--probs", root / "new" / "probs", "-o", out)
    groups = []
    for i, (probs, _) in enumerate(arrays["new"]):
        sidecar = json.loads((out / f"new_{i:02d}.json").read_text())
        (entry,) = sidecar["masks"]
        groups.append(bin_of((probs >= 0.5).sum() * VOXEL_ML, edges))
        assert entry["group"] == groups[-1]
        cut = np.float32(-thresholds[groups[-1]])
        assert entry["n_predicted"] == (probs >= cut).sum()
    assert len(set(groups)) == BINS
    judged = tmp_path / "judged"
    done("evaluate", path, *files(root, "new"), "-o", judged)
    summary = json.loads((judged / "evaluation.json").read_text())
    assert summary["held_out"]
    assert summary["n_cases"] == N
    each = {r["group"]: r for r in summary["results"]}
    assert {g: r["n_counted"] for g, r in each.items()} == {
        g: groups.count(g) for g in set(groups)
    }
    complies = [
        (mask & (probs < np.float32(-thresholds[group]))).sum()
        <= int(0.1 * mask.sum() + 1e-9)
        for (probs, mask), group in zip(arrays["new"], groups, strict=True)
    ]
    assert sum(r["calibrated"]["n_compliant"] for r in each.values()) == sum(complies)
    with (judged / "cases.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == N


def test_units_that_set_the_edges_are_not_new(cohorts, tmp_path):
    root, _ = cohorts
    path, _ = calibrated(root)
    done("evaluate", path, *files(root, "learn"), "-o", tmp_path / "e")
    summary = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    assert not summary["held_out"]
    assert summary["n_units_seen_in_calibration"] == N


def test_bins_of_uncertainty_with_another_method(cohorts):
    root, _ = cohorts
    learning, known = (
        cx.scores.read_table(root / f"{part}.parquet") for part in ("learn", "known")
    )
    strata = cx.calibrate.learn_strata(learning, "uncertainty:2")
    table = cx.calibrate.stratified(known, strata)
    policy = cx.calibrate.Policy(empty="include", group_by=strata.name)
    found = cx.calibrate.with_strata(
        cx.calibrate.calibrate_volume(table, "0.2", policy), strata
    )
    unsure = cx.calibrate.Triage().uncertainty(known.columns)
    learned = np.sort(cx.calibrate.Triage().uncertainty(learning.columns))
    sizes = {t.group: t.n_units for t in found.thresholds}
    n_low = int((unsure <= learned[N // 2 - 1]).sum())
    assert sizes == {"1 of 2": n_low, "2 of 2": N - n_low}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--group-by", "predicted_volume:3"), "needs --edges-from"),
        (
            ("--group-by", "predicted_volume:1", "--edges-from", "learn"),
            "N of 2 or more",
        ),
        (("--group-by", "predicted_volume", "--edges-from", "learn"), "N of 2 or more"),
        (("--group-by", "uncertainty:46", "--edges-from", "learn"), "ask for fewer"),
        (
            ("--group-by", "predicted_volume:2", "--edges-from", "known"),
            "on other units",
        ),
        (("--group-by", "site", "--edges-from", "learn"), "--edges-from goes with"),
        (
            ("--group-by", "uncertainty:2", "--edges-from", "learn", "--allow-scarce"),
            "--allow-scarce does not go with",
        ),
    ],
)
def test_bins_that_cannot_be_made_are_refused(cohorts, tmp_path, capsys, more, words):
    root, _ = cohorts
    out = tmp_path / "c.json"
    more = [root / f"{m}.parquet" if m in ("learn", "known") else m for m in more]
    args = ["calibrate", root / "known.parquet", "--alpha", "0.2", "-o", out, *more]
    assert run([str(a) for a in args]) != 0
    assert words in " ".join(capsys.readouterr().err.split())
    assert not out.exists()


def test_groups_are_not_named_where_the_map_tells_them(cohorts, tmp_path, capsys):
    root, _ = cohorts
    path, _ = calibrated(root)
    groups = tmp_path / "groups.csv"
    groups.write_text("case_id,group\nnew_00,1 of 3\n")
    args = ("predict", path, "--probs", root / "new" / "probs", "--groups", groups)
    assert run([str(a) for a in (*args, "-o", tmp_path / "m")]) != 0
    assert "tells its predicted_volume:3" in capsys.readouterr().err


def test_a_bin_is_not_refused_alone_since_a_new_map_may_be_of_any(cohorts):
    root, _ = cohorts
    learning, known = (
        cx.scores.read_table(root / f"{part}.parquet") for part in ("learn", "known")
    )
    strata = cx.calibrate.learn_strata(learning, "predicted_volume:3")
    table = cx.calibrate.stratified(known, strata)
    bins = table.column(strata.name)
    few = (bins != "3 of 3") | (np.cumsum(bins == "3 of 3") <= 2)
    found = cx.calibrate.calibrate_fnr(table.select(few), "0.2", group_by=strata.name)
    with pytest.raises(ValueError, match="may be of any bin"):
        cx.calibrate.with_strata(found.promised(), strata)
    with pytest.raises(ValueError, match="may be of any bin"):
        cx.calibrate.with_strata(found, strata).promised()


def test_a_bin_that_nothing_calibrated_is_named(cohorts):
    root, _ = cohorts
    learning, known = (
        cx.scores.read_table(root / f"{part}.parquet") for part in ("learn", "known")
    )
    strata = cx.calibrate.learn_strata(learning, "predicted_volume:3")
    table = cx.calibrate.stratified(known, strata)
    table = table.select(table.column(strata.name) != "2 of 3")
    found = cx.calibrate.calibrate_fnr(table, "0.2", group_by=strata.name)
    found = cx.calibrate.with_strata(found, strata)
    assert "No unit calibrated foreground 2 of 3" in found.statement
    with pytest.raises(ValueError, match="'2 of 3', which was not calibrated"):
        found.of_map({"foreground": "2 of 3"})


def share_that_fails_jointly():
    """Of a bag of cases, each left out in turn, at alpha = 1/2.

    Cases are bins and scores in two regions; the score that counts is the larger one.
    """
    bag = 3 * [(1, 1, 1, 1), (0, 1, 2, 2), (0, 1, 0, 2), (1, 1, 0, 0)]
    n_failed = 0
    for left_out, case_ in enumerate(bag):
        others = [other for i, other in enumerate(bag) if i != left_out]
        limits = []
        for region in (0, 1):
            mine = [max(o[2:]) for o in others if o[region] == case_[region]]
            limits.append(cx.calibrate.split_threshold(np.array(mine), "0.5"))
        n_failed += case_[2] > limits[0] or case_[3] > limits[1]
    return Fraction(n_failed, len(bag))


def test_bins_do_not_go_with_a_promise_for_all_regions_jointly(cohorts):
    """Bins of one case differ by region: it fails by either, and more than alpha do."""
    assert share_that_fails_jointly() > Fraction(1, 2)
    _, arrays = cohorts
    tables = []
    for part in ("learn", "known"):
        probs, masks = map(np.stack, zip(*arrays[part], strict=True))
        names = [f"{part}{i}" for i in range(N)]
        tables.append(
            cx.scores.score_arrays(
                np.stack([1 - probs, probs], -1),
                masks,
                [0.1],
                regions=["rest=0:2", "spot=1:1"],
                case_ids=names,
                units=names,
                voxel_volume_ml=VOXEL_ML,
                n_bins=20,
            )
        )
    strata = cx.calibrate.learn_strata(tables[0], "predicted_volume:2")
    policy = cx.calibrate.Policy(empty="include", group_by=strata.name)
    table = cx.calibrate.stratified(tables[1], strata)
    for regions in ("each", "joint"):
        found = cx.calibrate.calibrate_volume(table, "0.2", policy, regions=regions)
        if regions == "each":
            assert cx.calibrate.with_strata(found, strata).parts.strata is strata
            continue
        with pytest.raises(ValueError, match="different bins of maps"):
            cx.calibrate.with_strata(found, strata)
