"""Convolutions on all cores: the compiler takes what it is told, and nothing breaks."""

import os
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from coverax.train import cpu
from coverax.train.cpu import NetProgram, net_options
from coverax.train.nets.slices import convolve_slices


@pytest.fixture
def fresh():
    net_options.cache_clear()
    yield
    net_options.cache_clear()


def double(tree):
    return jax.tree.map(lambda x: 2 * x, tree)


def test_a_program_is_also_a_part_of_another():
    program = NetProgram(double)
    x = {"a": jnp.arange(3.0)}
    want = np.arange(3.0) * 4
    np.testing.assert_array_equal(program(program(x))["a"], want)
    within = jax.jit(lambda x: program(program(x)))
    np.testing.assert_array_equal(within(x)["a"], want)
    slope = jax.grad(lambda x: program(x)["a"].sum())(x)
    np.testing.assert_array_equal(slope["a"], 2 * np.ones(3))


def test_a_compiler_that_does_not_know_the_option_is_told_nothing(fresh, monkeypatch):
    monkeypatch.setattr(cpu, "_PRODUCTS_AND_SUMS", {"xla_cpu_of_no_version": "1"})
    assert net_options() is None
    np.testing.assert_array_equal(NetProgram(double)(jnp.ones(2)), 2 * np.ones(2))


def test_an_accelerator_is_told_nothing(fresh, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert net_options() is None


def test_what_the_compiler_freed_is_given_back_once_a_shape(monkeypatch):
    calls = []
    monkeypatch.setattr(cpu, "give_back_freed", lambda: calls.append(1))
    program = NetProgram(double)
    for size in (2, 2, 3, 2):
        program(jnp.ones(size))
    assert len(calls) == 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of Linux")
def test_freed_memory_leaves_the_process():
    """A thousand blocks below the size that is given back when it is freed."""

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1])

    blocks = [bytearray(100_000) for _ in range(1_000)]
    last = bytearray(1_000)  # keeps the heap from shrinking by itself
    full = resident()
    del blocks
    cpu.give_back_freed()
    assert full - resident() > 50_000_000 // os.sysconf("SC_PAGE_SIZE")
    assert len(last) == 1_000


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="of CPUs")
def test_on_a_cpu_no_convolution_goes_to_the_library_of_one_core():
    """Of the program, not of the clock: convolutions stay convolutions."""
    if net_options() is None:
        pytest.skip("this compiler has no such option")

    def layer(x, kernel):
        return convolve_slices(x, kernel, (1, 1, 1))

    shapes = jnp.ones((2, 16, 16, 16, 16)), jnp.ones((3, 3, 3, 16, 16))
    text = NetProgram(layer).lower(*shapes).compile().as_text()
    assert "convolution(" in text
    assert "ynn" not in text
