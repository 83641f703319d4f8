"""Runs that compile the same step many times share it."""

import jax
import pytest

CACHE = {
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


@pytest.fixture(scope="package", autouse=True)
def compiled_steps(tmp_path_factory):
    """A cache of compiled programs for these tests; its folder."""
    folder = str(tmp_path_factory.mktemp("compiled"))
    before = {name: getattr(jax.config, name) for name in CACHE}
    jax.config.update("jax_compilation_cache_dir", folder)
    for name, value in CACHE.items():
        jax.config.update(name, value)
    yield folder
    jax.config.update("jax_compilation_cache_dir", None)
    for name, value in before.items():
        jax.config.update(name, value)
