"""Compiled programs kept on disk, so that the next process need not compile them again."""

import os
import stat
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

from coverax.files import PathLike

_VARIABLE = "JAX_COMPILATION_CACHE_DIR"  # for processes that this one starts


def keep_programs(folder: PathLike) -> None:
    """Keep what takes a second or more to compile in a folder of one's own.

    JAX runs what it finds there, so nobody else may be able to put anything into it.

    Args:
        folder: Made where it is not there, for its owner alone.

    Raises:
        ValueError: It is of another owner, or everybody may write there or above it.
        OSError: It cannot be made.
    """
    path = Path(folder).absolute()
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = path.resolve()
    _check_own(path)
    os.environ[_VARIABLE] = str(path)
    jax.config.update("jax_compilation_cache_dir", str(path))
    compilation_cache.reset_cache()


def _check_own(path: Path) -> None:
    """Refuse a folder that everybody may change, or replace by another."""
    if os.name != "posix":
        return  # there the modes of a folder say nothing
    what = "what is kept there could be replaced: give a folder of your own"
    if path.stat().st_uid != os.getuid() or path.stat().st_mode & stat.S_IWOTH:
        raise ValueError(f"{path} belongs to others, or they may write there; {what}")
    for above in path.parents:
        mode = above.stat().st_mode
        # In a sticky folder, as /tmp, one may replace what is one's own alone.
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise ValueError(f"everybody may write in {above}; {what}")
