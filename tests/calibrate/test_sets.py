"""Confidence sets: the promise as an identity over a bag, and who may not make it."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sets_cohort import blobs, both_sides

from coverax.calibrate import split_threshold

ALPHAS = (Fraction(1, 10), Fraction(1, 5), Fraction(3, 7))
JOINT = ("max", "ranked")


def Bag(inner, outer, units=None, n_foreground=9):
    """Scores of exchangeable cases as a table; regions share the case ids.

    `inner`, `outer`: `[cases]` or `[regions, cases]`.
    """
    from coverax.table import Region, ScoreDefinition, ScoreTable, side_transforms

    inner, outer = np.atleast_2d(inner), np.atleast_2d(outer)
    n_regions, n = inner.shape
    names, ids = [f"r{k}" for k in range(n_regions)], [f"c{i}" for i in range(n)]
    definition = ScoreDefinition(
        regions=tuple(Region(name, (0,), (1,)) for name in names),
        transforms=side_transforms("distance", "distance"),
        grid=False,
    )
    columns = {
        "case_id": np.tile(np.array(ids, object), n_regions),
        "region": np.repeat(np.array(names, object), n),
        "unit": np.tile(np.array(ids if units is None else units, object), n_regions),
        "n_foreground": np.broadcast_to(n_foreground, n * n_regions).copy(),
        "rater": np.full(n * n_regions, "", object),
        "inner_score@distance:cut=0.5": inner.ravel().astype(float),
        "outer_score@distance:cut=0.5": outer.ravel().astype(float),
    }
    return ScoreTable(columns, definition, {})


def learned_from(inner, outer, share=Fraction(3, 10), units=("l0",)):
    from coverax.calibrate import LearnedSets, unit_digests

    spec = "distance:cut=0.5"
    scores = {}
    for k, (i, o) in enumerate(
        zip(np.atleast_2d(inner), np.atleast_2d(outer), strict=True)
    ):
        scores[f"r{k}", "inner"], scores[f"r{k}", "outer"] = tuple(i), tuple(o)
    return LearnedSets(
        0.1, spec, spec, share, scores, 17, (), unit_digests(set(units)), digest="d"
    )


def calibrate(bag, alpha, joint, regions="each", **options):
    from coverax.calibrate import calibrate_sets

    if joint == "ranked" and "learned" not in options:
        rng = np.random.default_rng(99)
        shape = (len(bag.definition.regions), 17)
        options["learned"] = learned_from(
            rng.normal(size=shape), rng.gamma(2, size=shape)
        )
    return calibrate_sets(bag, alpha, joint=joint, regions=regions, **options)


def leave_one_out(inner, outer, alpha, joint):
    """How often a case left out is covered in all regions: inner, outer, both."""
    from coverax.calibrate.sets import RULES, Scores, spend

    inner, outer = np.atleast_2d(inner), np.atleast_2d(outer)
    names = [f"r{k}" for k in range(len(inner))]
    rng = np.random.default_rng(99)
    learned = learned_from(
        rng.normal(size=(len(inner), 17)), rng.gamma(2, size=(len(inner), 17))
    )
    levels, scales = spend(joint, alpha, None, learned), learned.scales
    hits = np.zeros(3, int)
    for i in range(inner.shape[1]):
        rest = np.arange(inner.shape[1]) != i
        group = Scores(names, inner[:, rest], outer[:, rest])
        limit = {
            (t.side, t.region): t.value for t in RULES[joint](group, levels, scales)
        }
        inside = all(
            s <= limit["inner", r] for r, s in zip(names, inner[:, i], strict=True)
        )
        outside = all(
            s <= limit["outer", r] for r, s in zip(names, outer[:, i], strict=True)
        )
        hits += (inside, outside, inside and outside)
    return hits


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), n=st.sampled_from([3, 8, 21]))
def test_leave_one_out_each_side_covers_exactly_rank(seed, n):
    from coverax.calibrate import conformal_rank

    rng = np.random.default_rng(seed)
    inner, outer = rng.normal(size=n), rng.normal(size=n)
    rank = conformal_rank(n - 1, ALPHAS[1])
    hits = leave_one_out(inner, outer, ALPHAS[1], "each")
    assert list(hits[:2]) == [rank, rank]


@pytest.mark.parametrize("joint", JOINT)
@pytest.mark.parametrize("n_regions", [1, 3])
@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), n=st.sampled_from([3, 8, 21]))
def test_leave_one_out_joint_rules_cover_exactly_rank(joint, n_regions, seed, n):
    from coverax.calibrate import conformal_rank

    rng = np.random.default_rng(seed)
    inner, outer = rng.normal(size=(n_regions, n)), rng.gamma(2, size=(n_regions, n))
    rank = conformal_rank(n - 1, ALPHAS[1])
    assert leave_one_out(inner, outer, ALPHAS[1], joint)[2] == rank


@pytest.mark.parametrize("joint", ["bonferroni", *JOINT])
@settings(max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_leave_one_out_with_ties_covers_at_least_the_level(joint, seed):
    rng = np.random.default_rng(seed)
    n = 14
    values = np.array([-np.inf, -1.0, 0.0, 1.0, np.inf])
    inner, outer = rng.choice(values, n), rng.choice(values, n)
    hits = leave_one_out(inner, outer, ALPHAS[1], joint)
    assert hits[2] >= (1 - ALPHAS[1]) * n


def test_the_identity_notices_a_slipped_rank():
    """Negative control: thresholds one order statistic too small cover too few."""
    rng = np.random.default_rng(0)
    inner = rng.normal(size=21)
    rank = 17  # conformal_rank(20, 1/5)
    covered = sum(inner[i] <= np.sort(np.delete(inner, i))[rank - 2] for i in range(21))
    assert covered < rank


def test_bonferroni_spends_alpha_exactly():
    from coverax.calibrate.sets import spend

    levels = spend("bonferroni", "0.1", "0.02")
    assert levels.inner + levels.outer == Fraction(1, 10)
    assert levels.outer == Fraction(2, 25)
    for wrong in ("0.1", "0.2"):
        with pytest.raises(ValueError, match="between 0 and alpha"):
            spend("bonferroni", "0.1", wrong)
    with pytest.raises(ValueError, match="does not split"):
        spend("max", "0.1", "0.02")


@pytest.mark.parametrize("joint", ["each", "bonferroni", *JOINT])
def test_too_few_cases_is_a_status_and_no_sets(joint):
    result = calibrate(Bag([1.0, 2.0], [1.0, 2.0]), "0.1", joint)
    assert result.status.name == "TOO_FEW_CASES"
    assert all(t.value == np.inf for t in result.thresholds)
    assert "NO INFORMATIVE GUARANTEE" in result.statement
    with pytest.raises(ValueError, match="no guarantee"):
        result.raise_if_bad()


def test_an_infinite_outer_score_at_the_rank_is_vacuous_and_not_too_few():
    """The set is then everything: the promise is kept, and says nothing."""
    result = calibrate(Bag(np.full(30, -np.inf), np.full(30, np.inf)), "0.1", "each")
    statuses = {t.side: t.status.name for t in result.thresholds}
    assert statuses == {"inner": "OK", "outer": "VACUOUS"}


def test_a_ranked_threshold_never_drops_the_case_that_set_it():
    """Interpolating the inverse of the scale would, about every other time."""
    for seed in range(8):
        rng = np.random.default_rng(seed)
        inner, outer = rng.normal(size=30), rng.gamma(2, size=30)
        result = calibrate(Bag(inner, outer), "0.2", "ranked")
        both = (inner <= result.threshold_of("r0", "inner").value) & (
            outer <= result.threshold_of("r0", "outer").value
        )
        assert both.sum() == result.thresholds[0].rank


def test_a_rank_scale_counts_the_scores_up_to_its_knots():
    from coverax.calibrate import RankScale

    scale = RankScale.of(np.array([4.0, 2.0, 1.0, 2.0, np.inf]))
    assert scale.knots.tolist() == [1.0, 2.0, 4.0]
    assert scale.heights.tolist() == [1 / 6, 3 / 6, 4 / 6]
    np.testing.assert_array_equal(scale(scale.knots), scale.heights)
    assert scale(np.array([3.0]))[0] == pytest.approx(3.5 / 6)


@pytest.mark.parametrize("share", [Fraction(1, 5), Fraction(7, 10)])
def test_ranked_spends_alpha_by_the_shares(share):
    """What lies beyond the thresholds among learning scores goes by the shares."""
    rng = np.random.default_rng(2)
    learned = learned_from(rng.normal(size=400), rng.gamma(2, size=400), share)
    bag = Bag(rng.normal(size=200), rng.gamma(2, size=200))
    result = calibrate(bag, "0.3", "ranked", learned=learned)
    beyond = {
        side: 1 - scale(np.array([result.threshold_of("r0", side).value]))[0]
        for (_, side), scale in learned.scales.items()
    }
    assert beyond["inner"] / beyond["outer"] == pytest.approx(share / (1 - share))


def test_units_that_were_learned_from_are_refused():
    bag = Bag(np.arange(20.0), np.arange(20.0))
    learned = learned_from(np.arange(5.0), np.arange(5.0), units=("c3", "other"))
    with pytest.raises(ValueError, match="1 of 20 calibration units were used"):
        calibrate(bag, "0.1", "ranked", learned=learned)


def test_ranked_needs_a_learned_scale():
    from coverax.calibrate import calibrate_sets

    with pytest.raises(ValueError, match="learn-sets"):
        calibrate_sets(Bag([1.0], [1.0]), "0.1", joint="ranked")


def test_jointly_needs_every_region_of_every_case():
    n_foreground = np.where(np.arange(40) == 3, 0, 9)
    bag = Bag(np.ones((2, 20)), np.ones((2, 20)), n_foreground=n_foreground)
    with pytest.raises(ValueError, match="every region of every case"):
        calibrate(bag, "0.1", "max", "joint", empty="exclude")


def test_the_statement_says_what_holds_together():
    bag = Bag(np.ones((2, 30)), np.ones((2, 30)))
    assert (
        "all regions of a case jointly"
        in calibrate(bag, "0.1", "max", "joint").statement
    )
    assert "each region on its own" in calibrate(bag, "0.1", "max").statement
    assert "not both at once" in calibrate(bag, "0.1", "each").statement
    assert "both at once" in calibrate(bag, "0.1", "bonferroni").statement


def test_tolerance_zero_of_the_map_itself_is_lesion_control():
    """The outer set of the identity is the CLS mask at tolerance 0."""
    from coverax.calibrate import calibrate_fnr, calibrate_sets
    from coverax.scores import score_arrays

    probs, labels = blobs(25, 1)
    transforms = [
        *both_sides(["identity"]),
        "outer=identity:tolerance=0.2",
        "inner=identity:tolerance=0.2",
    ]
    table = score_arrays(probs, labels, [0.0, 0.2], transforms=transforms)
    for tolerance, spec in ((0.0, "identity"), (0.2, "identity:tolerance=0.2")):
        cls = calibrate_fnr(table, 0.1, tolerance=tolerance)
        sets = calibrate_sets(
            table, 0.1, inner="identity", outer=spec, joint="each", empty="exclude"
        )
        assert sets.threshold_of("foreground", "outer").value == cls.thresholds[0].value


def test_learning_prefers_the_larger_inner_and_the_smaller_outer_set():
    from coverax.calibrate import learn_sets
    from coverax.scores import score_arrays

    probs, labels = blobs(30, 2, noise=0)  # the cut at 0.5 is the reference itself
    transforms = both_sides(["distance", "smooth:fwhm=30"])
    table = score_arrays(
        probs,
        labels,
        [0.1],
        transforms=transforms,
        set_sizes=True,
        spacing_mm=(1.0, 1.0, 2.0),
    )
    learned = learn_sets(table, "0.2", shares=(Fraction(1, 2),))
    assert learned.inner == learned.outer == "distance:cut=0.5"
    assert len(learned.unit_digests) == 30
    sizes = {
        (c["side"], c["transform"]): c["mean_size"]
        for c in learned.candidates
        if c["inner_share"] == "1/2"
    }
    mean_size = labels.sum() / 30
    assert sizes["inner", "distance:cut=0.5"] == pytest.approx(mean_size)
    assert sizes["outer", "distance:cut=0.5"] == pytest.approx(mean_size)


def Learning(inner, outer):
    """A learning table of one lesion size and made-up scores, one transform a side.

    Maps fall from 1 to 0 evenly over the 27,000 voxels of a case.
    """
    from coverax.table import ScoreDefinition, ScoreTable, side_transforms
    from coverax.table.columns import size_cuts

    n = len(inner)
    transforms = side_transforms("identity", "identity")
    counts = np.round(27_000 * (1 - size_cuts(transforms[0]))).astype(int)
    columns = {
        "case_id": np.array([f"c{i:03}" for i in range(n)], object),
        "unit": np.array([f"u{i:03}" for i in range(n)], object),
        "region": np.array(["r"] * n, object),
        "rater": np.array([""] * n, object),
        "n_foreground": np.full(n, 1000),
        "n_voxels": np.full(n, 27_000),
        "voxel_volume_ml": np.full(n, 0.001),
        "inner_score@identity": inner,
        "outer_score@identity": outer,
        "inner_size@identity": np.tile(counts, (n, 1)),
        "outer_size@identity": np.tile(counts, (n, 1)),
    }
    definition = ScoreDefinition(transforms=transforms, set_sizes=True)
    return ScoreTable(columns, definition, {})


def test_a_split_that_calibration_cannot_certify_is_not_learned():
    from coverax.calibrate import learn_sets

    rng = np.random.default_rng(0)
    inner = rng.uniform(0.9, 1, 300)
    outer = -(rng.uniform(0.01, 0.5, 300) ** 2)  # heavy: the outer side wants all
    table = Learning(inner, outer)
    free = learn_sets(table, "0.1", n_calibration=1000).inner_share
    assert free >= Fraction(4, 5)
    for n in (19, 24, 49):
        share = learn_sets(table, "0.1", n_calibration=n).inner_share
        assert min(share, 1 - share) * Fraction(1, 10) * (n + 1) >= 1
    with pytest.raises(ValueError, match="at least 19 are needed"):
        learn_sets(table, "0.1", n_calibration=18)


def test_a_split_that_learning_cannot_judge_is_not_learned():
    from coverax.calibrate import learn_sets

    rng = np.random.default_rng(0)
    table = Learning(rng.uniform(0.9, 1, 40), -(rng.uniform(0.01, 0.5, 40) ** 2))
    shares = {c["inner_share"] for c in learn_sets(table, "0.1").candidates}
    assert shares == {"2/5", "1/2", "3/5"}  # 32 others: 1 / 33 of miscoverage and more
    few = Learning(rng.uniform(0.9, 1, 10), -rng.uniform(0.01, 0.5, 10))
    assert learn_sets(few, "0.1", n_calibration=50).inner_share == Fraction(1, 2)


@pytest.mark.parametrize("n_axes", [2, 3])
@pytest.mark.parametrize("side", ["inner", "outer"])
def test_widths_are_those_of_sets_that_never_saw_their_case(side, n_axes):
    """As many folds as cases: each is sized by a threshold from all the others."""
    from coverax.calibrate import learn_sets

    rng = np.random.default_rng(4)
    n, level = 12, Fraction(1, 2)
    table = Learning(rng.uniform(0.5, 1, n), -rng.uniform(0.01, 0.5, n))
    learned = learn_sets(
        table, level, shares=(Fraction(1, 2),), n_folds=n, n_axes=n_axes
    )
    (found,) = (c for c in learned.candidates if c["side"] == side)
    transform = table.side_transform(side)
    scores, (cuts, counts) = table.side_scores(transform), table.side_sizes(transform)
    voxels = []
    for i in range(n):
        threshold = split_threshold(np.delete(scores, i), level / 2)
        safe = cuts[cuts > threshold] if side == "inner" else cuts[cuts <= -threshold]
        cut = safe.min() if side == "inner" else safe.max()
        voxels.append(counts[i, np.flatnonzero(cuts == cut)[0]])
    widths = np.array(voxels, float) ** (1 / n_axes)  # of voxels of 1 mm3
    assert found["mean_width"] == pytest.approx(widths.mean(), rel=1e-12)
    assert found["mean_size"] == pytest.approx(np.mean(voxels) / 1000, rel=1e-12)


def test_an_empty_inner_set_costs_the_width_of_the_lesion():
    from coverax.calibrate import learn_sets

    inner = np.where(np.arange(200) % 25 == 0, 2.0, 0.99)  # 4 % leave no inner set
    table = Learning(inner, np.full(200, -0.5))
    learned = learn_sets(table, "0.1", n_calibration=500)
    mine = [c for c in learned.candidates if c["side"] == "inner"]
    empty = {Fraction(c["inner_share"]): c["share_empty"] for c in mine}
    assert empty[Fraction(1, 5)] == 1
    assert empty[learned.inner_share] == 0


def test_log_odds_give_the_sets_of_the_probability():
    """A monotone transform changes no set, so none that is sized either."""
    from coverax.calibrate import learn_sets
    from coverax.scores import score_arrays

    probs, labels = blobs(12, 3)
    names = both_sides(["identity", "logit"])
    table = score_arrays(
        probs, labels, [0.1], transforms=names, set_sizes=True, engine="host"
    )
    sizes = {"identity": [], "logit": []}
    for found in learn_sets(table, "0.4").candidates:
        sizes[found["transform"]].append((found["side"], found["mean_size"]))
    assert sizes["logit"] == sizes["identity"]
    assert len(set(sizes["logit"])) > 2


def test_learned_transforms_survive_their_file(tmp_path):
    from coverax.calibrate import learn_sets, read_learned
    from coverax.scores import score_arrays

    probs, labels = blobs(12, 3)
    table = score_arrays(
        probs, labels, [0.1], transforms=both_sides(["identity"]), set_sizes=True
    )
    learned = learn_sets(table, "0.4")
    learned.write(tmp_path / "t.json")
    assert read_learned(tmp_path / "t.json") == learned
    text = (tmp_path / "t.json").read_text()
    (tmp_path / "t.json").write_text(
        text.replace('"inner": "identity"', '"inner": "x"')
    )
    with pytest.raises(ValueError, match="altered"):
        read_learned(tmp_path / "t.json")


def test_learning_needs_sizes_and_both_sides():
    from coverax.calibrate import learn_sets
    from coverax.scores import score_arrays

    probs, labels = blobs(12, 4)
    table = score_arrays(probs, labels, [0.1], transforms=both_sides(["identity"]))
    with pytest.raises(ValueError, match="--set-sizes"):
        learn_sets(table, "0.4")
    with pytest.raises(ValueError, match="no inner transform of tolerance"):
        learn_sets(table, "0.4", tolerance=0.3)


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), n=st.sampled_from([1, 2, 9]))
def test_a_scale_never_falls_and_its_inverse_is_the_event(seed, n):
    from coverax.calibrate import RankScale, largest_at_most

    rng = np.random.default_rng(seed)
    scale = RankScale.of(rng.choice([-3.0, 0.1, 0.2, 0.3, 7e-8, 50.0], n))
    x = np.sort(np.concatenate([rng.normal(size=50), [-np.inf, np.inf], scale.knots]))
    heights = scale(x)
    assert (np.diff(heights) >= 0).all()
    assert (heights[0], heights[-1]) == (-np.inf, np.inf)
    for level in rng.choice(heights, 5):
        largest = largest_at_most(scale, float(level))
        assert np.array_equal(x <= largest, heights <= level)


def test_units_that_weigh_their_cases_do_not_go_with_sets():
    """Each case of a unit would be counted as independent: the promise would be void."""
    from coverax.calibrate import Policy

    Policy(per_unit="one").check_no_weights()
    with pytest.raises(ValueError, match="per_unit must be 'one', got 'all'"):
        Policy(per_unit="all").check_no_weights()
