"""Dataset reliability histograms against the golden ones and by counting."""

import numpy as np
from tests.golden import golden, softmax_volume


def test_golden_dataset_histogram():
    from coverax import host
    from coverax.reliability import dataset_histogram

    probs, labels = softmax_volume()
    want = golden()["volume"]["dataset_histogram_bins5_counts_row0_is_top"]
    for c in range(3):
        p = np.ascontiguousarray(probs[:, c])
        histogram = dataset_histogram(host.bin_statistics(p, labels == c, 5))
        np.testing.assert_array_equal(histogram.count[::-1], want[c])


def test_every_case_weighs_one_in_each_bin_it_has():
    from coverax import host
    from coverax.reliability import dataset_histogram

    p = np.array([[0.1, 0.1, 0.9], [0.1, 0.1, 0.1]], np.float32)
    y = np.array([[1, 0, 1], [0, 0, 0]]) != 0
    histogram = dataset_histogram(host.bin_statistics(p, y, 4))
    np.testing.assert_array_equal(histogram.n_cases, [2, 0, 0, 1])
    np.testing.assert_array_equal(histogram.count[:, 0], [1, 1, 0, 0])
    np.testing.assert_array_equal(histogram.count[:, 3], [0, 0, 0, 1])
    np.testing.assert_allclose(histogram.mean_y[[0, 3]], [0.25, 1.0])
    np.testing.assert_allclose(histogram.share[:, 0], [0.5, 0.5, 0, 0])
    assert np.isnan(histogram.share[:, 1]).all()
    np.testing.assert_array_equal(histogram.n_voxels, [5, 0, 0, 1])
