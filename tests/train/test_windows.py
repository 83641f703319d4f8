"""Sliding windows: exact weights, every voxel seen, mirrored and back."""

import numpy as np
import pytest

from coverax.train.windows import predict_volume, window_corners, window_weight


def voxelwise(patches):
    """A net that looks at each voxel alone."""
    p = 1 / (1 + np.exp(-3 * patches[..., 0]))
    return np.stack([1 - p, p], axis=-1).astype(np.float32)


def image_of(shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(*shape, 1)).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "patch"),
    [
        ((8, 8, 8), (8, 8, 8)),
        ((17, 9, 11), (8, 8, 8)),
        ((3, 20, 9), (8, 8, 8)),
        ((12, 13, 5), (8, 8, 1)),
    ],
)
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.75])
def test_a_voxelwise_net_gives_what_it_gives_without_windows(shape, patch, overlap):
    image = image_of(shape)
    got = predict_volume(voxelwise, image, patch, 2, overlap=overlap, batch=3)
    assert got.shape == (*shape, 2)
    # Each window adds a rounding of weight and product; 4^3 windows overlap at most.
    np.testing.assert_allclose(got, voxelwise(image), atol=64 * 2**-24)


def test_windows_that_disagree_are_averaged_by_their_weights():
    calls = []

    def by_turn(patches):
        calls.append(len(calls))
        p = np.full((*patches.shape[:-1], 1), 0.25 * (calls[-1] + 1), np.float32)
        return np.concatenate([1 - p, p], axis=-1)

    got = predict_volume(by_turn, image_of((6, 4, 4)), (4, 4, 4), 2)
    weight = window_weight((4, 4, 4)).astype(np.float64)
    total, value = np.zeros((6, 4, 4)), np.zeros((6, 4, 4))
    for turn, start in enumerate((0, 2)):
        total[start : start + 4] += weight
        value[start : start + 4] += weight * 0.25 * (turn + 1)
    np.testing.assert_allclose(got[..., 1], value / total, atol=1e-6)
    assert calls == [0, 1]


def test_values_are_probabilities_to_the_last_bit():
    def bold(patches):
        p = (patches[..., :1] > 0).astype(np.float32)
        return np.concatenate([1 - p, p], axis=-1)

    image = image_of((21, 19, 17))
    got = predict_volume(bold, image, (8, 8, 8), 2, overlap=0.7)
    np.testing.assert_array_equal(got, bold(image))


def test_flips_are_undone_and_all_combinations_count():
    seen = []

    def remember(patches):
        seen.extend(patches)
        return voxelwise(patches)

    image = image_of((8, 8, 8))
    got = predict_volume(remember, image, (8, 8, 8), 2, flips=(0, 2))
    np.testing.assert_allclose(got, voxelwise(image), atol=1e-6)
    assert len(seen) == 4
    np.testing.assert_array_equal(seen[3], image[::-1, :, ::-1])


def test_a_net_with_a_sense_of_direction_is_averaged_over_flips():
    ramp = np.linspace(0, 1, 8, dtype=np.float32)[:, None, None] * np.ones((1, 8, 8))

    def ramped(patches):
        p = np.broadcast_to(ramp, patches.shape[:-1])
        return np.stack([1 - p, p], axis=-1)

    got = predict_volume(ramped, image_of((8, 8, 8)), (8, 8, 8), 2, flips=(0,))
    np.testing.assert_allclose(got, 0.5, atol=1e-6)


def test_the_last_batch_is_filled_so_that_one_shape_is_seen():
    shapes = set()

    def shaped(patches):
        shapes.add(patches.shape)
        return voxelwise(patches)

    predict_volume(shaped, image_of((17, 9, 11)), (8, 8, 8), 2, batch=5)
    assert shapes == {(5, 8, 8, 8, 1)}


def test_windows_cover_and_end_with_the_volume():
    for n in (8, 9, 15, 16, 40):
        starts = [c[0] for c in window_corners((n, 8, 8), (8, 8, 8), 0.5)]
        assert starts[0] == 0
        assert starts[-1] == n - 8
        assert max(np.diff(starts), default=0) <= 4


@pytest.mark.parametrize(
    ("options", "message"), [({"overlap": 1.0}, "overlap"), ({"flips": (3,)}, "flips")]
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        predict_volume(voxelwise, image_of((8, 8, 8)), (8, 8, 8), 2, **options)
