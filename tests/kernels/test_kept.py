"""Compiled programs are kept where nobody else can put any."""

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache

from coverax.kernels import keep_programs


@pytest.fixture(autouse=True)
def own_cache(monkeypatch):
    """The cache of the suite comes back."""
    before = jax.config.values["jax_compilation_cache_dir"]
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", before or "")
    yield
    jax.config.update("jax_compilation_cache_dir", before)
    compilation_cache.reset_cache()


def test_what_is_compiled_is_kept_for_the_owner_alone(tmp_path):
    folder = tmp_path / "new" / "programs"
    keep_programs(str(folder))
    assert folder.stat().st_mode & 0o777 == 0o700
    jax.jit(lambda x: jnp.cos(x) * 20261127)(1.0)
    assert list(folder.iterdir())


def test_a_folder_that_everybody_may_change_is_refused(tmp_path):
    shared = tmp_path / "open"
    shared.mkdir()
    shared.chmod(0o777)
    for folder in (shared, shared / "programs"):
        with pytest.raises(ValueError, match=r"open.* give a folder of your own"):
            keep_programs(folder)


def test_a_folder_of_ones_own_in_a_sticky_one_is_taken(tmp_path):
    shared = tmp_path / "sticky"
    shared.mkdir()
    shared.chmod(0o1777)
    keep_programs(shared / "programs")
    with pytest.raises(ValueError, match="sticky belongs to others, or they may write"):
        keep_programs(shared)


def test_the_command_line_refuses_it_in_one_line(tmp_path, capsys):
    from coverax.cli.app import run

    tmp_path.chmod(0o777)
    assert run(["--compile-cache", str(tmp_path), "demo", "-o", "x"]) == 1
    assert "error: " in capsys.readouterr().err
