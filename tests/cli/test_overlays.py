"""Pictures of masks: on the right voxels, by every name, or refused before any work."""

import itertools
import json

import nibabel as nib
import numpy as np
import pytest
from tests.cli.test_pictures_flow import png
from tests.synthetic import write_nifti

pytest.importorskip("matplotlib")
Image = pytest.importorskip("PIL.Image")

import coverax as cx  # noqa: E402
from coverax.calibrate import calibrate_fnr  # noqa: E402
from coverax.predict import predict_folder  # noqa: E402
from coverax.report import picture_folder  # noqa: E402
from coverax.report.raster import BLUE, ORANGE  # noqa: E402
from coverax.volumes import nifti_files  # noqa: E402

SHAPE, EDGES = (12, 9, 7), (1.0, 1.5, 2.0)
N = 4


def values(seed, shape=SHAPE):
    return np.random.default_rng(seed).random(shape, np.float32)


def calibrated(root):
    """Masks of the maps in a folder, and what made them."""
    cohort = cx.volumes.match_folders(root / "probs", root / "labels")
    definition = cx.scores.ScoreDefinition(
        regions=(cx.volumes.FOREGROUND,), tolerances=(0.0,)
    )
    table = cx.scores.score_cohort(cohort, definition, engine="host")
    calibration = calibrate_fnr(table, "0.3")
    predict_folder(calibration, nifti_files(root / "probs"), root / "masks")
    return calibration


@pytest.fixture
def root(tmp_path):
    """Maps with one bright box each, its masks, references, and scans."""
    for i in range(N):
        probs = values(i) * 0.1
        probs[3:7, 2:5, 2:5] += 0.8
        labels = np.zeros(SHAPE, np.uint8)
        labels[4:8, 2:6, 1:4] = 1
        write_nifti(tmp_path / f"probs/c{i}.nii.gz", probs, EDGES)
        write_nifti(tmp_path / f"labels/c{i}.nii.gz", labels, EDGES)
        write_nifti(tmp_path / f"scans/c{i}_0000.nii.gz", values(50 + i), EDGES)
    calibrated(tmp_path).write(tmp_path / "c.json")
    return tmp_path


def drawn(root, name, **options):
    done = picture_folder(root / "masks", root / name, **options)
    return done, {p.name: p.read_bytes() for p in sorted((root / name).iterdir())}


def turned(path, target, order, flips):
    """The same volume with its axes stored in another order, and its affine with them."""
    image = nib.load(path)
    start = np.array([[axis, 1] for axis in range(3)])
    ends = start[list(order)]
    ends[:, 1] = [-1 if flip else 1 for flip in flips]
    target.parent.mkdir(exist_ok=True)
    nib.save(image.as_reoriented(ends), target)


@pytest.mark.parametrize(
    ("order", "flips"),
    [((1, 0, 2), (0, 0, 0)), ((2, 0, 1), (1, 0, 1)), ((0, 1, 2), (1, 1, 0))],
)
def test_a_scan_stored_otherwise_makes_the_same_picture(root, order, flips):
    for i in range(N):
        name = f"c{i}_0000.nii.gz"
        turned(root / "scans" / name, root / "turned" / name, order, flips)
    _, straight = drawn(root, "a", images=root / "scans", labels=root / "labels")
    _, other = drawn(root, "b", images=root / "turned", labels=root / "labels")
    assert straight == other
    assert set(straight) == {f"c{i}.png" for i in range(N)}


@pytest.mark.parametrize("fault", ["transposed", "shifted", "missing"])
@pytest.mark.parametrize("command", ["predict", "picture"])
def test_a_scan_that_does_not_fit_is_refused_by_name_before_any_work(
    root, cli, fault, command
):
    path = root / "scans/c2_0000.nii.gz"
    image = nib.load(path)
    if fault == "transposed":
        data = np.asarray(image.dataobj).transpose(1, 0, 2)
        nib.save(nib.Nifti1Image(data, image.affine), path)
    elif fault == "shifted":
        affine = image.affine.copy()
        affine[0, 3] += 0.5
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), path)
    else:
        path.unlink()
    args = {
        "predict": ("predict", root / "c.json", "--probs", root / "probs", "--overlay"),
        "picture": ("picture", root / "masks", "-o"),
    }[command]
    rest = ("-o", root / "again") if command == "predict" else ()
    call = (*args, root / "pictures", *rest, "--images", root / "scans")
    refused = cli(*call)
    assert refused.code == 1
    assert "case c2: " in refused.err
    assert "case c1" not in refused.err
    assert not (root / "again").exists()
    assert not (root / "pictures").exists()
    done = cli(*call, "--allow-missing")
    assert done.code == 0, done.err
    assert "no picture: case c2: " in done.err
    assert {p.stem for p in (root / "pictures").iterdir()} == {"c0", "c1", "c3"}


def test_pictures_of_predict_and_of_picture_are_the_same(root, cli):
    words = ("--images", root / "scans", "--labels", root / "labels")
    args = ("predict", root / "c.json", "--probs", root / "probs", "-o", root / "m")
    assert cli(*args, "--overlay", root / "a", *words).code == 0
    assert cli("picture", root / "m", *words, "-o", root / "b").code == 0
    one, two = (
        {p.name: p.read_bytes() for p in (root / name).iterdir()} for name in "ab"
    )
    assert len(one) == N
    assert one == two


def colours_of(data, path):
    path.write_bytes(data)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_contours_show_the_mask_and_the_reference(root, tmp_path):
    _, plain = drawn(root, "a", images=root / "scans")
    _, both = drawn(root, "b", images=root / "scans", labels=root / "labels")
    first, second = (colours_of(p["c0.png"], tmp_path / "x.png") for p in (plain, both))
    n_blue = [int((image == BLUE).all(-1).sum()) for image in (first, second)]
    assert n_blue[0] > 100
    assert not (first == ORANGE).all(-1).any()
    assert plain != both


def test_an_altered_mask_is_not_drawn(root):
    path = root / "masks/c1.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image(1 - np.asarray(image.dataobj), image.affine), path)
    with pytest.raises(ExceptionGroup) as error:
        picture_folder(root / "masks", root / "a", images=root / "scans")
    assert [str(e) for e in error.value.exceptions] == [
        f"case c1: {path}: is not the mask that its sidecar speaks of"
    ]


def test_a_run_that_was_stopped_goes_on(root):
    path = root / "masks/c3.nii.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    words = {"images": root / "scans"}
    with pytest.raises(ExceptionGroup):
        picture_folder(root / "masks", root / "a", **words)
    path.write_bytes(whole)
    again, seen = [], []
    picture_folder(
        root / "masks",
        root / "a",
        **words,
        resume=True,
        on_note=again.append,
        on_case=lambda: seen.append(1),
    )
    assert again == []
    _, straight = drawn(root, "b", **words)
    assert {p.name: p.read_bytes() for p in (root / "a").iterdir()} == straight


def test_a_picture_says_every_level_of_its_promise(root):
    """A mean has no tolerance of a case, and none is said."""
    from coverax.report.pictures import promise_of

    sidecar = json.loads((root / "masks/c0.json").read_bytes())
    (entry,) = sidecar["masks"]
    assert promise_of(sidecar, entry) == "method fnr, alpha 0.3, tolerance 0"
    entry["tolerance"], sidecar["delta"] = None, 0.05
    assert promise_of(sidecar, entry) == "method fnr, alpha 0.3, delta 0.05"


def test_a_folder_without_sidecars_is_told(root):
    with pytest.raises(ValueError, match="holds no sidecar of masks"):
        picture_folder(root / "scans", root / "a", images=root / "scans")


def test_a_picture_in_colours_is_drawn_in_colours(tmp_path):
    """The masks of a 2-D model on RGB, on a palette's place, and on grey."""
    pytest.importorskip("SimpleITK")
    shape = (24, 18)
    for i in range(N):
        probs = np.rint(values(i, shape) * 6000).astype(np.uint16)
        probs[6:14, 5:12] += 50000
        labels = np.zeros(shape, np.uint8)
        labels[7:14, 5:11] = 1
        rgb = np.zeros((*shape[::-1], 3), np.uint8)
        rgb[..., 0], rgb[:3, :5, 2] = 200, 255
        grey = rgb[..., 0]
        for kind, data in (
            ("probs", png(16, 0, probs.T)),
            ("labels", png(8, 0, labels.T)),
            ("colours", png(8, 2, rgb)),
            ("grey", png(8, 0, grey)),
        ):
            (tmp_path / kind).mkdir(exist_ok=True)
            (tmp_path / kind / f"c{i}.png").write_bytes(data)
    calibrated(tmp_path)
    _, pictures = drawn(tmp_path, "a", images=tmp_path / "colours")
    _, _grey = drawn(tmp_path, "g", images=tmp_path / "grey")
    image = colours_of(pictures["c0.png"], tmp_path / "x.png").astype(int)
    red = (image[..., 0] > 150) & (image[..., 1] < 80) & (image[..., 2] < 80)
    blue = (image[..., 2] > 150) & (image[..., 1] < 80)
    assert red.sum() > 10_000
    rows, columns = np.nonzero(blue)
    # Rows run downwards, as in the file: the mark of the first pixels is above, left.
    assert rows.max() < image.shape[0] / 2
    assert columns.max() < image.shape[1] / 2


@pytest.mark.parametrize(
    "shape", [(12, 9, 1), (12, 9), (40, 3, 5), (3, 40, 1), (6, 6, 300), (200, 210, 2)]
)
def test_every_shape_fits(shape, tmp_path):
    """Words lie within the picture: its outermost pixels are all white."""
    from coverax.report.raster import Layer
    from coverax.report.sheet import draw_sheet
    from coverax.volumes import Grid

    volume = (*shape, 1)[:3]
    mask = np.zeros(volume, bool)
    mask[1:3, 1:3] = True
    layers = [
        Layer(name, mask, BLUE)
        for name in ("outside the outer set: surely not", "mask", "reference" * 3)
    ]
    title = "a_case_of_a_long_name_" * 9 + ": liver"
    image = draw_sheet(
        values(0, volume),
        layers,
        Grid(shape, np.diag([1.0, 1.0, 3.0, 1.0])),
        title,
        ["surely lesion 3.21 mL, to look at 12.3 mL; all of the volume is marked"],
        notes=["drawn on the probability map"] * 4,
    )
    pixels = np.asarray(image.convert("RGB"))
    for edge in (pixels[:4], pixels[-4:], pixels[:, :6], pixels[:, -6:]):
        assert (edge == 255).all()


def test_no_voxel_of_a_mask_is_lost_where_a_slice_is_drawn_small():
    from coverax.report.raster import scaled_mask

    for x, y in itertools.product((0, 401, 777), (3, 999)):
        mask = np.zeros((800, 1000), bool)
        mask[x, y] = True
        small = scaled_mask(mask, (256, 300))
        assert small.sum() == 1
        row, column = np.argwhere(small)[0]
        assert abs((row + 0.5) / 256 - (x + 0.5) / 800) < 1 / 256
        assert abs((column + 0.5) / 300 - (y + 0.5) / 1000) < 1 / 300


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SPR", "AIL", "PSL"])
def test_the_patients_right_is_on_the_left_and_the_front_above(axes):
    """A bright voxel at the right, front, top end lies where the letters say."""
    from coverax.report.sheet import view_of
    from coverax.volumes import Grid

    world = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1)}
    world |= {"S": (2, 1), "I": (2, -1)}
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for axis, letter in enumerate(axes):
        affine[world[letter][0], axis] = world[letter][1]
    view = view_of(Grid(SHAPE, affine))
    place = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1)
    where = place @ affine[:3, :3].T
    seen = view.apply(where)[:, :, 0]
    across, down = seen[0, 1] - seen[0, 0], seen[1, 0] - seen[0, 0]
    names = {0: "RL", 1: "AP", 2: "SI"}
    for step, ends in ((across, view.ends[:2]), (down, view.ends[2:])):
        axis = int(np.argmax(abs(step)))
        assert tuple(names[axis]) == ends
        assert step[axis] < 0  # towards left, back and feet


def test_a_sidecar_names_the_region_as_the_command_line_takes_it(root):
    entry = json.loads((root / "masks/c0.json").read_text())["masks"][0]
    region = cx.volumes.parse_region(entry["spec"])
    assert region.name == entry["region"]
