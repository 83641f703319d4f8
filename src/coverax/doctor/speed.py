"""How long a batch takes on its way to the device, in a copy there, and in scoring."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from coverax import kernels
from coverax.doctor.voxels import N_CUTS

_REPEATS = 5
# Cases and voxels of each: beyond the caches of an accelerator, soon done on a CPU.
_SHAPE, _SHAPE_ON_CPU = (64, 1 << 20), (1, 1 << 18)


class Speed(NamedTuple):
    """Medians of a few runs on one device, in seconds.

    Attributes:
        n_voxels: Of the batch.
        transfer_seconds: Map, reference and mask from the host to the device.
        copy_seconds: The map read once and written once there.
        pass_seconds: Everything that is scored by default, of the batch.
        copy_share: Time of the copy over that of the pass.
    """

    n_voxels: int
    transfer_seconds: float
    copy_seconds: float
    pass_seconds: float
    copy_share: float


def measure_speed() -> Speed:
    """Time a batch on the first device."""
    shape = _SHAPE_ON_CPU if jax.default_backend() == "cpu" else _SHAPE
    one = np.random.default_rng(0).random(shape[1], np.float32) ** 4
    probs = np.tile(one, (shape[0], 1))
    volumes = (probs, probs > 0.5, np.ones(shape, bool))
    device = jax.local_devices()[0]

    def sent() -> Any:
        return jax.device_put(volumes, device)

    placed = sent()
    negative = jax.jit(lambda x: -x)

    def scored() -> Any:
        probs, labels, valid = placed
        return kernels.score_batch(probs, labels, n_cuts=N_CUTS, valid=valid)

    transfer, copy, whole = map(_seconds, (sent, lambda: negative(placed[0]), scored))
    return Speed(probs.size, transfer, copy, whole, copy / whole)


def _seconds(run: Callable[[], Any]) -> float:
    """Median time of a run, the first left out: it compiles."""
    jax.block_until_ready(run())
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - start)
    return float(np.median(times))
