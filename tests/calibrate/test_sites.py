"""Sites that send sums: what is pooled gives the same, and what leaves tells of no case."""

import itertools
import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from tests import synthetic

import coverax as cx
from coverax.calibrate import (
    Policy,
    calibrate_crc,
    calibrate_ltt,
    calibrate_rcps,
    calibrate_sites,
    fixed_sizes_level,
    join_sites,
    read_calibration,
    read_summary,
    summarise,
)
from coverax.calibrate.summaries import ONE, rounded_up
from coverax.table.columns import GRID_CUTS

ALL = ("fnr", "fpr", "dice")
N = 60


def table_of(n=N, seed=0, **kwargs):
    rng = np.random.default_rng(seed)
    cases = [synthetic.case((6, 7, 5), int(rng.integers(5, 60)), rng) for _ in range(n)]
    probs, labels = map(np.stack, zip(*cases, strict=True))
    return cx.scores.score_arrays(probs, labels, [0.1, 0.3], engine="host", **kwargs)


@pytest.fixture(scope="module")
def table():
    return table_of()


def split(table, seed, n_sites):
    """The rows of a table dealt to sites at random, each with one at least."""
    rng = np.random.default_rng(seed)
    of_row = rng.permutation(
        np.append(
            np.arange(n_sites), rng.integers(n_sites, size=table.n_rows - n_sites)
        )
    )
    rows = [rng.permutation(np.flatnonzero(of_row == k)) for k in range(n_sites)]
    return [summarise(table.select(own), ALL, fewest=1) for own in rows]


@pytest.mark.parametrize("seed", range(8))
def test_sums_of_sites_are_those_of_the_pooled_table_however_it_is_split(table, seed):
    pooled = summarise(table, ALL)
    sites = split(table, seed, 2 + seed % 5)
    assert join_sites(sites) == pooled
    assert join_sites(sites).digest == pooled.digest


ASKED = [
    ("crc", {}, lambda t, a, loss: calibrate_crc(t, a, loss=loss)),
    (
        "rcps",
        {"delta": "0.1"},
        lambda t, a, loss: calibrate_rcps(
            t, a, "0.1", loss=loss, bound="hoeffding_bentkus"
        ),
    ),
    (
        "ltt",
        {"delta": "0.1"},
        lambda t, a, loss: calibrate_ltt(t, a, "0.1", loss=loss),
    ),
]

NOT_MONOTONE = {("crc", "dice"), ("rcps", "dice")}


@pytest.mark.parametrize(
    ("method", "more", "of_table", "loss"),
    [(*a, loss) for a in ASKED for loss in ALL if (a[0], loss) not in NOT_MONOTONE],
)
def test_sites_get_the_calibration_of_the_pooled_table(
    table, method, more, of_table, loss
):
    pooled = [summarise(table, ALL)]
    for seed, alpha in itertools.product(range(2), ("0.02", "0.2")):
        asked = dict(method=method, loss=loss, **more)
        found = calibrate_sites(split(table, seed, 3), alpha, **asked)
        whole = calibrate_sites(pooled, alpha, **asked)
        assert found.thresholds == whole.thresholds
        assert found.record.attainable == whole.record.attainable
        assert found.thresholds == of_table(table, alpha, loss).thresholds


def test_further_losses_are_controlled_beside_the_first(table):
    also = {"fpr": "0.2", "dice": "0.6"}
    found = calibrate_sites(
        split(table, 1, 3), "0.4", "0.2", method="ltt", loss="fnr", also=also
    )
    whole = calibrate_ltt(table, "0.4", "0.2", loss="fnr", also=also)
    assert found.thresholds == whole.thresholds
    assert found.status == cx.calibrate.Status.OK


def test_crc_of_sums_meets_the_level_exactly_and_no_further_cut_does(table):
    sites = split(table, 3, 4)
    cut = calibrate_sites(sites, "0.2", method="crc").thresholds[0].probability
    sums = join_sites(sites).regions[0].sums["fnr"]
    place = int(np.flatnonzero(cut == GRID_CUTS)[0])
    corrected = [Fraction(sums[k] + ONE, ONE * (N + 1)) for k in (place, place + 1)]
    assert corrected[0] <= Fraction(1, 5) < corrected[1]


def test_shares_are_rounded_up_and_those_of_few_voxels_not_at_all():
    for whole in (*range(1, 17), 997, 720_719, 999_999_937):
        part = np.unique(np.linspace(0, whole, 999).astype(np.int64))
        exact = [-(-int(k) * ONE // whole) for k in part]
        assert rounded_up(part / whole).tolist() == exact
        if whole <= 16:
            assert [Fraction(e, ONE) for e in exact] == [
                Fraction(int(k), whole) for k in part
            ]


def test_a_summary_holds_no_name_no_order_and_no_size(table):
    """Other names, another order, twice the voxels throughout: the same bytes."""
    text = json.dumps(summarise(table, ALL).to_json())
    columns = dict(table.columns)
    for name in ("case_id", "unit"):
        columns[name] = np.array([f"renamed{i:03d}" for i in range(N)], object)
    columns["group"] = np.array(["1999-12-31"] * N, object)
    for name in ("n_voxels", "n_foreground", "grid_predicted", "grid_true_positive"):
        columns[name] = 2 * columns[name]
    columns["voxel_volume_ml"] = 3 * columns["voxel_volume_ml"]
    other = replace(table, columns=columns).select(np.arange(N)[::-1])
    assert json.dumps(summarise(other, ALL).to_json()) == text
    names = [*table.column("case_id"), *table.column("unit")]
    assert not [name for name in names if str(name) in text]


def test_a_summary_says_what_leaves_before_it_leaves(table):
    site = summarise(table, ALL)
    listed = " ".join(site.contents())
    for word in (*ALL, "60 cases", "0.1, 0.3", "foreground: 60 units"):
        assert word in listed


def test_a_file_of_a_site_is_read_as_it_was_and_calibrates(table, tmp_path):
    site = summarise(table, ALL)
    site.write(tmp_path / "site.json")
    assert read_summary(tmp_path / "site.json") == site
    assert read_summary(str(tmp_path / "site.json")).digest == site.digest
    found = calibrate_sites([site], "0.2", method="crc")
    found.write(tmp_path / "c.json")
    assert read_calibration(tmp_path / "c.json") == found
    (verdict,) = cx.verify.verify_files([tmp_path / "site.json"])
    assert (verdict.status, verdict.what) == ("whole", "summary of a site")


@pytest.mark.parametrize(
    ("altered", "said"),
    [
        (lambda c: c["regions"][0]["sums"]["fnr"].pop(), "whole numbers"),
        (lambda c: c["regions"][0]["sums"]["fnr"].__setitem__(3, 0.5), "whole numbers"),
        (lambda c: c["regions"][0]["sums"]["fnr"].__setitem__(3, -1), "whole numbers"),
        (lambda c: c["regions"][0]["n_above"].pop("0.1"), "tolerances"),
        (lambda c: c["regions"][0].pop("sums"), "not a sound summary"),
        (lambda c: c["regions"].clear(), "its definition has"),
        (lambda c: c.update(n_cuts=512), "1024 cuts"),
        (lambda c: c.update(n_cases="x"), "not a sound summary"),
    ],
)
def test_a_file_that_somebody_made_is_refused_in_one_line(
    table, tmp_path, altered, said
):
    content = json.loads(json.dumps(summarise(table, ALL).to_json()))
    altered(content)
    cx.files.publish_sealed_json(tmp_path / "site.json", content)
    with pytest.raises(ValueError, match=said) as caught:
        read_summary(tmp_path / "site.json")
    assert "site.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def halves(table, losses=ALL, **more):
    rows = np.arange(table.n_rows) < table.n_rows // 2
    return [summarise(table.select(own), losses, **more) for own in (rows, ~rows)]


def test_sites_that_do_not_fit_are_refused_in_one_line(table):
    ours, theirs = halves(table)
    other = table_of(20, seed=5)
    finer = replace(other, definition=replace(other.definition, allow_overshoot=True))
    included = summarise(other, ALL, Policy(empty="include"))
    refused = [
        ([], "no summary"),
        ([ours, theirs, ours], "same units"),
        # Sums of another loss of the same units: another seal, the same counts.
        ([ours, summarise(table.select(np.arange(30)), ("fnr",))], "same units"),
        ([ours, summarise(finer, ALL)], "allow_overshoot"),
        ([ours, included], "rule they differ in empty"),
        ([ours, summarise(other, ("dice",))], "summarise --loss fnr"),
    ]
    for sites, said in refused:
        with pytest.raises(ValueError, match=said) as caught:
            calibrate_sites(sites, "0.2", method="crc")
        assert "\n" not in str(caught.value)


def test_maps_stored_in_other_ways_may_be_joined(table):
    kinds = [cx.table.definition.MapKind(0, (storage,)) for storage in ("a", "b")]
    sites = [
        replace(site, definition=site.definition.with_kind(kind))
        for site, kind in zip(halves(table), kinds, strict=True)
    ]
    assert join_sites(sites).definition.map_kind.storages == ("a", "b")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "crc", "delta": "0.1"}, "crc has none"),
        ({"method": "rcps"}, "need a delta"),
        ({"method": "rcps", "delta": "0.1", "loss": "dice"}, "not monotone"),
        ({"method": "rcps", "delta": "0.1", "also": {"fpr": "0.1"}}, "go with ltt"),
        ({"method": "ltt", "delta": "0.1", "also": {"fnr": "0.1"}}, "named twice"),
        ({"method": "crc", "alpha": "1.5"}, "alpha must lie"),
    ],
)
def test_options_that_do_not_go_together_are_refused(table, options, said):
    alpha = options.pop("alpha", "0.2")
    with pytest.raises(ValueError, match=said):
        calibrate_sites(halves(table), alpha, **options)


def test_a_sum_of_few_units_is_refused_and_so_are_groups_and_weights(table):
    with pytest.raises(ValueError, match="fewer than 10"):
        summarise(table.select(np.arange(9)))
    assert summarise(table.select(np.arange(9)), fewest=9).regions[0].n_units == 9
    for policy in (Policy(group_by="group"), Policy(per_unit="all")):
        with pytest.raises(ValueError, match=r"groups|--per-unit one"):
            summarise(table, policy=policy)
    with pytest.raises(ValueError, match="each loss once"):
        summarise(table, ("fnr", "fnr"))


def test_a_site_whose_references_are_all_empty_adds_nothing(table):
    regions = [cx.volumes.Region("a", (0,), (1,)), cx.volumes.Region("b", (0,), (2,))]
    rng = np.random.default_rng(3)
    probs = rng.random((24, 6, 7, 5), np.float32)
    labels = np.ones((24, 6, 7, 5), np.uint8)
    labels[:12, :3] = 2  # of the second half, nothing is b
    made = cx.scores.score_arrays(probs, labels, [0.1], regions=regions, engine="host")
    early = list(dict.fromkeys(made.column("case_id")))[:12]
    first = np.isin(made.column("case_id"), early)
    sites = [summarise(made.select(own)) for own in (first, ~first)]
    assert sites[1].region("b").n_units == 0
    assert sites[1].left_out == {"empty_reference": 12}
    found = calibrate_sites(sites, "0.4", method="crc")
    assert {t.region: t.n_units for t in found.thresholds} == {"a": 24, "b": 12}
    assert found.thresholds == calibrate_crc(made, "0.4").thresholds


def least_safe(sums, room):
    """The first of the columns, ascending to the safe end, whose sum is within room."""
    passing = [k for k, value in enumerate(sums) if value <= room]
    return passing[0] if passing else None


def held_to(losses, sizes, alpha):
    """Mean loss of a new unit by CRC, each site's draw of its new unit alike, exactly.

    The new unit is of a site with its units plus one as weight; where no cut passes
    nothing is lost. Losses are 0 and 1.
    """
    n, total = sum(sizes), Fraction(0)
    weights = [Fraction(size + 1, n + len(sizes)) for size in sizes]
    draws = list(itertools.product(*(range(size + 1) for size in sizes)))
    for draw in draws:
        sums = sum(
            np.delete(own, k, axis=0).sum(0)
            for own, k in zip(losses, draw, strict=True)
        )
        place = least_safe(sums.tolist(), alpha * (n + 1) - 1)
        if place is not None:
            total += sum(
                weight * int(own[k, place])
                for weight, own, k in zip(weights, losses, draw, strict=True)
            )
    return total / len(draws)


def test_crc_keeps_the_level_of_fixed_sizes_for_every_way_to_draw_the_units():
    """And not alpha itself: two sites that differ reach beyond it, up to that level."""
    rng, reached = np.random.default_rng(0), []
    for _ in range(40):
        sizes = rng.integers(1, 4, size=rng.integers(2, 4)).tolist()
        n_all = sum(sizes) + len(sizes)
        scores = np.arange(n_all) if rng.random() < 0.5 else rng.permutation(n_all)
        ends = np.cumsum([0, *(size + 1 for size in sizes)])
        losses = [
            (scores[low:high, None] > np.arange(n_all)).astype(int)
            for low, high in itertools.pairwise(ends)
        ]
        for alpha in (Fraction(2, 5), Fraction(1, 2), Fraction(2, 3)):
            mean = held_to(losses, sizes, alpha)
            level = fixed_sizes_level(alpha, sum(sizes), len(sizes))
            assert mean <= level
            reached.append((mean > alpha, mean == level))
    assert np.any(reached, axis=0).all()


def test_sites_where_every_reference_is_missed_alike_are_two_sites():
    """A model that gives 0 to much of every reference: all counts are the units."""
    sites = []
    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        labels = rng.random((12, 6, 6)) < 0.4
        probs = np.where(labels & (rng.random(labels.shape) < 0.5), 0, 0.9)
        probs = (probs * rng.random(labels.shape)).astype(np.float32)
        names = [f"{seed}-{i}" for i in range(12)]
        table = cx.scores.score_arrays(
            probs, labels, [0.1], case_ids=names, engine="host"
        )
        sites.append(summarise(table, ALL))
    ours, theirs = (site.regions[0] for site in sites)
    assert ours.n_above == theirs.n_above  # and yet other units
    assert join_sites(sites).regions[0].n_units == 24
    with pytest.raises(ValueError, match="same units"):
        join_sites([sites[0], sites[0]])
