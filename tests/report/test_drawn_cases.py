"""Which cases a report shows, and that their slices are drawn where they lie."""

import base64
import io
import re
import shutil

import nibabel as nib
import numpy as np
import pytest

import coverax as cx
from coverax.report import write_report

pytest.importorskip("jinja2")
Image = pytest.importorskip("PIL.Image")


def grid(affine, shape=(6, 5, 4)):
    return cx.volumes.Grid(shape, np.asarray(affine, float))


def stack(image, masks, affine=None):
    from coverax.report.slices import stack_of

    affine = np.diag([2.0, 1.0, 3.0, 1.0]) if affine is None else affine
    return stack_of(image, masks, grid(affine, image.shape))


def corners(path):
    """Left, right, top and bottom of a path."""
    xy = np.array([p.split() for p in re.findall(r"[\d.]+ [\d.]+", path)], float)
    return (*xy.min(axis=0), *xy.max(axis=0))


def test_a_contour_encloses_the_voxels_of_its_mask_and_so_does_the_picture():
    """One voxel at each place, edges of 2 by 1 mm: right is on the left, front above."""
    for x in (0, 3, 5):
        for y in (0, 2, 4):
            mask = np.zeros((6, 5, 4), bool)
            mask[x, y, 2] = True
            found = stack(mask.astype(np.float32), {"mask": mask})
            k = found.places.index(2)
            left, top, right, bottom = corners(found.contours["mask"][k])
            assert (left, right) == (10 - 2 * x, 12 - 2 * x)
            assert (top, bottom) == (5 - y - 1, 5 - y)
            data = base64.b64decode(found.picture.split(",")[1])
            pixels = np.asarray(Image.open(io.BytesIO(data)))
            assert pixels.shape == (5 * len(found.places), 6)
            (row,), (column,) = np.nonzero(pixels > 128)
            assert (row - 5 * k, column) == (4 - y, 5 - x)
            assert (found.width, found.height) == (12, 5)


def test_slices_without_a_mask_have_no_contour():
    mask = np.zeros((6, 5, 9), bool)
    mask[2, 2, 4] = True
    found = stack(np.zeros((6, 5, 9), np.float32), {"mask": mask})
    shown = [z for z, p in zip(found.places, found.contours["mask"], strict=True) if p]
    assert shown == [4]
    assert found.places[found.first] == 4


@pytest.mark.parametrize(
    ("affine", "ends"),
    [
        (np.diag([1, 1, 1, 1]), "RLAP"),
        (np.diag([-1, 1, 1, 1]), "RLAP"),
        (np.diag([1, -1, 1, 1]), "RLAP"),
        ([[0, 1, 0, 0], [0, 0, 1, 0], [-1, 0, 0, 0], [0, 0, 0, 1]], "RLSI"),
        ([[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]], "APSI"),
    ],
)
def test_a_voxel_is_drawn_at_the_end_that_its_place_in_the_patient_has(affine, ends):
    """As in `coverax picture`, however the volume is stored."""
    affine = np.asarray(affine, float)
    places = {"L": (0, -1), "R": (0, 1), "P": (1, -1), "A": (1, 1)}
    places |= {"I": (2, -1), "S": (2, 1)}
    for end, inside in zip(ends, range(4), strict=True):
        axis, sign = places[end]
        index = np.moveaxis(np.indices((6, 5, 4)), 0, -1)
        world = index @ affine[axis, :3] * sign
        mask = world == world.max()
        found = stack(mask.astype(np.float32), {"mask": mask}, affine)
        left, top, right, bottom = corners(found.contours["mask"][found.first])
        edges = (left, found.width - right, top, found.height - bottom)
        assert "".join(found.ends) == ends
        assert edges[inside] == min(edges) == 0


def test_long_and_wide_volumes_stay_small():
    rng = np.random.default_rng(0)
    image = rng.normal(size=(300, 260, 90)).astype(np.float32)
    found = stack(image, {"mask": np.ones(image.shape, bool)})
    assert len(found.places) <= 32
    assert found.places[0] == 0
    assert found.places[-1] == 89
    assert len(found.picture) < 1.2e6


def section_of(folder, **given):
    """The section of cases: its viewers, and all that it says."""
    from coverax.report.cases import Pictures
    from coverax.report.found import find_results
    from coverax.report.sections.cases import cases

    cohort, images = given.get("cohort"), given.get("images")
    pictures = None if cohort is None else Pictures.of(cohort, images)
    blocks = cases(find_results([folder]), pictures).blocks
    viewers = [block for block in blocks if block.kind == "viewer"]
    return viewers, "\n".join(b.text for b in blocks if b.kind == "text"), blocks


def test_the_worst_the_median_and_the_best_are_those_of_the_evaluation(results):
    _, said, blocks = section_of(results / "cut")
    rows = cx.evaluate.read_cases(results / "cut" / "evaluated" / "cases.csv")
    ranked = sorted(rows, key=lambda r: (-r["calibrated_fnr"], r["case_id"]))
    shown = [row[:2] for b in blocks if b.kind == "table" for row in b.rows]
    wanted = [[ranked[k]["case_id"], f"worst {k + 1}"] for k in range(3)]
    wanted += [[ranked[10]["case_id"], "median"], [ranked[-1]["case_id"], "best"]]
    assert shown == wanted
    assert "maps and references were not given" in said


def images_of(results, folder, shift):
    """Scans of the new cases, moved along the first axis."""
    affine = np.eye(4)
    affine[0, 3] = shift
    folder.mkdir()
    for path in (results / "new" / "probs").iterdir():
        name = path.name.replace(".nii.gz", "_0000.nii.gz")
        scan = np.arange(8 * 9 * 7, dtype=np.float32).reshape(8, 9, 7)
        nib.save(nib.Nifti1Image(scan, affine), folder / name)
    return folder


def test_a_scan_is_drawn_where_its_grid_is_the_maps_and_else_that_is_said(
    results, tmp_path
):
    cohort = cx.volumes.read_cohort(results / "new.csv")
    found = {"none": section_of(results / "cut", cohort=cohort)}
    for name, shift in (("right", 0.0), ("wrong", 3.0)):
        folder = images_of(results, tmp_path / name, shift)
        found[name] = section_of(results / "cut", cohort=cohort, images=folder)
    pictures = {n: [v.stack.picture for v in own[0]] for n, own in found.items()}
    said = {name: own[1] for name, own in found.items()}
    assert all(len(own) == 5 for own in pictures.values())
    assert "map is drawn" not in said["right"]
    assert said["wrong"].count("the map is drawn, not the scan") == 5
    assert "3 mm apart" in said["wrong"]
    assert said["none"].count("no scan was given") == 5
    assert pictures["wrong"] == pictures["none"] != pictures["right"]


def test_a_map_that_cannot_be_read_costs_its_own_picture(results, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(results, root)
    rows = cx.evaluate.read_cases(root / "cut" / "evaluated" / "cases.csv")
    worst = min(rows, key=lambda r: (-r["calibrated_fnr"], r["case_id"]))["case_id"]
    (root / "new" / "probs" / f"{worst}.nii.gz").write_bytes(b"no map")
    cohort = cx.volumes.read_cohort(root / "new.csv")
    viewers, said, _ = section_of(root / "cut", cohort=cohort)
    assert f"{worst} is not drawn" in said
    assert len(viewers) == 4


def test_the_masks_that_are_drawn_are_those_that_predict_writes(results, tmp_path):
    """Their voxels, counted in the contours by the rows of `cases.csv`."""
    cohort = cx.volumes.read_cohort(results / "new.csv")
    viewers, _, _ = section_of(results / "sets", cohort=cohort)
    calibration = cx.calibrate.read_calibration(results / "sets" / "calibration.json")
    maps = {case.case_id: case.probs for case in cohort.cases}
    cx.predict.predict_folder(calibration, maps, tmp_path / "masks")
    for viewer in viewers:
        case_id = viewer.title.split(",")[0]
        mask = nib.load(tmp_path / "masks" / f"{case_id}.nii.gz")
        again = stack(mask.get_fdata() == 0, _sets(mask.get_fdata()), np.eye(4))
        drawn = viewer.stack
        for name in ("inner set", "outer set"):
            paths = dict(zip(again.places, again.contours[name], strict=True))
            own = dict(zip(drawn.places, drawn.contours[name], strict=True))
            assert {z: p for z, p in own.items() if p} == {
                z: p for z, p in paths.items() if p
            }


def _sets(labels):
    return {"outer set": labels >= 1, "inner set": labels == 2}


def test_an_output_that_is_a_map_is_refused(results, tmp_path):
    shutil.copytree(results, tmp_path / "copy")
    cohort = cx.volumes.read_cohort(tmp_path / "copy" / "new.csv")
    path = cohort.cases[0].probs
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="is an input"):
        write_report([tmp_path / "copy" / "cut"], path, cohort=cohort)
    assert path.read_bytes() == before


def test_the_command_line_draws_what_the_library_draws(results, tmp_path, cli):
    new, out = results / "new", tmp_path / "c.html"
    given = ("--probs", new / "probs", "--labels", new / "labels")
    assert cli("report", results / "triage", "-o", out, *given).code == 0
    cohort = cx.volumes.match_folders(new / "probs", new / "labels")
    write_report([results / "triage"], tmp_path / "l.html", cohort=cohort)

    def without_command(path):
        text = path.read_text(encoding="utf-8")
        assert text.count('class="viewer"') == 5
        return re.sub(r"<div><dt>Command</dt>.*?</div>\n", "", text, flags=re.DOTALL)

    assert without_command(out) == without_command(tmp_path / "l.html")
    assert cli("report", results / "cut", "-o", out, "--images", "x").code == 2
