"""Every kernel of the device is compared with its host twin."""

import inspect

import numpy as np
import pytest

from coverax import host, kernels
from coverax.doctor import compare_kernels
from coverax.doctor.compare import CALLS, difference

BOTH = {name for name in host.__all__ if inspect.isroutine(vars(host)[name])}
BOTH &= set(kernels.__all__)


def test_every_function_of_both_engines_is_compared():
    # `score_batch` is the door of `run_plan`.
    assert set(CALLS) == BOTH - {"run_plan"}


@pytest.mark.slow
def test_the_device_finds_what_the_host_finds(real_compiler):
    found = compare_kernels()
    assert [compared.kernel for compared in found] == list(CALLS)
    assert not [compared for compared in found if not compared.same]


def test_a_kernel_that_fails_is_one_that_differs(monkeypatch):
    def broken(*_args, **_options):
        raise RuntimeError("RESOURCE_EXHAUSTED: out of memory\nmore")

    monkeypatch.setattr(kernels, "sizes", broken)
    monkeypatch.setattr("coverax.doctor.compare.CALLS", {"sizes": CALLS["sizes"]})
    (compared,) = compare_kernels()
    assert not compared.same
    assert compared.differs == "RuntimeError: RESOURCE_EXHAUSTED: out of memory"


@pytest.mark.parametrize("value", [1 + 2.0**-23, np.nan, np.inf])
def test_one_bit_is_a_difference(value):
    ones = np.ones(3, np.float32)
    other = ones.copy()
    other[1] = value
    assert difference(ones, other).startswith("1 of 3 numbers")
    assert not difference(other, other)
