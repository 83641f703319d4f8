"""Reliability diagrams of cases, and how they vary over a dataset."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from coverax.engine.results import BinStatistics
from coverax.reliability.errors import bin_means
from coverax.reliability.statistics import mean_of_known


class DatasetHistogram(NamedTuple):
    """Cases counted by predicted bin and by the frequency they observed in it.

    Attributes:
        count: Cases `[frequencies, bins]`; row 0 holds the lowest frequencies.
        mean_y: Mean frequency over the cases of each predicted bin, each case once.
        n_cases: Cases with voxels in each predicted bin.
        n_voxels: Voxels of all cases in each predicted bin.
    """

    count: Int[np.ndarray, "frequencies bins"]
    mean_y: Float[np.ndarray, " bins"]
    n_cases: Int[np.ndarray, " bins"]
    n_voxels: Int[np.ndarray, " bins"]

    @property
    def share(self) -> Float[np.ndarray, "frequencies bins"]:
        """Counts divided by their column; NaN where no case has the bin."""
        whole = np.where(self.n_cases > 0, self.n_cases, np.nan)
        return self.count / whole[None]


def dataset_histogram(statistics: BinStatistics) -> DatasetHistogram:
    """Histogram over cases of each bin's observed frequency; a case weighs 1.

    A reliability diagram of pooled voxels shows the mean and hides the spread; here a
    column shows in how many cases the bin was over- or under-confident, and by how much.
    Frequencies use as many bins as probabilities, closed on the right as those are.

    References:
        Barfoot et al. (2025), Average Calibration Losses for Reliable Uncertainty in
        Medical Image Segmentation.
    """
    voxels = np.asarray(statistics.count)
    hits = np.asarray(statistics.sum_y).astype(np.int64)
    n_bins = voxels.shape[1]
    occupied = voxels > 0
    # ceil(hits * bins / voxels) - 1 in integers: no rounding decides a bin.
    row = np.zeros_like(hits)
    row[occupied] = -(-hits[occupied] * n_bins // voxels[occupied]) - 1
    row = np.clip(row, 0, n_bins - 1)
    count = np.zeros((n_bins, n_bins), np.int64)
    column = np.broadcast_to(np.arange(n_bins), row.shape)
    np.add.at(count, (row[occupied], column[occupied]), 1)
    _, mean_y = bin_means(statistics)
    n_cases = occupied.sum(axis=0)
    return DatasetHistogram(count, mean_of_known(mean_y), n_cases, voxels.sum(axis=0))
