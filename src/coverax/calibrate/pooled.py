"""What the scores of all folds pooled (CV+) promise, beside the mean of p-values.

Pooled, a new score stays in where `(1 + #{i: r_i >= s_k(i)}) / (n + 1) > alpha`: each of
n cases is compared under the model of its own fold. Given the models that is the mean of
the folds' p-values with weights `(m_k + 1) / (n + K)`, and twice a weighted mean of
p-values is a p-value too. So its promise needs no symmetric training.

References:
    Barber, Candes, Ramdas and Tibshirani (2021), Predictive inference with the jackknife+.
    Vovk and Wang (2020), Combining p-values via averaging.
"""

import math
from collections.abc import Sequence
from fractions import Fraction

from coverax.rational import Level, check_level


def pooled_level(sizes: Sequence[int], alpha: Level) -> Fraction:
    """Level of the weighted mean of p-values at which sets are those of CV+ at `alpha`.

    `(1 + C) / (n + 1) > alpha` says `(K + C) / (n + K) > level`, whatever the count C.
    With folds of one size the weights are equal: `calibrate_fold_sets` at twice this
    level a side gives these sets.

    Args:
        sizes: Units of each fold.
        alpha: Level of CV+, in (0, 1).
    """
    n, k = sum(sizes), len(sizes)
    return (check_level("alpha", alpha) * (n + 1) + k - 1) / (n + k)


def pooled_promise(sizes: Sequence[int], alpha: Level) -> Fraction:
    """Least coverage of CV+ at `alpha`: `1 - 2 alpha - 2 (1 - alpha) (K - 1) / (n + K)`.

    For a new unit exchangeable with those of each fold given its model, as for the mean
    of p-values; it may be negative, and then promises nothing.

    Args:
        sizes: Units of each fold.
        alpha: Level of CV+, in (0, 1).
    """
    return 1 - 2 * pooled_level(sizes, alpha)


def minmax_promise(size: int, n_folds: int, alpha: Level) -> Fraction:
    """Least coverage of CV-minmax at `alpha` with folds of one size: `r / (n + n / K)`.

    A new score stays in where the least of it under all folds' models is at most the
    r-th smallest of the n cases', `r = ceil((1 - alpha) (n + 1))`. Assumed: units are
    exchangeable and the training is symmetric in them. It is at most `K / (K + 1)` where
    anything is left out, whatever `alpha`.

    Args:
        size: Units of each fold.
        n_folds: How many there are.
        alpha: Level, in (0, 1).

    Returns:
        1 where the rank exceeds n: everything stays in.
    """
    n = size * n_folds
    rank = math.ceil((1 - check_level("alpha", alpha)) * (n + 1))
    return Fraction(rank, n + size) if rank <= n else Fraction(1)
