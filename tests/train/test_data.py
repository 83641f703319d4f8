"""Patches: pure in seed and number, centred as asked, of any size of volume."""

from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from coverax.train.cases import Prepared
from coverax.train.config import PatchConfig
from coverax.train.data import train_batches
from coverax.volumes import Grid, NiftiFile

PATCH = PatchConfig(size=(6, 6, 6), batch=3)


def case(name, shape=(12, 10, 9), *, labels=True, foreground=True, channels=1):
    """A volume whose intensities name the case and the voxel."""
    image = np.arange(np.prod(shape), dtype=np.float32).reshape(*shape, 1)
    image = np.repeat(image + 10_000 * int(name), channels, axis=-1)
    marks = np.zeros(shape, np.uint8)
    if foreground:
        marks[2, 3, 4], marks[7, 7, 7 % shape[2]] = 1, 2
    file = NiftiFile(Path(), nib.Nifti1Header(), Grid(shape, np.eye(4)), 1, False)
    return Prepared(name, image, marks if labels else None, file)


CASES = [case(str(i)) for i in range(5)]


def test_a_batch_depends_on_seed_and_number_alone():
    one, two = train_batches(CASES, PATCH, 7), train_batches(CASES, PATCH, 7)
    later = two[11]["image"]
    for _ in range(3):
        two[0]
    np.testing.assert_array_equal(one[11]["image"], later)
    assert not np.array_equal(one[11]["image"], one[12]["image"])
    assert not np.array_equal(train_batches(CASES, PATCH, 8)[11]["image"], later)


def test_reading_ahead_in_threads_gives_the_same_batches():
    batches = train_batches(CASES, PATCH, 7)
    ahead = batches[4:8].to_iter_dataset()
    for step, batch in zip(range(4, 8), ahead, strict=True):
        np.testing.assert_array_equal(batch["image"], batches[step]["image"])
        np.testing.assert_array_equal(batch["label"], batches[step]["label"])


def test_types_and_shapes():
    batch = train_batches(CASES, PATCH, 0)[0]
    assert batch["image"].shape == (3, 6, 6, 6, 1)
    assert batch["image"].dtype == np.float32
    assert batch["label"].shape == (3, 6, 6, 6)
    assert batch["label"].dtype == np.int32


def test_image_and_labels_are_cut_at_the_same_place():
    batches = train_batches(CASES, PATCH, 0)
    for step in range(20):
        batch = batches[step]
        for image, label in zip(batch["image"], batch["label"], strict=True):
            voxel = image[..., 0].astype(int) % 10_000
            flat = CASES[0].labels.reshape(-1)
            np.testing.assert_array_equal(label, flat[voxel])


def test_every_case_comes_up_once_a_round():
    batches = train_batches(CASES, PATCH, 1)
    images = np.concatenate([batches[step]["image"] for step in range(10)])
    names = (images[:, 0, 0, 0, 0] // 10_000).astype(int).tolist()
    rounds = [names[i : i + 5] for i in range(0, 30, 5)]
    assert all(sorted(r) == [0, 1, 2, 3, 4] for r in rounds)
    assert len({tuple(r) for r in rounds}) > 1


def test_foreground_patches_hold_foreground_of_both_classes():
    patch = PatchConfig(size=(3, 3, 3), batch=50, foreground=1.0)
    labels = train_batches(CASES, patch, 0)[0]["label"]
    middles = Counter(labels[:, 1, 1, 1].tolist())
    assert set(middles) == {1, 2}
    # Classes are drawn evenly: Binomial(50, 1/2), a count below 6 has probability 1e-9.
    assert min(middles.values()) > 5
    without = PatchConfig(size=(3, 3, 3), batch=50, foreground=0.0)
    assert 0 in train_batches(CASES, without, 0)[0]["label"].max(axis=(1, 2, 3))


def test_a_case_without_foreground_gives_patches_anywhere():
    cases = [case("0"), case("1", foreground=False)]
    patch = PatchConfig(size=(3, 3, 3), batch=40, foreground=1.0)
    images = train_batches(cases, patch, 0)[0]["image"]
    of_empty = images[images[..., 0].max(axis=(1, 2, 3)) >= 10_000]
    assert len(of_empty) == 20
    assert len({float(p[0, 0, 0, 0]) for p in of_empty}) > 10


def test_volumes_smaller_than_the_patch_grow_by_their_border():
    small = case("1", shape=(8, 9, 5))
    patch = PatchConfig(size=(8, 8, 8), batch=1)
    batch = train_batches([small], patch, 0)[0]
    image, label = batch["image"][0, ..., 0], batch["label"][0]
    for z in (5, 6, 7):
        np.testing.assert_array_equal(image[..., z], image[..., 4])
        np.testing.assert_array_equal(label[..., z], label[..., 4])


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        ([], "no case to train on"),
        ([case("0"), case("1", labels=False)], "case 1 has no reference"),
        ([case("0"), case("1", channels=2)], "case 1 has 2 channels, that of case 0 1"),
        ([case("0", foreground=False)], "none of 1 cases has foreground"),
    ],
)
def test_cases_that_cannot_train_are_refused(cases, message):
    with pytest.raises(ValueError, match=message):
        train_batches(cases, PATCH, 0)
