"""PNG of 2-D models, maps and references, from score to masks."""

import json
import struct
import zlib

import nibabel as nib
import numpy as np
import pytest
from tests import nnunet_files as made

import coverax as cx
from coverax.volumes import nifti_files, read_header, read_labels, read_probs

SHAPE = (9, 7)  # columns, rows
N = 8


def png(depth, colour, rows, more=b""):
    """The bytes of a PNG file, written by hand."""

    def chunk(kind, data):
        whole = kind + data
        return (
            struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))
        )

    height, width = rows.shape[:2]
    start = chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    )
    lines = b"".join(
        b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes() for row in rows
    )
    body = chunk(b"IDAT", zlib.compress(lines))
    return b"\x89PNG\r\n\x1a\n" + start + more + body + chunk(b"IEND", b"")


def write_png(path, values):
    """Write `[x, y]`, of one or two bytes a pixel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(8 * values.dtype.itemsize, 0, values.T))


def soft(seed):
    return made.softmax(seed, 2, SHAPE)[1]


@pytest.fixture
def cohort(tmp_path):
    pytest.importorskip("SimpleITK")
    for i in range(N):
        stored = np.rint(soft(i) * 65535).astype(np.uint16)
        write_png(tmp_path / f"maps/c{i}.png", stored)
        truth = (soft(i) + soft(100 + i) > 1).astype(np.uint8)
        write_png(tmp_path / f"labels/c{i}.png", truth)
        image = nib.Nifti1Image(stored, None)
        image.header.set_slope_inter(1 / 65535, 0)
        image.header["pixdim"][1:4] = 0
        (tmp_path / "nifti").mkdir(exist_ok=True)
        nib.save(image, tmp_path / f"nifti/c{i}.nii.gz")
    return tmp_path


def commands(root, maps, labels):
    pair = ("--probs", maps, "--labels", labels)
    return (
        ("score", *pair, "--engine", "host", "-o", root / "s"),
        ("calibrate", root / "s", "--alpha", "0.2", "-o", root / "c"),
        ("predict", root / "c", "--probs", maps, "-o", root / "masks"),
        ("evaluate", root / "c", *pair, "-o", root / "e"),
    )


def test_pictures_lead_to_masks_as_their_nifti_twins_do(cohort, cli):
    for name in ("png", "twin"):
        root = cohort / name
        root.mkdir()
        maps = cohort / ("maps" if name == "png" else "nifti")
        for command in commands(root, maps, cohort / "labels"):
            done = cli(*command)
            assert done.code == 0, done.err
    table, twin = (cx.scores.read_table(cohort / n / "s") for n in ("png", "twin"))
    assert table.rows_digest == twin.rows_digest
    found, expected = (
        np.asarray(nib.load(cohort / n / "masks/c0.nii.gz").dataobj)
        for n in ("png", "twin")
    )
    np.testing.assert_array_equal(found, expected)
    assert found.shape == SHAPE
    sidecar = json.loads((cohort / "png/masks/c0.json").read_text())
    assert sidecar["masks"][0]["volume_ml"] is None


def test_two_folders_become_a_cohort_with_units(cohort, cli):
    write_png(cohort / "maps/p9_1.png", np.zeros(SHAPE, np.uint8))
    command = ("import", "images", cohort / "maps", "--labels", cohort / "labels")
    done = cli(*command, "--unit-pattern", "c|p9", "--dry-run", "--json")
    assert done.json["n_cases"] == N
    assert done.json["n_units"] == 1
    assert done.json["left_out"] == {"no reference": ["p9_1"]}
    done = cli(*command, "-o", cohort / "cohort.csv")
    assert "left out (no reference): 1: p9_1" in done.err
    args = ("--cohort", cohort / "cohort.csv", "--engine", "host")
    assert cli("score", *args, "-o", cohort / "s").code == 0
    pair = (
        "--probs",
        cohort / "maps",
        "--labels",
        cohort / "labels",
        "--allow-missing",
    )
    assert cli("score", *pair, "--engine", "host", "-o", cohort / "twin").code == 0
    table, twin = (cx.scores.read_table(cohort / name) for name in ("s", "twin"))
    assert table.rows_digest == twin.rows_digest
    for rater in "ab":
        (cohort / "raters").mkdir(exist_ok=True)
        (cohort / "raters" / rater).symlink_to(cohort / "labels")
    both = ("--labels", cohort / "raters", "-o", cohort / "both.csv")
    assert cli("import", "images", cohort / "maps", *both).code == 0
    assert len(cx.volumes.read_cohort(cohort / "both.csv").cases) == 2 * N


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_is_a_share_in_a_map_and_a_label_in_a_reference(tmp_path, dtype):
    pytest.importorskip("SimpleITK")
    top = np.iinfo(dtype).max
    values = np.arange(np.prod(SHAPE), dtype=dtype).reshape(SHAPE) * dtype(top // 63)
    write_png(tmp_path / "c.png", values)
    labels, _ = read_labels(tmp_path / "c.png")
    np.testing.assert_array_equal(labels, values.reshape(-1, order="F"))
    probs = read_probs(tmp_path / "c.png", channels=[0]).probs[0]
    expected = (values.reshape(-1, order="F") / top).astype(np.float32)
    # One rounding of the slope 1 / top to float32, and one of the product.
    np.testing.assert_allclose(probs, expected, rtol=2 * np.finfo(np.float32).eps)
    assert read_probs(tmp_path / "c.png", channels=[0]).file.storage.startswith(
        f"{np.dtype(dtype).name}*"
    )


def test_millimetres_of_pictures_are_refused(cohort, cli):
    pair = ("--probs", cohort / "maps", "--labels", cohort / "labels")
    done = cli("score", *pair, "--transform", "outer=distance", "-o", cohort / "s")
    assert done.code == 1
    assert "a picture does not tell the size of a pixel" in done.errors[0] + done.err


GREY = np.zeros((3, 5), np.uint8)
PALETTE = b"\0\0\0\x03PLTE\x01\x02\x03" + struct.pack(
    ">I", zlib.crc32(b"PLTE\x01\x02\x03")
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (png(8, 3, GREY, PALETTE), "has a palette; save it with one grey value"),
        (png(8, 2, np.zeros((3, 5, 3), np.uint8)), "has colours"),
        (png(4, 0, np.zeros((3, 3), np.uint8)), "has 4 bits a pixel"),
        (png(8, 0, GREY)[:-20], "not read by SimpleITK|not a sound PNG"),
        (png(8, 0, GREY)[:20], "not a sound PNG file"),
        (b"\x1f\x8b" + bytes(60), "not a sound PNG file"),
        (
            png(8, 0, GREY).replace(
                struct.pack(">II", 5, 3), struct.pack(">II", 10**6, 10**6)
            ),
            "it promises 1000000000000 bytes",
        ),
    ],
)
def test_pictures_that_are_no_grey_values_are_one_line(tmp_path, content, message):
    pytest.importorskip("SimpleITK")
    (tmp_path / "c.png").write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_labels(tmp_path / "c.png")
    assert str(tmp_path / "c.png") in str(error.value)
    assert "\n" not in str(error.value)


def test_previews_beside_volumes_are_no_volumes(cohort):
    for i in range(N):
        write_png(cohort / f"nifti/c{i}.png", np.zeros(SHAPE, np.uint8))
    found = nifti_files(cohort / "nifti")
    assert {path.suffix for path in found.values()} == {".gz"}
    assert len(found) == N


@pytest.mark.parametrize("beside", ["segmentation", "nothing"])
def test_a_2d_model_of_nnunet_is_read(tmp_path, cli, beside):
    """Arrays `[class, 1, row, column]` with a spacing of pixels, as for PNG."""
    pytest.importorskip("SimpleITK")
    results, labels = tmp_path / "results", tmp_path / "labels"
    names = {"background": 0, "organ": 1, "lesion": 2}
    made.write_dataset(results, names)
    for i in range(N):
        probs = made.softmax(i, 3, SHAPE)
        np.savez_compressed(
            results / f"c{i}.npz", probabilities=probs.transpose(0, 2, 1)[:, None]
        )
        about = {"spacing": (999, 1, 1), "shape_before_cropping": (1, *SHAPE[::-1])}
        made.write_pickle(results / f"c{i}.pkl", about)
        if beside == "segmentation":
            write_png(results / f"c{i}.png", probs.argmax(0).astype(np.uint8))
        truth = (made.softmax(100 + i, 3, SHAPE) + probs).argmax(0)
        write_png(labels / f"c{i}.png", truth.astype(np.uint8))
    for command in commands(tmp_path, results, labels):
        done = cli(*command)
        assert done.code == 0, done.err
    cut = {
        t.region: t.probability
        for t in cx.calibrate.read_calibration(tmp_path / "c").thresholds
    }
    mask = np.asarray(nib.load(tmp_path / "masks/c1_lesion.nii.gz").dataobj) > 0
    expected = made.softmax(1, 3, SHAPE)[2] >= np.float32(cut["lesion"])
    np.testing.assert_array_equal(mask, expected)
    grid = read_header(results / "c0.npz").grid
    assert np.isnan(grid.voxel_volume_ml)
    with pytest.raises(ValueError, match="a picture does not tell"):
        grid.check_mm()
    if beside == "segmentation":
        flipped = made.softmax(0, 3, SHAPE)[:, ::-1]
        np.savez(results / "c0.npz", probabilities=flipped.transpose(0, 2, 1)[:, None])
        with pytest.raises(
            ValueError, match=r"its argmax fits c0\.png with the axes -x"
        ):
            read_probs(results / "c0.npz", channels=[1])
