"""Soft ACE beside hard ACE: of arrays, of a case, of a cohort, on either engine."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from tests.oracles import bins as oracle

import coverax as cx
from coverax import host, kernels, losses
from coverax.reliability import add, calibration_errors, compare, pooled, summarise
from coverax.scores import read_soft_bins, score_arrays

N_BINS, N_SOFT = 20, 10
# Positions between centres are rounded at 2**-24 * bins, once a voxel.
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


def volumes(n=7, shape=(6, 5, 4), seed=5):
    rng = np.random.default_rng(seed)
    p = rng.random((n, *shape), dtype=np.float32)
    y = rng.random(p.shape) < p**2
    y[3] = False
    return p, y


def scored(engine="host", **kwargs):
    p, y = volumes()
    groups = ["x", "x", "x", "x", "y", "y", "z"]
    options = dict(n_bins=N_BINS, n_soft_bins=N_SOFT, groups=groups) | kwargs
    return score_arrays(p, y, [0.1], engine=engine, **options)


def soft_ace_of(p, y, n_bins=N_SOFT):
    """From the definition, voxel by voxel."""
    weight, sum_p, sum_y = oracle.soft(p, y, n_bins)
    used = weight >= 0.01
    return float(np.abs(sum_p[used] / weight[used] - sum_y[used] / weight[used]).mean())


def loss_of(loss, p, y, n_bins):
    """The training loss of each case, of one class."""
    arrays = (jnp.asarray(x)[..., None] for x in (p, y))
    return np.asarray(loss(*arrays, n_bins=n_bins, absent="include"))[:, 0]


@pytest.mark.parametrize("engine", ["host", "device"])
def test_a_table_keeps_the_soft_ace_of_each_case_and_region(engine):
    p, y = volumes()
    found = calibration_errors(read_soft_bins(scored(engine).columns)).ace
    want = [soft_ace_of(a, b) for a, b in zip(p, y, strict=True)]
    np.testing.assert_allclose(found, want, **CLOSE)
    loss = loss_of(losses.soft_l1_ace, p, y, N_SOFT)
    np.testing.assert_allclose(found, loss, **CLOSE)


def test_one_program_gives_thresholds_scores_and_both_calibration_errors():
    p, y = volumes()
    sets = (kernels.SetScore("inner"), kernels.SetScore("outer"))
    for ops in (host, kernels):
        found = ops.score_batch(
            p, y, (0.1,), n_bins=N_BINS, n_soft_bins=N_SOFT, sets=sets
        )
        assert found.critical_probability.shape == (7, 1)
        assert [len(scores) for scores in found.set_scores] == [7, 7]
        hard, soft = (calibration_errors(b).ace for b in (found.bins, found.soft_bins))
        for ace, loss, n in (
            (hard, losses.hard_l1_ace, N_BINS),
            (soft, losses.soft_l1_ace, N_SOFT),
        ):
            np.testing.assert_allclose(ace, loss_of(loss, p, y, n), **CLOSE)


def test_soft_bins_change_no_other_column_and_engines_agree():
    plain, tables = scored(n_soft_bins=0), [scored(), scored("device")]
    own = [name for name in tables[0].columns if name.startswith("soft_")]
    assert own == ["soft_weight", "soft_sum_p", "soft_sum_y", "soft_n_refused"]
    assert [n for n in tables[0].columns if n not in own] == list(plain.columns)
    for name, values in plain.columns.items():
        np.testing.assert_array_equal(values, tables[0].column(name))
    for name in own:
        here, there = (t.column(name) for t in tables)
        np.testing.assert_allclose(here, there, rtol=1e-6, atol=120 * N_SOFT * 2**-23)


def test_a_table_with_soft_bins_survives_its_file_and_parts_of_it_add_up(tmp_path):
    table = scored()
    table.write(tmp_path / "s.parquet")
    again = cx.scores.read_table(tmp_path / "s.parquet")
    assert again.rows_digest == table.rows_digest
    assert again.definition == table.definition
    statistics = read_soft_bins(table.columns)
    parts = [
        read_soft_bins(table.select(rows).columns)
        for rows in (np.arange(3), np.arange(3, 7))
    ]
    for a, b in zip(pooled(add(parts)), pooled(statistics), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="hard bins and others soft"):
        add([statistics, cx.scores.read_bins(table.columns)])


def test_reliability_reports_soft_ace_beside_hard_ace():
    p, y = volumes()
    table = scored()
    found = summarise(table, n_draws=50)
    each = [soft_ace_of(a, b) for a, b in zip(p, y, strict=True)]
    result = found.summary.regions[0]
    np.testing.assert_allclose([row["soft_ace"] for row in found.cases], each, **CLOSE)
    # The fourth case lacks the class.
    macro = np.mean(np.delete(each, 3))
    assert result.macro["soft_ace"] == pytest.approx(macro, rel=1e-5)
    assert result.pooled["soft_ace"] == pytest.approx(soft_ace_of(p, y), rel=1e-5)
    low, high = result.macro_interval["soft_ace"]
    assert low < macro < high
    assert list(result.macro)[:4] == ["ece", "ace", "mce", "soft_ace"]
    assert found.summary.n_soft_bins == N_SOFT
    assert "soft_ace" in result.groups["x"].macro
    without = summarise(scored(n_soft_bins=0), n_draws=50).summary
    assert "n_soft_bins" not in without.to_json()
    for how in ("macro", "pooled", "macro_interval", "pooled_interval"):
        other = dict(getattr(result, how))
        del other["soft_ace"]
        assert other == getattr(without.regions[0], how)


def test_a_softmax_has_soft_bins_of_its_background_too():
    rng = np.random.default_rng(1)
    e = np.exp(rng.normal(0, 1, (5, 3, 6, 5, 4)))
    probs = (e / e.sum(1, keepdims=True)).astype(np.float32)
    labels = rng.integers(0, 3, (5, 6, 5, 4))
    table = score_arrays(
        *(probs, labels, [0.1]),
        channels="first",
        softmax=True,
        regions=["a=1:1", "b=2:2"],
        n_soft_bins=N_SOFT,
        engine="host",
    )
    found = summarise(table, n_draws=0).summary
    assert [region.region for region in found.regions] == ["background", "a", "b"]
    for k, region in enumerate(found.regions):
        want = soft_ace_of(probs[:, k], labels == k)
        assert region.pooled["soft_ace"] == pytest.approx(want, rel=1e-5)
    mean = np.mean([region.pooled["soft_ace"] for region in found.regions])
    assert found.mean_over_regions.pooled["soft_ace"] == pytest.approx(mean)


def test_two_models_are_compared_by_soft_ace_of_the_same_bins():
    first = scored()
    found = compare(first, first, n_draws=20).regions["foreground"]["soft_ace"]
    assert (found.difference, found.interval) == (0, [0, 0])
    with pytest.raises(ValueError, match="soft bins differ: 10 and none"):
        compare(first, scored(n_soft_bins=0))


def test_a_definition_says_its_soft_bins_and_older_ones_had_none():
    definition = scored().definition
    content = definition.to_json()
    assert content["n_soft_bins"] == N_SOFT
    assert cx.scores.ScoreDefinition.from_json(content) == definition
    plain = replace(definition, n_soft_bins=0)
    assert "n_soft_bins" not in plain.to_json()
    assert cx.scores.ScoreDefinition.from_json(plain.to_json()) == plain
    with pytest.raises(ValueError, match="stand beside bins"):
        replace(definition, n_bins=0)
    with pytest.raises(ValueError, match="n_bins must be at least 1"):
        scored(n_soft_bins=1 << 13)


def test_an_empty_case_has_no_soft_ace():
    p, y = volumes()
    nothing = host.soft_bin_statistics(p, y, 5, valid=np.zeros(p.shape, bool))
    assert np.isnan(calibration_errors(nothing)).all()
