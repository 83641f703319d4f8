"""Before an accelerator's results are written, they are compared with the host's once.

A compiler can be wrong for one program, or one shape of it. So random cases go first
through the very program that the cases of a bucket will go through, of the same shape,
and their rows have to be those of the host. Nothing more is compiled; on a CPU, where the
tests compare both engines, nothing is done.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np

from coverax.doctor.compare import DISTANCES, LOGARITHMS, Rounding, difference
from coverax.doctor.voxels import Voxels, random_voxels
from coverax.engine.switch import Engine, resolve_engine
from coverax.scores.batch import View, ViewBatch, lone_batch
from coverax.scores.families import all_columns
from coverax.stream import RunError
from coverax.table.definition import ScoreDefinition
from coverax.volumes import Grid, Region

BatchFn = Callable[[Engine, ViewBatch], dict[str, Any]]
Bucket = int | tuple[int, ...]
_SPACING_MM = (1.0, 1.5, 0.7)
# Axes of a random case, more than one span of a program in tiles; and of a small bucket.
_LARGE, _SMALL = (29, 33, 41), (13, 15, 16)


def check_first_use(
    engine: Engine,
    batch_fn: BatchFn,
    region: Region,
    bucket: Bucket,
    *,
    is_lone: bool = False,
) -> None:
    """Refuse an accelerator whose rows of random cases are not the host's.

    Args:
        engine: The engine in use; nothing is done but for the device on an accelerator.
        batch_fn: What makes rows of a batch.
        region: Region of the cases.
        bucket: Voxels, or axes, of the batches to come.
        is_lone: Whether they are of one device, as for a lone view.

    Raises:
        RunError: The rows differ.
    """
    if not engine.is_device or not _is_accelerated():
        return
    found = rows_that_differ(engine, batch_fn, region, bucket, is_lone=is_lone)
    if found:
        raise RunError(
            f"{_device_kind()} gives other results than the host ({'; '.join(found)}): "
            "nothing is written; score with --engine host, and see coverax doctor"
        )


@lru_cache(maxsize=64)
def check_maps_once(
    engine: Engine, definition: ScoreDefinition, region: Region, bucket: Bucket
) -> None:
    """`check_first_use` of the program that makes the score maps of lone views."""
    rows = partial(all_columns, definition=definition)
    check_first_use(engine, rows, region, bucket, is_lone=True)


def rows_that_differ(
    engine: Engine,
    batch_fn: BatchFn,
    region: Region,
    bucket: Bucket,
    *,
    is_lone: bool = False,
) -> list[str]:
    """Columns of random cases that differ from the host's, and by how much."""
    axes = bucket if isinstance(bucket, tuple) else None
    voxels = random_voxels(_shape_in(bucket), overshoot=False)
    grid = Grid(voxels.probs.shape[:0:-1], np.diag([*_SPACING_MM, 1.0]))
    views = [
        View(region, probs, labels, valid, grid)
        for probs, labels, valid in zip(*voxels.flat(), strict=True)
    ]
    host = resolve_engine("host")
    want = [batch_fn(host, lone_batch(host, view, spatial=False)) for view in views]
    batch = _filled(bucket, voxels, views, is_lone=is_lone)
    rows = batch_fn(engine, batch)
    rounding_of = partial(_rounding, is_spatial=axes is not None)
    out: dict[str, str] = {}
    for slot in range(len(batch.views)):
        for name, values in want[slot % len(views)].items():
            ours, theirs = np.asarray(values[0]), np.asarray(rows[name][slot])
            if _is_compared(name, ours, is_spatial=axes is not None):
                text = difference(ours, theirs, rounding_of(name))
                if text:
                    out.setdefault(name, f"{name}: {text}")
    return list(out.values())


def _filled(
    bucket: Bucket, voxels: Voxels, views: list[View], *, is_lone: bool
) -> ViewBatch:
    """A batch for all devices with the cases in its slots, again and again.

    Without axes their voxels lie apart, so that every part of the bucket has some; what
    lies between counts nowhere.
    """
    from coverax.kernels import empty_batch, fill_slot, n_devices

    axes = bucket if isinstance(bucket, tuple) else None
    batch = empty_batch(bucket, 1 if is_lone else n_devices())
    batch.labels[...] = True  # padding holds 0, as masses of whole maps need it
    n_slots, n = len(batch.probs), views[0].probs.size
    apart = np.arange(n) * batch.probs.shape[1] // n
    for slot in range(n_slots):
        view = views[slot % len(views)]
        arrays = (view.probs, view.labels, view.valid)
        if axes is not None:
            shape = voxels.probs.shape[1:]
            fill_slot(batch, slot, *arrays, shape=shape, axes=axes)
            continue
        for target, values in zip(batch, arrays, strict=True):
            target[slot, apart] = values
    return ViewBatch(*batch, [views[i % len(views)] for i in range(n_slots)], axes)


def _shape_in(bucket: Bucket) -> tuple[int, ...]:
    if isinstance(bucket, tuple):  # with padding, as buckets have it
        return tuple(min(n - 3, most) for n, most in zip(bucket, _LARGE, strict=False))
    return _LARGE if bucket >= np.prod(_LARGE) else _SMALL


def _rounding(name: str, *, is_spatial: bool) -> Rounding | None:
    """What a column may differ by: as the documentation says of logarithms and mm."""
    if name.endswith("sum_log_loss"):
        return LOGARITHMS
    return DISTANCES if is_spatial and _is_of_a_side(name) else None


def _is_compared(name: str, values: np.ndarray, *, is_spatial: bool) -> bool:
    """Not so where a rounding decides on which side of a cut whole shells lie."""
    counts = values.dtype.kind in "biu"
    return not (is_spatial and counts and _is_of_a_side(name))


def _is_of_a_side(name: str) -> bool:
    return "inner" in name or "outer" in name


def _is_accelerated() -> bool:
    import jax

    return jax.default_backend() != "cpu"


def _device_kind() -> str:
    import jax

    return jax.local_devices()[0].device_kind
