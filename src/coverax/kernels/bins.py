"""Calibration statistics of equal-width bins: exact counts, sums without drift.

One pass over the voxels gives what every calibration error needs, and the results of
cases add up: count, sum of probabilities and sum of references in each bin. Hard bins
are right-inclusive; soft bins share each voxel between its two nearest bin centres.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from coverax.engine.bins import SMALLEST, bin_edges, low_scale, share_intervals
from coverax.engine.results import BinStatistics, SoftBinStatistics
from coverax.kernels.arrays import Labels, Map, Valid, takes_arrays
from coverax.kernels.sums import keyed_sums, outcomes
from coverax.kernels.tiles import Look

_P_DIGITS = 4  # 60 bits: relative 1e-6 for a bin of mean 1e-12
_T_DIGITS = 2  # 30 bits of a position between two centres


@takes_arrays
def bin_index(
    probs: Float[Array, "*shape"] | Float[np.ndarray, "*shape"], n_bins: int
) -> Int[Array, "*shape"]:
    """Bin of each probability, right-inclusive: `edge_k < p <= edge_(k+1)`.

    Exact for every float32: 0 (and what lies below) is in bin 0, 1 (and above) in the
    last, an edge in the bin that it ends. Compared in float32 whatever comes in.

    Args:
        probs: Probabilities; the bin of NaN means nothing.
        n_bins: Number of bins, static.
    """
    upper = jnp.asarray(bin_edges(n_bins)[1:])
    return _bin_below(jnp.asarray(probs), n_bins, lambda k: upper[k])


def _bin_below(probs: Array, n_bins: int, upper: Look) -> Array:
    """`bin_index` by the upper edge of each bin."""
    values = jnp.clip(probs, 0, 1)
    k = (values * low_scale(n_bins)).astype(jnp.int32)
    return k + (values > upper(k)).astype(jnp.int32)


@takes_arrays
@partial(jax.jit, static_argnames="n_bins")
def bin_statistics(
    probs: Map,
    labels: Labels,
    n_bins: int,
    *,
    valid: Valid = None,
) -> BinStatistics:
    """Count and sum probabilities and references in equal-width bins, per case.

    Counts are exact integers at any size; sums are exact to `2**-60` a voxel and rounded
    once, so they depend neither on the order of voxels nor on padding.

    Args:
        probs: Probability maps; taken as float32.
        labels: References; foreground is what is not 0.
        n_bins: Number of bins, static.
        valid: Voxels that count; all by default.

    Returns:
        Statistics of each case and bin; zeros for an empty bin. Values that are NaN or
        further than 1e-3 outside [0, 1] are left out and counted in `n_refused`.

    Raises:
        ValueError: The shapes differ, or `n_bins` is not at least 1.
    """
    values, outcome, refused = outcomes(probs, labels, valid)

    def terms(p, y, upper):
        # Key 0 is the probability 0, by itself; then the bins.
        key = jnp.where(jnp.abs(p) < SMALLEST, 0, 1 + _bin_below(p, n_bins, upper))
        return key + (n_bins + 1) * y, (p,)

    n, (sums,) = keyed_sums(
        values,
        outcome,
        terms,
        2 * (n_bins + 1),
        (_P_DIGITS,),
        halves=True,
        table=bin_edges(n_bins)[1:],
    )
    n = jnp.reshape(n, (-1, 2, n_bins + 1))
    # Background, foreground, both; those of 0 are 0.
    sum_p = jnp.reshape(sums, (-1, 3, n_bins + 1))[..., 1:]
    zeros = n[..., 0]
    first = n[..., 1:2] + n[..., :1]
    count = jnp.concatenate([first, n[..., 2:]], axis=-1)
    return BinStatistics(
        count=count[:, 0] + count[:, 1],
        sum_p=sum_p[:, 2],
        sum_y=count[:, 1],
        sum_py=sum_p[:, 1],
        zero_count=zeros[:, 0] + zeros[:, 1],
        zero_sum_y=zeros[:, 1],
        n_refused=refused,
    )


@takes_arrays
@partial(jax.jit, static_argnames="n_bins")
def soft_bin_statistics(
    probs: Map,
    labels: Labels,
    n_bins: int,
    *,
    valid: Valid = None,
) -> SoftBinStatistics:
    """Weighted statistics of triangular bins around the centres `(k + 1/2) / n_bins`.

    Weights are linear in the position t between two centres, so the weighted sums follow
    from five plain sums over the `n_bins + 1` intervals between centres: 1, t and t**2,
    the first two also over the foreground. The end half-bins give full weight to the end
    bins.

    Args:
        probs: Probability maps; taken as float32.
        labels: References; foreground is what is not 0.
        n_bins: Number of bins, static.
        valid: Voxels that count; all by default.

    Raises:
        ValueError: The shapes differ, or `n_bins` is not at least 1.
    """
    bin_edges(n_bins)
    values, outcome, refused = outcomes(probs, labels, valid)

    def terms(p, y, _):
        position = jnp.clip(p, 0, 1) * np.float32(n_bins) + np.float32(0.5)
        interval = jnp.clip(jnp.floor(position), 0, n_bins)
        t = position - interval
        return interval.astype(jnp.int32) + (n_bins + 1) * y, (t, t * t)

    n, (sum_t, sum_t2) = keyed_sums(
        values, outcome, terms, 2 * (n_bins + 1), (_T_DIGITS, _T_DIGITS)
    )
    by_outcome = [
        jnp.reshape(x.astype(jnp.float32), (-1, 2, n_bins + 1))
        for x in (n, sum_t, sum_t2)
    ]
    both = [x[:, 0] + x[:, 1] for x in by_outcome]
    weight, sum_p = share_intervals(*both, n_bins=n_bins)
    sum_y, _ = share_intervals(*[x[:, 1] for x in by_outcome], n_bins=n_bins)
    return SoftBinStatistics(weight, sum_p, sum_y, refused)
