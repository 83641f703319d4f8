"""Fewest units by method: that many pass, one fewer is refused, by calibrate itself."""

import numpy as np
import pytest

from coverax.calibrate import (
    conformal_rank,
    crc_threshold,
    ltt_threshold,
    method_needs,
    pac_rank,
    rcps_threshold,
)
from coverax.calibrate.status import Status

ONE = np.zeros(1)
LEVELS = [("0.1", "0.05"), ("0.05", "0.1"), ("0.3", "0.3"), ("1/3", "0.001")]
PASSES = {
    "crc": lambda n, a, _d: crc_threshold(np.zeros((n, 1)), ONE, a).status,
    "rcps": lambda n, a, d: rcps_threshold(np.zeros((n, 1)), ONE, a, d).status,
    "ltt": lambda n, a, d: ltt_threshold([np.zeros((n, 1))], ONE, [a], d).status,
    "fnr": lambda n, a, _d: Status(int(conformal_rank(n, a) > n)),
    "fnr with delta": lambda n, a, d: Status(int(pac_rank(n, a, d) > n)),
}


@pytest.mark.parametrize("method", PASSES)
@pytest.mark.parametrize(("alpha", "delta"), LEVELS)
def test_that_many_pass_and_one_fewer_does_not(alpha, delta, method):
    n = method_needs(alpha, delta)[method]
    assert n is not None
    assert PASSES[method](n, alpha, delta) == Status.OK
    assert n == 1 or PASSES[method](n - 1, alpha, delta) != Status.OK


def test_without_delta_no_method_of_confidence_is_named():
    assert set(method_needs("0.1")) == {
        *("fnr", "crc", "sets, bonferroni", "sets, each, max or ranked")
    }


def test_sets_that_split_alpha_need_those_of_half_of_it():
    needs, half = method_needs("0.1", "0.1"), method_needs("0.05", "0.05")
    assert needs["sets, bonferroni"] == half["fnr"]
    assert needs["sets, bonferroni with delta"] == half["fnr with delta"]


def test_a_number_that_nobody_plans_is_none():
    assert method_needs("0.000001")["crc"] is None
