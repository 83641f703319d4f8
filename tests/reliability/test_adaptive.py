"""Equal-mass error from counts at a grid, against the exact one from values."""

import numpy as np
import pytest


def of_grid(p, y, n_bins=20):
    from coverax import host
    from coverax.reliability import adaptive_ce_grid
    from coverax.scores import Curves

    cuts = np.arange(1024, dtype=np.float32) / 1024
    counts = host.grid_counts(p, y, 1024)
    return adaptive_ce_grid(
        Curves(cuts, *counts), host.bin_statistics(p, y, n_bins), n_bins
    )


def test_it_is_exact_where_cells_are_ties_in_their_middle():
    from coverax.reliability import adaptive_calibration_error

    rng = np.random.default_rng(0)
    p = ((rng.integers(0, 1024, (1, 40_000)) + 0.5) / 1024).astype(np.float32)
    y = rng.random(p.shape) < p**2
    exact = adaptive_calibration_error(p, y, 16)[0]
    assert of_grid(p, y, 16) == pytest.approx(exact, rel=1e-9)  # bins of whole cells


@pytest.mark.parametrize("power", [1, 4, 12])
def test_it_is_near_for_smooth_maps(power):
    """Half a cell for the mean probabilities; outcomes hardly change within a cell."""
    from coverax.reliability import adaptive_calibration_error

    rng = np.random.default_rng(1)
    p = rng.random((1, 200_000), dtype=np.float32) ** power
    y = rng.random(p.shape) < p**0.8
    exact = adaptive_calibration_error(p, y, 20)[0]
    assert abs(of_grid(p, y) - exact) < 1 / 2048
    assert abs(of_grid(p, ~y) - exact) > 0.1  # negative control


def test_rows_are_pooled_and_no_voxel_is_nan():
    rng = np.random.default_rng(2)
    p = rng.random((3, 5000), dtype=np.float32)
    y = rng.random(p.shape) < p
    whole = of_grid(p.reshape(1, -1), y.reshape(1, -1))
    assert of_grid(p, y) == pytest.approx(whole, rel=1e-9)
    assert np.isnan(of_grid(p[:, :0], y[:, :0]))


def test_the_first_cell_has_the_mean_of_its_voxels():
    """Most voxels of a map lie there, far below the middle of the cell."""
    p = np.full((1, 5000), 1e-5, np.float32)
    assert of_grid(p, p > 1) == pytest.approx(1e-5, rel=1e-3)
