"""What a map looks like without its reference: three numbers and a histogram.

They travel with a calibration, sorted and without names, so that new scans can be
compared with the cohort that calibrated.
"""

import numpy as np
from jaxtyping import Float, Int

# Places kept; the same for both sides of a comparison.
_DIGITS = 9
# Cuts of the histogram: finer towards 0 and 1, where the voxels are.
_TAIL = [1 / 2**k for k in range(10, 1, -1)]
HISTOGRAM_CUTS = np.array([*_TAIL, 0.5, *(1 - t for t in reversed(_TAIL))])


def map_features(
    n_voxels: Int[np.ndarray, " rows"], n_predicted: Int[np.ndarray, "rows cuts"]
) -> dict[str, Float[np.ndarray, " rows"]]:
    """Label-free features from counts at a grid of evenly spaced cuts, ascending from 0.

    Args:
        n_voxels: Voxels that count.
        n_predicted: Voxels at or above each cut.

    Returns:
        `predicted_share` at the middle of the grid, `uncertain_share` between a
        sixteenth from either end, and `mean_probability` to the resolution of the grid.
    """
    n_cuts = n_predicted.shape[1]
    middle, edge = n_cuts // 2, n_cuts // 16
    shares = n_predicted / n_voxels[:, None]
    features = {
        "predicted_share": shares[:, middle],
        "uncertain_share": shares[:, edge] - shares[:, n_cuts - edge],
        "mean_probability": shares[:, 1:].sum(1) / n_cuts,
    }
    return {name: np.round(values, _DIGITS) for name, values in features.items()}


def map_histograms(
    n_voxels: Int[np.ndarray, " rows"], n_predicted: Int[np.ndarray, "rows cuts"]
) -> Float[np.ndarray, "rows histogram"]:
    """Share of the voxels of each map at or above `HISTOGRAM_CUTS`.

    Args:
        n_voxels: Voxels that count.
        n_predicted: Voxels at or above each cut of an even grid, ascending from 0.
    """
    n_cuts = n_predicted.shape[1]
    places = [round(cut * n_cuts) for cut in HISTOGRAM_CUTS.tolist()]
    return np.round(n_predicted[:, places] / n_voxels[:, None], _DIGITS)


def pack_histograms(histograms: Float[np.ndarray, "rows histogram"]) -> list[str]:
    """One line of text a map, sorted: short in a file, and no case to be found."""
    return sorted(" ".join(map(repr, row)) for row in histograms.tolist())


def unpack_histograms(lines: list[str]) -> Float[np.ndarray, "rows histogram"]:
    """Inverse of `pack_histograms`, to the bit."""
    return np.array([[float(share) for share in line.split()] for line in lines])
