"""From files to what the net sees, and every file that must be refused."""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tests.nifti_files import AFFINE, save, with_scale
from tests.segment_files import write_segments

from coverax.train.cases import find_cases, prepare_case, present_classes
from coverax.train.config import DataConfig
from coverax.train.references import unnamed_segments
from coverax.volumes import GridMismatchError

SHAPE = (6, 5, 4)
CLASSES = {"background": 0, "core": 7, "rim": 3}


@pytest.fixture
def config(tmp_path) -> DataConfig:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    return DataConfig(
        images=tmp_path / "images", labels=tmp_path / "labels", classes=CLASSES
    )


def write(config, name, *, image=None, labels=None, shape=SHAPE, affine=AFFINE):
    """A case of random intensities and labels; return its two paths."""
    rng = np.random.default_rng(0)
    image = rng.normal(50, 9, shape).astype(np.float32) if image is None else image
    labels = rng.choice([0, 7, 3], shape).astype(np.uint8) if labels is None else labels
    return (
        save(config.images / f"{name}.nii.gz", image),
        save(config.labels / f"{name}.nii.gz", labels, affine=affine),
    )


def test_axes_are_those_of_the_file_and_classes_are_indices(config):
    labels = np.zeros(SHAPE, np.int16)
    labels[5, 0, 0], labels[0, 4, 3] = 7, 3
    image = np.zeros(SHAPE, np.float32)
    image[5, 0, 0] = 1
    case = prepare_case(*write(config, "a", image=image, labels=labels), config)
    assert case.case_id == "a"
    assert case.image.shape == (*SHAPE, 1)
    assert np.unravel_index(case.image.argmax(), SHAPE) == (5, 0, 0)
    assert case.labels[5, 0, 0] == 1
    assert case.labels[0, 4, 3] == 2
    assert case.labels.sum() == 3
    assert case.has_foreground


def test_z_scores_have_mean_0_and_deviation_1(config):
    case = prepare_case(*write(config, "a"), config)
    assert case.image.dtype == np.float32
    assert abs(float(case.image.mean())) < 1e-6
    assert abs(float(case.image.std()) - 1) < 1e-6


def test_a_window_clips_and_scales_alike_for_every_case(config):
    window = replace(config, intensity="window", window=(-160.0, 240.0))
    image = np.linspace(-1000, 1000, np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    case = prepare_case(*write(config, "a", image=image), window)
    wanted = (np.clip(image, -160, 240) - 40) / 200
    np.testing.assert_allclose(case.image[..., 0], wanted, atol=1e-6)


def test_stored_integers_are_scaled_before_the_window(config):
    window = replace(config, intensity="window", window=(0.0, 200.0))
    stored = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    path = with_scale(save(config.images / "a.nii", stored), 2.0, -10.0)
    case = prepare_case(path, None, window)
    wanted = (np.clip(stored * 2.0 - 10, 0, 200) - 100) / 100
    np.testing.assert_allclose(case.image[..., 0], wanted, atol=1e-6)
    assert case.labels is None
    assert not case.has_foreground


def test_each_channel_is_scaled_on_its_own(config):
    rng = np.random.default_rng(1)
    image = rng.normal([[[[0, 90]]]], [[[[1, 30]]]], (*SHAPE, 2)).astype(np.float32)
    path = save(config.images / "a.nii.gz", image)
    case = prepare_case(path, None, replace(config, channels=2))
    assert case.image.shape == (*SHAPE, 2)
    np.testing.assert_allclose(case.image.mean(axis=(0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(case.image.std(axis=(0, 1, 2)), 1, atol=1e-6)


def test_a_slice_has_one_voxel_along_the_last_axis(config):
    case = prepare_case(*write(config, "a", shape=(6, 5)), config)
    assert case.image.shape == (6, 5, 1, 1)
    assert case.labels.shape == (6, 5, 1)


def test_spacing_changes_the_grid_of_image_and_labels_alike(config):
    # AFFINE has edges of about 0.71, 0.8 and 2.5 mm.
    spaced = replace(config, spacing_mm=(0.355, 0.8, 5.0))
    case = prepare_case(*write(config, "a"), spaced)
    assert case.image.shape[:3] == case.labels.shape == (12, 5, 2)
    assert case.file.grid.shape == SHAPE


def test_files_without_partner_are_one_line_with_a_way_to_go_on(config):
    for name in ("a", "b"):
        write(config, name)
    (config.labels / "b.nii.gz").rename(config.labels / "c.nii.gz")
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        find_cases(config)
    assert "images without a reference: b;" in str(error.value)
    assert "references without an image: c " in str(error.value)
    assert "data.allow_missing = true" in str(error.value)
    found = find_cases(replace(config, allow_missing=True))
    assert list(found) == ["a"]
    assert prepare_case(*found["a"], config).case_id == "a"


def test_folders_that_share_no_name_are_refused(config):
    images, labels = write(config, "a")
    labels.rename(config.labels / "b.nii.gz")
    with pytest.raises(ValueError, match=r"no image of .* has a reference"):
        find_cases(replace(config, allow_missing=True))
    assert images.exists()


def test_the_real_cohort_names_its_three_lonely_files(shared_data):
    folder = shared_data / "hippocampus"
    config = DataConfig(
        images=folder / "images",
        labels=folder / "labels",
        classes={"background": 0, "anterior": 1, "posterior": 2},
    )
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        find_cases(config)
    for name in ("118", "010", "281"):
        assert f"hippocampus_{name}" in str(error.value)
    assert len(find_cases(replace(config, allow_missing=True))) == 260


def other_grid(config):
    moved = AFFINE.copy()
    moved[0, 3] += 1
    return write(config, "a", affine=moved)


def other_value(config):
    return write(config, "a", labels=np.full(SHAPE, 2, np.uint8))


def not_finite(config):
    image = np.zeros(SHAPE, np.float32)
    image[0, 0, 0] = np.nan
    return write(config, "a", image=image)


def constant(config):
    return write(config, "a", image=np.full(SHAPE, 4, np.float32))


def two_channels(config):
    return write(config, "a", image=np.zeros((*SHAPE, 2), np.float32))


def fractions(config):
    return write(config, "a", labels=np.full(SHAPE, 0.5, np.float32))


@pytest.mark.parametrize(
    ("make", "file", "message"),
    [
        (other_grid, "labels", "place the same voxel up to 1 mm apart"),
        (other_value, "labels", "label value 2 is not in data.classes"),
        (not_finite, "images", "not finite"),
        (constant, "images", "is constant"),
        (two_channels, "images", "2 channels where data.channels is 1"),
        (fractions, "labels", "labels must be whole numbers"),
    ],
)
def test_bad_input_is_one_line_that_names_the_file(config, make, file, message):
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        prepare_case(*make(config), config)
    assert message in str(error.value)
    assert str(getattr(config, file) / "a.nii.gz") in str(error.value)


def test_another_shape_is_a_grid_mismatch(config):
    image = save(config.images / "a.nii.gz", np.zeros((6, 5, 5), np.float32))
    labels = save(config.labels / "a.nii.gz", np.zeros(SHAPE, np.uint8))
    with pytest.raises(GridMismatchError, match=r"shape \(6, 5, 5\)"):
        prepare_case(image, labels, config)


def arrays_of(case):
    return case.image.tobytes(), case.labels.tobytes(), case.labels.dtype


def test_a_cached_case_is_the_case_and_is_not_read_again(config, tmp_path):
    files = write(config, "a")
    spaced = replace(config, spacing_mm=(1.0, 1.0, 2.0))
    kept = replace(spaced, cache=tmp_path / "cache")
    fresh, first = prepare_case(*files, spaced), prepare_case(*files, kept)
    assert arrays_of(fresh) == arrays_of(first)
    entries = sorted((tmp_path / "cache").iterdir())
    assert [entry.suffix for entry in entries] == [".npy", ".json", ".npy"]
    before = [entry.stat().st_mtime_ns for entry in entries]
    again = prepare_case(*files, kept)
    assert arrays_of(again) == arrays_of(fresh)
    assert isinstance(again.image, np.memmap)
    assert [entry.stat().st_mtime_ns for entry in entries] == before


def test_a_cache_entry_of_other_choices_or_files_is_not_used(config, tmp_path):
    kept = replace(config, cache=tmp_path / "cache")
    files = write(config, "a")
    first = prepare_case(*files, kept)
    window = replace(kept, intensity="window", window=(0.0, 90.0))
    assert arrays_of(prepare_case(*files, window)) != arrays_of(first)
    order = replace(kept, classes=dict(reversed(CLASSES.items())))
    assert prepare_case(*files, order).labels.sum() != first.labels.sum()
    changed = write(config, "a", image=np.arange(120, dtype=np.float32).reshape(SHAPE))
    assert arrays_of(prepare_case(*changed, kept)) != arrays_of(first)


@pytest.mark.parametrize("what", ["image", "labels"])
def test_one_bit_of_a_cache_entry_is_noticed(config, tmp_path, what):
    kept = replace(config, cache=tmp_path / "cache")
    files = write(config, "a")
    prepare_case(*files, kept)
    entry = next((tmp_path / "cache").glob(f"*.{what}.npy"))
    data = bytearray(entry.read_bytes())
    data[-1] ^= 1
    entry.write_bytes(data)
    with pytest.raises(ValueError, match=rf"{what}\.npy: a damaged cache file"):
        prepare_case(*files, kept)


def test_a_damaged_cache_entry_is_named(config, tmp_path):
    kept = replace(config, cache=tmp_path / "cache")
    files = write(config, "a")
    prepare_case(*files, kept)
    entry = next((tmp_path / "cache").glob("*.image.npy"))
    entry.write_bytes(entry.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"image\.npy: a damaged cache file"):
        prepare_case(*files, kept)


def test_millimetres_of_sheared_axes_are_asked_for_by_resampling_alone(config):
    sheared = np.diag([1.0, 1.0, 3.0, 1.0])
    sheared[1, 2] = 1.0
    paths = write(config, "a", affine=sheared)
    save(paths[0], np.random.default_rng(0).normal(size=SHAPE), affine=sheared)
    assert prepare_case(*paths, config).image.shape == (*SHAPE, 1)
    resampled = replace(config, spacing_mm=(1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match=r"a\.nii\.gz: .*not at right angles"):
        prepare_case(*paths, resampled)


def test_references_of_a_fitted_scale_are_classes(config):
    labels = np.random.default_rng(1).choice([0, 7, 3], SHAPE)
    paths = write(config, "a", labels=labels.astype(np.uint8))
    before = prepare_case(*paths, config).labels
    image = nib.Nifti1Image(labels.astype(float), nib.load(paths[1]).affine)
    image.set_data_dtype(np.int16)
    nib.save(image, paths[1])
    np.testing.assert_array_equal(prepare_case(*paths, config).labels, before)


def test_an_ignored_label_is_no_class_and_no_foreground(config):
    labels = np.zeros(SHAPE, np.int16)
    labels[0], labels[1, 0, 0] = 99, 7
    ignoring = replace(config, ignore_label=99)
    case = prepare_case(*write(config, "a", labels=labels), ignoring)
    assert (case.labels[0] == -1).all()
    assert case.labels[1, 0, 0] == 1
    labels[1, 0, 0] = 0
    assert not prepare_case(*write(config, "b", labels=labels), ignoring).has_foreground
    coarse = replace(ignoring, spacing_mm=(0.72, 0.81, 5.0))
    spaced = prepare_case(*write(config, "c", labels=labels), coarse)
    assert (spaced.labels[0] == -1).all()
    with pytest.raises(ValueError, match="label value 99 is not in"):
        prepare_case(*write(config, "d", labels=labels), config)


def test_a_file_a_channel_is_the_image_with_a_channel_axis(config):
    rng = np.random.default_rng(2)
    image = rng.normal(size=(*SHAPE, 2)).astype(np.float32)
    whole = save(config.images / "a.nii.gz", image)
    want = prepare_case(whole, None, replace(config, channels=2)).image
    whole.unlink()
    apart = replace(config, channels=2, channel_files=True)
    for i in range(2):
        save(config.images / f"a_{i:04d}.nii.gz", image[..., i])
    save(config.labels / "a.nii.gz", np.zeros(SHAPE, np.uint8))
    found = find_cases(apart)
    assert list(found) == ["a"]
    case = prepare_case(*found["a"], apart)
    assert case.case_id == "a"
    np.testing.assert_array_equal(case.image, want)


def test_channels_that_are_missing_or_lie_elsewhere_are_one_line(config):
    apart = replace(config, channels=2, channel_files=True)
    image = np.random.default_rng(2).normal(size=SHAPE).astype(np.float32)
    first = save(config.images / "a_0000.nii.gz", image)
    save(config.labels / "a.nii.gz", np.zeros(SHAPE, np.uint8))
    with pytest.raises(ValueError, match="no channel a_0001 of case a"):
        find_cases(apart)
    moved = AFFINE.copy()
    moved[0, 3] += 1
    save(config.images / "a_0001.nii.gz", image, affine=moved)
    with pytest.raises(ValueError, match="a_0001"):
        prepare_case(first, None, apart)
    save(config.images / "b.nii.gz", image)
    with pytest.raises(ValueError, match="takes CASE_0000 to CASE_0001"):
        find_cases(apart)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (1, 0, 2)])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1)])
def test_one_scan_stored_in_any_order_is_one_image_and_comes_back(config, axes, signs):
    from coverax.train.config import parse_config
    from coverax.train.infer import InferOptions, infer_case

    rng = np.random.default_rng(4)
    image = rng.normal(size=SHAPE).astype(np.float32)
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    labels = (image > 1).astype(np.uint8) * 7
    oriented = replace(config, orientation="RAS")
    want = prepare_case(*placed(config, "a", image, labels, affine), oriented)
    np.testing.assert_array_equal(want.labels, labels // 7)
    stored, other = np.zeros((3, 3)), image
    for new, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        stored[axis, new] = sign * (axis + 1.0)
    flips = tuple(slice(None, None, sign) for sign in signs)
    moved = np.eye(4)
    moved[:3, :3] = stored
    other = np.ascontiguousarray(image.transpose(axes)[flips])
    own = np.ascontiguousarray(labels.transpose(axes)[flips])
    found = prepare_case(*placed(config, "b", other, own, moved), oriented)
    np.testing.assert_array_equal(found.image, want.image)
    np.testing.assert_array_equal(found.labels, want.labels)
    np.testing.assert_allclose(found.edges_mm, (1, 2, 3), rtol=1e-6)
    raw = {"data": {"images": ".", "labels": ".", "classes": {"a": 0, "b": 1}}}
    run = parse_config(raw | {"patch": {"size": list(SHAPE)}}, config.images)

    def voxelwise(patches):
        share = 1 / (1 + np.exp(-patches))
        return np.concatenate([1 - share, share], -1)

    back = infer_case(voxelwise, found, run, InferOptions())[..., 1]
    np.testing.assert_allclose(back, 1 / (1 + np.exp(-scaled_by(other))), atol=1e-6)


def placed(config, name, image, labels, affine):
    return (
        save(config.images / f"{name}.nii.gz", image, affine=affine),
        save(config.labels / f"{name}.nii.gz", labels, affine=affine),
    )


def scaled_by(image):
    return (image - image.mean(dtype=np.float64)) / image.std(dtype=np.float64)


def test_an_orientation_is_three_letters():
    from coverax.train.config import parse_config

    data = {"images": ".", "labels": ".", "classes": {"a": 0, "b": 1}}
    for wrong in ("RAR", "ras", "RA", "RASS", "XYZ"):
        with pytest.raises(ValueError, match=r"data\.orientation: an orientation is"):
            parse_config({"data": data | {"orientation": wrong}}, Path())


SEGMENTS = [("Background", 0, 9), ("Core", 0, 5), ("rim", 1, 5), ("Vessel", 1, 2)]
BOX = (slice(1, 5), slice(0, 4), slice(1, 4))


def write_slicer(config, name, layers, *, segments=SEGMENTS, affine=AFFINE, **options):
    """An image, and segments beside it that are stored as far as they reach."""
    image, labels = write(config, name)
    labels.unlink()
    path = labels.with_name(f"{name}.seg.nrrd")
    write_segments(path, layers, segments, affine, **options)
    return image, path


def segments_of(core, rim, vessel):
    """Two layers: the core and the background share one, rim and vessel the other."""
    return np.stack([np.where(core, 5, 0), np.where(rim, 5, np.where(vessel, 2, 0))])


@pytest.fixture
def masks():
    """Of no two a voxel in common, all within `BOX`."""
    inside = np.zeros(SHAPE, bool)
    inside[BOX] = True
    drawn = np.random.default_rng(0).integers(0, 4, SHAPE)
    return [inside & (drawn == k) for k in (1, 2, 3)]


@pytest.mark.parametrize("is_turned", [False, True])
def test_segments_are_classes_by_name_on_the_grid_of_the_image(
    config, masks, is_turned
):
    """Label 5 is core in one layer and rim in the other; `classes` says 7 and 3."""
    pytest.importorskip("SimpleITK", exc_type=ImportError)
    layers = segments_of(*masks)[(slice(None), *BOX)]
    first, affine = tuple(side.start for side in BOX), AFFINE
    if is_turned:
        layers, first = layers.transpose(0, 3, 2, 1), first[::-1]
        affine = AFFINE[:, [2, 1, 0, 3]]
    files = write_slicer(config, "a", layers, affine=affine, first=first)
    core, rim, _ = masks
    wanted = np.where(core, 1, np.where(rim, 2, 0))
    assert wanted.any(axis=(1, 2)).sum() > 1
    np.testing.assert_array_equal(prepare_case(*files, config).labels, wanted)
    assert present_classes(*files, config).tolist() == [True, True, True]
    assert unnamed_segments([files[1], None], config) == {"Vessel": 1}
    assert find_cases(config)["a"].labels == files[1]


def test_segments_that_are_no_classes_are_refused_in_one_line(config, masks):
    pytest.importorskip("SimpleITK", exc_type=ImportError)
    core, rim, vessel = masks
    shared = rim.copy()
    shared[tuple(np.argwhere(core)[:3].T)] = True
    overlap = write_slicer(config, "a", segments_of(core, shared, vessel))
    with pytest.raises(
        ValueError, match=r"a\.seg\.nrrd: segments core and rim share 3"
    ):
        prepare_case(*overlap, config)
    sound = write_slicer(config, "b", segments_of(*masks))
    for changed, message in (
        (
            {"classes": CLASSES | {"cyst": 4}},
            "no segment is called cyst; .* data.classes",
        ),
        (
            {"ignore_label": 2},
            "has segments, .*: data.ignore_label needs references of labels",
        ),
    ):
        with pytest.raises(ValueError, match=rf"b\.seg\.nrrd: {message}"):
            prepare_case(*sound, replace(config, **changed))
    beyond = write_slicer(config, "c", segments_of(*masks), first=(3, 0, 0))
    with pytest.raises(GridMismatchError, match="voxels of its segments lie outside"):
        prepare_case(*beyond, config)
