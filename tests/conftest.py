"""Profiles and fixtures. coverax is not imported here: the type hook would miss it."""

import os
from pathlib import Path

# Compiling is most of what the suite costs, and tiny volumes run once: the compiler does
# little here, in child processes too. The tests of kernels turn it on (`real_compiler`),
# and so do the slow runs and whoever sets the variable to 0.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# What was compiled once is kept in the checkout, for child processes and the next run.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR",
    str(Path(__file__).resolve().parents[1] / ".pytest_cache" / "xla"),
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jax
import pytest
from hypothesis import HealthCheck, settings

# One rate of false alarms for the whole suite; a test with k cells uses this over k.
FALSE_FAIL_RATE = 1e-6

settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("nightly", deadline=None, max_examples=2000, print_blob=True)
settings.load_profile(os.environ.get("COVERAX_TEST_PROFILE", "ci"))

jax.config.update("jax_numpy_rank_promotion", "raise")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real cohorts beside the checkout; tests that need them skip without."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("the real cohorts (../shared/data) are not there")
    return folder


@pytest.fixture(params=["host", "device"])
def engine(request) -> str:
    """Both engines, one after the other."""
    return request.param


@pytest.fixture(scope="module")
def real_compiler():
    """The compiler as users have it: what is claimed to the bit is claimed of this."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
    jax.clear_caches()
