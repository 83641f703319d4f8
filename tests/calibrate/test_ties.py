"""Ties broken at random: exactly rank cases of any bag, and the same in every step."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from tests.conftest import FALSE_FAIL_RATE
from tests.synthetic import write_nifti

import coverax as cx
from coverax.calibrate import (
    broken_rank_threshold,
    conformal_rank,
    just_below,
    tie_numbers,
)

NAMES = np.array([f"c{i:02d}" for i in range(13)])


def n_covered(scores, numbers, alpha, serve):
    """Leave each case out in turn."""
    total = 0
    for i in range(scores.size):
        keep = np.arange(scores.size) != i
        rank = conformal_rank(scores.size - 1, alpha)
        value, tie = broken_rank_threshold(scores[keep], numbers[keep], rank)
        total += serve(scores[i], numbers[i], value, tie)
    return total


def served(score, number, value, tie):
    return score < value or (score == value and number <= tie)


@given(seed=st.integers(0, 2**32 - 1), alpha=st.sampled_from(["0.1", "0.25", "0.5"]))
def test_leaving_each_out_covers_exactly_rank_of_them_whatever_ties(seed, alpha):
    scores = np.random.default_rng(seed).integers(0, 3, NAMES.size).astype(float)
    numbers = tie_numbers(NAMES, seed)
    assert n_covered(scores, numbers, alpha, served) == conformal_rank(12, alpha)


def test_serving_every_tie_covers_more():
    """Negative control: what happens without the draw."""
    scores = np.zeros(13)
    numbers = tie_numbers(NAMES, 0)
    everyone = n_covered(scores, numbers, "0.5", lambda s, _, v, __: s <= v)
    assert everyone == 13 > conformal_rank(12, "0.5")


def test_numbers_come_from_names_alone_and_are_uniform():
    names = [f"case_{i}" for i in range(4000)]
    numbers = tie_numbers(names, 3)
    assert stats.kstest(numbers, "uniform").pvalue > FALSE_FAIL_RATE
    assert tie_numbers(names[::-1], 3).tolist() == numbers[::-1].tolist()
    assert (tie_numbers(names, 4) != numbers).all()


@pytest.mark.parametrize("threshold", [-0.5, -1.0, -np.float32(0.3), -0.0])
def test_just_below_serves_what_is_strictly_smaller(threshold):
    cut = np.float32(-just_below(float(threshold)))
    values = np.float32(
        [-threshold, np.nextafter(np.float32(-threshold), np.float32(2))]
    )
    assert (values >= cut).tolist() == [False, True]


def coarse(n, seed, shape=(5, 6, 4)):
    """Maps of five values, so that critical probabilities tie."""
    rng = np.random.default_rng(seed)
    labels = rng.random((n, *shape)) < 0.3
    probs = rng.integers(1, 5, labels.shape) + labels * rng.integers(0, 2, (n, 1, 1, 1))
    return (probs / 8).astype(np.float32), labels


def test_the_masks_of_the_product_cover_exactly_rank_of_a_bag():
    n = 20
    probs, labels = coarse(n, 0)
    names = [f"n{i}" for i in range(n)]
    total = 0
    for i in range(n):
        keep = [k for k in range(n) if k != i]
        table = cx.scores.score_arrays(
            probs[keep], labels[keep], ["0.1"], case_ids=[names[k] for k in keep],
            engine="host", n_bins=0,
        )  # fmt: skip
        found = cx.calibrate.calibrate_fnr(
            table, "0.3", tolerance="0.1", break_ties=True, seed=7
        )
        cut = np.float32(found.of_case(names[i]).thresholds[0].probability)
        missed = (labels[i] & ~(probs[i] >= cut)).sum()
        total += missed <= int(labels[i].sum()) // 10
    assert total == conformal_rank(n - 1, "0.3")


def test_ties_through_the_command_line(tmp_path, cli_run):
    n = 40
    probs, labels = coarse(n, 1)
    for i in range(n):
        write_nifti(tmp_path / "p" / f"c{i:02d}.nii.gz", probs[i])
        write_nifti(tmp_path / "y" / f"c{i:02d}.nii.gz", labels[i])
    files = ("--probs", tmp_path / "p", "--labels", tmp_path / "y")
    table, out = tmp_path / "s.parquet", tmp_path / "c.json"
    assert cli_run("score", *files, "-o", table) == 0
    args = ("--alpha", "0.3", "--break-ties", "--seed", "5", "-o", out)
    assert cli_run("calibrate", table, *args) == 0
    content = json.loads(out.read_text())
    tie = content["thresholds"][0]["tie"]
    assert content["thresholds"][0]["n_tied"] > 5
    assert content["options"]["tie_seed"] == 5
    assert "Ties are broken at random" in content["statement"]
    assert cli_run("predict", out, "--probs", tmp_path / "p", "-o", tmp_path / "m") == 0
    assert cli_run("evaluate", out, *files, "-o", tmp_path / "e") == 0
    summary = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    cut = content["probability_threshold"]["value"]
    numbers = tie_numbers([f"c{i:02d}" for i in range(n)], 5)
    n_compliant, fnr = 0, []
    for i in range(n):
        sidecar = json.loads((tmp_path / "m" / f"c{i:02d}.json").read_text())
        mine = sidecar["masks"][0]["probability_threshold"]["value"]
        assert (mine == cut) == (numbers[i] <= tie)
        missed = (labels[i] & ~(probs[i] >= np.float32(mine))).sum()
        n_compliant += missed <= labels[i].sum() // 10
        fnr.append(missed / labels[i].sum())
    found = summary["results"][0]["calibrated"]
    assert found["n_compliant"] == n_compliant
    # The cases that calibrated: the rank-th of them set the threshold, exactly.
    assert n_compliant == content["rank"]
    assert found["fnr_mean"] == pytest.approx(np.mean(fnr))
    refused = ("--break-ties", "--per-unit", "all", "--alpha", "0.3", "-o", out)
    assert cli_run("calibrate", table, *refused) == 1
    crc = ("--break-ties", "--method", "crc", "--alpha", "0.3", "-o", out)
    assert cli_run("calibrate", table, *crc) == 2


@pytest.fixture
def cli_run():
    from coverax.cli.app import run

    return lambda *args: run([str(a) for a in args])
