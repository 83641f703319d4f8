"""Inference: exact geometry there and back, whole folders, scores without maps."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tests.nifti_files import save

from coverax.scores import ScoreDefinition, score_cohort
from coverax.train.cases import prepare_case
from coverax.train.config import DataConfig, PatchConfig, TrainConfig
from coverax.train.infer import (
    InferOptions,
    choose_images,
    count_finished,
    infer_folder,
    map_reader,
)
from coverax.train.split import Split, split_units
from coverax.volumes import (
    Case,
    Cohort,
    check_same_grid,
    nifti_files,
    parse_regions,
    read_header,
    read_labels,
    read_probs,
)

# Oblique, mirrored, anisotropic: edges of 0.6, 0.8 and 5 mm.
TURN = np.linalg.qr(np.array([[1, 0.2, 0.1], [-0.3, 1, 0.2], [0, -0.1, 1]]))[0]
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = TURN @ np.diag([-0.6, 0.8, 5.0])
OBLIQUE[:3, 3] = (17.5, -40.25, 3.0)
SHAPE = (14, 12, 5)
CLASSES = {"background": 0, "core": 1, "rim": 2}
CONFIG = TrainConfig(
    data=DataConfig(images=Path("i"), labels=Path("l"), classes=CLASSES),
    patch=PatchConfig(size=(8, 8, 8)),
)
SPACED = replace(CONFIG, data=replace(CONFIG.data, spacing_mm=(1.2, 0.7, 2.0)))
MODEL = "digest of the parameters"


def net(patches):
    """A voxelwise softmax of three classes."""
    x = np.asarray(patches)[..., 0]
    e = np.exp(np.stack([np.zeros_like(x), 2 * x, 1 - x], axis=-1))
    return (e / e.sum(-1, keepdims=True)).astype(np.float32)


def write_images(folder, names=("a", "b", "c"), *, shape=SHAPE, affine=OBLIQUE):
    """Images and references of random voxels."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(exist_ok=True)
    for seed, name in enumerate(names):
        rng = np.random.default_rng(seed)
        image = rng.normal(100, 20, shape).astype(np.float32)
        labels = rng.integers(0, 3, shape).astype(np.uint8)
        save(folder / "images" / f"{name}.nii.gz", image, affine=affine)
        save(folder / "labels" / f"{name}.nii.gz", labels, affine=affine)
    return nifti_files(folder / "images")


def infer(images, output, config=CONFIG, options=None, **keywords):
    options = options or InferOptions()
    return infer_folder(net, images, output, config, options, model=MODEL, **keywords)


def read_map(path):
    return np.asarray(nib.load(path).dataobj, np.float32)


@pytest.mark.parametrize("config", [CONFIG, SPACED])
@pytest.mark.parametrize("coded", ["sform", "qform", "both"])
def test_maps_have_the_grid_of_their_images(tmp_path, config, coded):
    images = write_images(tmp_path, ["a"])
    image = nib.load(images["a"])
    image.set_sform(OBLIQUE, int(coded != "qform"))
    image.set_qform(OBLIQUE, int(coded != "sform"))
    nib.save(image, images["a"])
    infer(images, tmp_path / "maps", config)
    path = tmp_path / "maps" / "a.nii.gz"
    written, source = read_header(path), read_header(images["a"])
    assert written.grid.shape == SHAPE
    assert written.n_channels == 3
    np.testing.assert_array_equal(written.grid.affine, source.grid.affine)
    for code in ("sform_code", "qform_code"):
        assert written.header[code] == source.header[code]
    _, reference = read_labels(tmp_path / "labels" / "a.nii.gz")
    check_same_grid(written.grid, path, reference.grid, reference.path)
    loaded = nib.load(path)
    assert loaded.shape == (*SHAPE, 3)
    assert loaded.get_data_dtype() == np.float32
    np.testing.assert_array_equal(loaded.affine, nib.load(images["a"]).affine)


def test_without_resampling_the_map_is_the_net_voxel_by_voxel(tmp_path):
    images = write_images(tmp_path, ["a"])
    infer(images, tmp_path / "maps")
    case = prepare_case(images["a"], None, CONFIG.data)
    got = read_map(tmp_path / "maps" / "a.nii.gz")
    np.testing.assert_allclose(got, net(case.image), atol=1e-6)


def test_resampling_is_undone_in_the_right_place(tmp_path):
    # A smooth blob, off centre on every axis: its centre of mass must come back.
    shape = (30, 26, 12)
    axes = [np.arange(n) for n in shape]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    blob = np.exp(-((x - 9) ** 2 / 40 + (y - 17) ** 2 / 30 + (z - 7) ** 2 / 6))
    (tmp_path / "images").mkdir()
    save(
        tmp_path / "images" / "a.nii.gz",
        (100 * blob).astype(np.float32),
        affine=OBLIQUE,
    )
    infer(nifti_files(tmp_path / "images"), tmp_path / "maps", SPACED)
    probs = read_map(tmp_path / "maps" / "a.nii.gz")[..., 1]
    weight = probs - probs.min()
    wanted = blob - blob.min()
    for axis in (x, y, z):
        found = (axis * weight**3).sum() / (weight**3).sum()
        # A shift by half a voxel of either grid would be 0.2 or more.
        assert abs(found - (axis * wanted**3).sum() / (wanted**3).sum()) < 0.1


@pytest.mark.parametrize("config", [CONFIG, SPACED])
@pytest.mark.parametrize("storage", ["float32", "uint16"])
def test_written_maps_are_softmaxes_that_every_command_reads(tmp_path, config, storage):
    images = write_images(tmp_path, ["a"])
    options = InferOptions(storage=storage, flips=(0,))
    infer(images, tmp_path / "maps", config, options)
    probs = read_probs(tmp_path / "maps" / "a.nii.gz", channels=(0, 1, 2)).probs
    assert probs.min() >= 0
    assert probs.max() <= 1
    rounding = 0 if storage == "uint16" else 3e-7
    np.testing.assert_allclose(probs.sum(axis=0), 1, atol=rounding)


def test_stored_steps_are_exact_and_near(tmp_path):
    images = write_images(tmp_path, ["a"])
    infer(images, tmp_path / "f")
    infer(images, tmp_path / "u", options=InferOptions(storage="uint16"))
    exact = read_probs(tmp_path / "f" / "a.nii.gz", channels=(0, 1, 2)).probs
    steps = read_probs(tmp_path / "u" / "a.nii.gz", channels=(0, 1, 2)).probs
    assert np.abs(exact - steps).max() < 2.0**-15
    np.testing.assert_array_equal(steps * 2**15, np.rint(steps * 2**15))
    sizes = [(tmp_path / k / "a.nii.gz").stat().st_size for k in "uf"]
    assert sizes[0] < 0.7 * sizes[1]


def test_a_slice_becomes_a_map_of_one_slice(tmp_path):
    images = write_images(tmp_path, ["a"], shape=(10, 9), affine=np.diag([1, 2, 3, 1]))
    flat = replace(CONFIG, patch=PatchConfig(size=(8, 8, 1)))
    infer(images, tmp_path / "maps", flat)
    path = tmp_path / "maps" / "a.nii.gz"
    written, source = read_header(path), read_header(images["a"])
    check_same_grid(written.grid, path, source.grid, images["a"])
    assert written.n_channels == 3


@pytest.mark.parametrize("config", [CONFIG, SPACED])
@pytest.mark.parametrize("engine", ["host", "device"])
def test_scores_without_maps_are_those_of_written_maps(tmp_path, config, engine):
    images = write_images(tmp_path)
    infer(images, tmp_path / "maps", config)
    definition = ScoreDefinition(
        regions=parse_regions(["core=1:1", "rim=2:2"]), softmax=True
    )
    labels = nifti_files(tmp_path / "labels")

    def scored(maps, **reader):
        cases = tuple(Case(i, maps[i], labels[i], unit=i) for i in maps)
        return score_cohort(Cohort(cases, {}), definition, engine=engine, **reader)

    written = scored(nifti_files(tmp_path / "maps"))
    reader = map_reader(net, config, InferOptions(), model=MODEL)
    direct = scored(images, read_map=reader)
    assert direct.rows_digest == written.rows_digest
    assert direct.definition == written.definition
    # The comparison can fail: another net, another table.
    other = map_reader(lambda p: net(2 * p), config, InferOptions())
    assert scored(images, read_map=other).rows_digest != written.rows_digest


def test_a_folder_has_its_record_and_nothing_unfinished(tmp_path):
    images = write_images(tmp_path)
    assert infer(images, tmp_path / "maps", about={"step": 7}) == {}
    assert sorted(p.name for p in (tmp_path / "maps").iterdir()) == [
        *[f"{i}.nii.gz" for i in "abc"],
        "infer.json",
    ]
    record = json.loads((tmp_path / "maps" / "infer.json").read_text())
    assert record["model"] == MODEL
    assert record["step"] == 7
    assert record["classes"] == CLASSES
    assert not list(tmp_path.glob("*.partial"))


def test_a_bad_image_is_named_and_the_others_are_kept_for_resuming(tmp_path):
    images = write_images(tmp_path)
    good = images["b"].read_bytes()
    images["b"].write_bytes(good[: len(good) // 2])
    with pytest.raises(ExceptionGroup, match="1 of 3 cases failed") as error:
        infer(images, tmp_path / "maps")
    assert "case b" in str(error.value.exceptions[0])
    assert str(images["b"]) in str(error.value.exceptions[0])
    assert not (tmp_path / "maps").exists()
    assert count_finished(tmp_path / "maps") == 2
    images["b"].write_bytes(good)
    seen = []

    def counted(patches):
        seen.append(len(patches))
        return net(patches)

    options = InferOptions()
    infer_folder(
        counted, images, tmp_path / "maps", CONFIG, options, model=MODEL, resume=True
    )
    assert len(nifti_files(tmp_path / "maps")) == 3
    assert len(seen) == 3 * 2 * 1  # the windows of one case


def test_another_model_does_not_resume(tmp_path):
    images = write_images(tmp_path)
    images["b"].write_bytes(b"broken")
    with pytest.raises(ExceptionGroup):
        infer(images, tmp_path / "maps")
    with pytest.raises(ValueError, match="another checkpoint; run without --resume"):
        infer_folder(
            net,
            images,
            tmp_path / "maps",
            CONFIG,
            InferOptions(),
            model="other",
            resume=True,
        )


def test_a_failed_case_may_be_left_out(tmp_path):
    images = write_images(tmp_path)
    images["b"].write_bytes(b"broken")
    failed = infer(images, tmp_path / "maps", allow_missing=True)
    assert list(failed) == ["b"]
    assert list(nifti_files(tmp_path / "maps")) == ["a", "c"]


def test_a_folder_that_holds_something_is_not_touched(tmp_path):
    images = write_images(tmp_path)
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "mine.txt").write_text("x")
    with pytest.raises(FileExistsError, match="not empty"):
        infer(images, tmp_path / "maps")


def test_a_net_that_diverged_is_one_line(tmp_path):
    images = write_images(tmp_path, ["a"])

    def diverged(patches):
        return np.full((*np.shape(patches)[:-1], 3), np.nan, np.float32)

    with pytest.raises(ValueError, match=r"a\.nii\.gz: the net gives .* not finite"):
        infer_folder(
            diverged, images, tmp_path / "m", CONFIG, InferOptions(), model=MODEL
        )


def test_running_out_of_memory_names_windows_and_batch(tmp_path):
    images = write_images(tmp_path, ["a"])

    def too_large(patches):
        raise MemoryError

    options = InferOptions(batch=64)
    with pytest.raises(ValueError, match=r"64 windows of 8 x 8 x 8 .* lower --batch"):
        infer_folder(too_large, images, tmp_path / "m", CONFIG, options, model=MODEL)


IMAGES = {f"c{i}": Path(f"c{i}.nii.gz") for i in range(10)}
SPLIT = split_units(
    {f"c{i}": f"c{i}" for i in range(9)},
    {"train": 3 / 9, "learning": 2 / 9, "calibration": 2 / 9, "test": 2 / 9},
    0,
)


def test_what_the_model_has_seen_is_left_out_by_default():
    chosen = choose_images(IMAGES, SPLIT)
    unseen = {*SPLIT.cases("calibration"), *SPLIT.cases("test")}
    assert set(chosen) == unseen | {"c9"}
    assert chosen["c9"] == "new"


def test_a_part_that_is_asked_for_is_all_there_is():
    assert set(choose_images(IMAGES, SPLIT, ["test"])) == set(SPLIT.cases("test"))
    assert set(choose_images(IMAGES, SPLIT, ["train"])) == set(SPLIT.cases("train"))
    assert set(choose_images(IMAGES, None)) == set(IMAGES)


def test_lost_images_of_a_part_are_named():
    lost = SPLIT.cases("test")[0]
    images = {i: path for i, path in IMAGES.items() if i != lost}
    with pytest.raises(ValueError, match=f"no image for 1 case .* test: {lost}"):
        choose_images(images, SPLIT, ["test"])
    kept = choose_images(images, SPLIT, ["test"], allow_missing=True)
    assert set(kept) == set(SPLIT.cases("test")) - {lost}


@pytest.mark.parametrize(
    ("split", "parts", "message"),
    [
        (SPLIT, ["validation"], "no part 'validation'"),
        (None, ["test"], "needs the split"),
        (Split({"u": "train"}, dict.fromkeys(IMAGES, "u"), 0), [], "none of 10"),
    ],
)
def test_choices_that_mean_nothing_are_refused(split, parts, message):
    with pytest.raises(ValueError, match=message):
        choose_images(IMAGES, split, parts)
