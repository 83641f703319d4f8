"""Every kernel against its host twin, on random voxels."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from coverax import host, kernels
from coverax.doctor.voxels import N_BINS, N_CUTS, Voxels, random_voxels
from coverax.engine.plan import SetScore

# More than one span of a program in tiles, and no whole number of anything.
SHAPE = (29, 33, 41)
TOLERANCES = (0.0, 0.1, 0.29)
_SPACING_MM = (1.0, 1.5, 0.7)
_CUTS = (0.5, 0.05, 0.1, 2.0**-24, 0.9)


class Rounding(NamedTuple):
    """What the engines may differ by, where they do not have the same bits."""

    relative: float
    absolute: float


LOGARITHMS = Rounding(1e-6, 1e-6)
DISTANCES = Rounding(1e-5, 1e-4)
_SMOOTHED = Rounding(1e-5, 1e-5)
# Soft bins share voxels out in float32, whose step a bin's sum of positions has.
_SHARES = Rounding(1e-5, float(np.prod(SHAPE)) * N_BINS * 2.0**-23)

# Of a kernel, or of a field of its result; all others have the same bits.
ROUNDED = {
    "sum_log_loss": LOGARITHMS,
    "soft_bin_statistics": _SHARES,
    "soft_bins": _SHARES,
    "smooth": _SMOOTHED,
    "signed_distance": DISTANCES,
    "surface_distance": DISTANCES,
}


class Compared(NamedTuple):
    """One kernel on both engines.

    Attributes:
        kernel: Its name.
        same: Whether the device found what the host found.
        differs: Which results differ, and by how much; empty where none does.
    """

    kernel: str
    same: bool
    differs: str


Call = Callable[[Any, Voxels], Any]

# Every function that both engines have, of volumes `v`.
CALLS: dict[str, Call] = {
    "sizes": lambda ops, v: ops.sizes(v.flat().labels, valid=v.flat().valid),
    "critical_probability": lambda ops, v: ops.critical_probability(
        v.probs, v.labels, TOLERANCES, valid=v.valid
    ),
    "mass_above": lambda ops, v: ops.mass_above(
        v.probs, np.tile(np.array(_CUTS, np.float32), (len(v.probs), 1))
    ),
    "bin_index": lambda ops, v: ops.bin_index(v.probs, N_BINS),
    "bin_statistics": lambda ops, v: ops.bin_statistics(
        v.probs, v.labels, N_BINS, valid=v.valid
    ),
    "soft_bin_statistics": lambda ops, v: ops.soft_bin_statistics(
        v.probs, v.labels, N_BINS, valid=v.valid
    ),
    "proper_scores": lambda ops, v: ops.proper_scores(v.probs, v.labels, valid=v.valid),
    "grid_counts": lambda ops, v: ops.grid_counts(
        *v.flat()[:2], N_CUTS, valid=v.flat().valid
    ),
    "cut_counts": lambda ops, v: ops.cut_counts(
        *v.flat()[:2], np.sort(np.array(_CUTS, np.float32)), valid=v.flat().valid
    ),
    "overlap_counts": lambda ops, v: ops.overlap_counts(
        *v.flat()[:2],
        np.tile(np.array(_CUTS, np.float32), (len(v.probs), 1)),
        valid=v.flat().valid,
    ),
    "inner_score": lambda ops, v: ops.inner_score(
        v.probs, v.labels, tolerance=0.1, valid=v.valid
    ),
    "outer_score": lambda ops, v: ops.outer_score(
        v.probs, v.labels, tolerance=0.1, valid=v.valid
    ),
    "extreme_scores": lambda ops, v: ops.extreme_scores(
        v.probs, v.probs, v.labels, valid=v.valid
    ),
    "smooth": lambda ops, v: ops.smooth(v.probs, 3.0, _SPACING_MM, valid=v.valid),
    "signed_distance": lambda ops, v: ops.signed_distance(
        v.labels, _SPACING_MM, valid=v.valid
    ),
    "surface_distance": lambda ops, v: ops.surface_distance(
        v.probs, 0.5, _SPACING_MM, valid=v.valid
    ),
    "score_batch": lambda ops, v: ops.score_batch(
        v.probs,
        v.labels,
        TOLERANCES,
        mass=True,
        n_soft_bins=N_BINS,
        n_cuts=N_CUTS,
        sets=(SetScore("inner"), SetScore("outer", tolerance=0.1, cuts=_CUTS)),
        valid=v.valid,
    ),
}


def compare_kernels() -> list[Compared]:
    """Every kernel against its twin; the one program of a batch on every device."""
    one = random_voxels(SHAPE)
    devices = kernels.n_devices()
    every = Voxels(*(np.concatenate([array] * devices) for array in one))
    placed: list[Any] = [kernels.spread(array) for array in every]
    spread = Voxels(*placed)
    out = []
    for name, call in CALLS.items():
        if name == "score_batch":
            out.append(_compared(name, call, every, spread))
        else:
            out.append(_compared(name, call, one, one))
    return out


def _compared(name: str, call: Call, voxels: Voxels, placed: Voxels) -> Compared:
    want = call(host, voxels)
    try:
        found = jax.device_get(call(kernels, placed))
    except Exception as error:  # noqa: BLE001 - whatever a compiler or a card fails with
        lines = f"{type(error).__name__}: {error}".splitlines()
        return Compared(name, False, lines[0])
    differs = "; ".join(differences(want, found, ROUNDED.get(name)))
    return Compared(name, not differs, differs)


def differences(want: Any, found: Any, rounding: Rounding | None = None) -> list[str]:
    """What differs between the results of both engines, a line each.

    Args:
        want: Of the host.
        found: Of the device, in memory of the host.
        rounding: What all results may differ by; by their own names where None.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(want)
    others = jax.tree.leaves(found)
    if len(leaves) != len(others):
        return [f"{len(others)} results in place of {len(leaves)}"]
    out = []
    for (path, ours), theirs in zip(leaves, others, strict=True):
        fields = [str(getattr(part, "name", "")) for part in path]
        allowed = [ROUNDED[name] for name in fields if name in ROUNDED]
        own = rounding or (allowed[0] if allowed else None)
        text = difference(np.asarray(ours), np.asarray(theirs), own)
        if text:
            out.append(f"{'.'.join(filter(None, fields)) or 'result'}: {text}")
    return out


def difference(
    want: np.ndarray, found: np.ndarray, rounding: Rounding | None = None
) -> str:
    """How an array differs from what the host found; empty where it does not."""
    if want.shape != found.shape:
        return f"shape {found.shape} in place of {want.shape}"
    ours, theirs = (np.asarray(a, np.float64) for a in (want, found))
    bad = ~((ours == theirs) | (np.isnan(ours) & np.isnan(theirs)))
    if rounding is not None:
        close = np.isclose(theirs, ours, rounding.relative, rounding.absolute)
        bad &= ~close
    if not bad.any():
        return ""
    with np.errstate(invalid="ignore"):
        most = np.abs(theirs - ours)[bad].max()
    return f"{np.count_nonzero(bad)} of {bad.size} numbers, by up to {most:.3g}"
