"""References of 3D Slicer: segments found by name, on the grid of the map."""

import nibabel as nib
import numpy as np
import pytest
from tests import nnunet_files as made
from tests.segment_files import write_segments

import coverax as cx

pytest.importorskip("SimpleITK")
N = 3
SEGMENTS = [("Edema", 0, 3), ("Tumor core", 0, 5), ("necrosis", 1, 3)]
REGIONS = ("--region", "edema=1:1", "--region", "Tumor_core=2:7")
# A corner of the volume that holds every segment.
BOX = (slice(1, 6), slice(2, 6), slice(0, 4))


def reference(seed):
    """Edema holds the core, and necrosis both: no label map could say that."""
    value = made.softmax(50 + seed)[1] + made.softmax(seed)[1]
    inside = np.zeros(made.SHAPE, bool)
    inside[BOX] = True
    return [(value > cut) & inside for cut in (0.2, 0.9, 1.2)]


def layers_of(edema, core, necrosis):
    first = np.where(core, 5, np.where(edema, 3, 0))
    return np.stack([first, np.where(necrosis, 3, 0)])


@pytest.fixture
def cohort(tmp_path):
    """Maps as 4-D NIfTI, cropped `.seg.nrrd`, and a mask a segment as NIfTI."""
    for i in range(N):
        probs = np.moveaxis(made.softmax(i), 0, -1)
        path = tmp_path / f"maps/c{i}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(probs, made.OBLIQUE), path)
        masks = reference(i)
        for name, mask in zip(("edema", "core", "necrosis"), masks, strict=True):
            # A core that shares its layer takes its voxels from the edema there.
            own = mask & ~masks[1] if name == "edema" else mask
            made.write_reference(tmp_path / name, f"c{i}", own)
        cropped = layers_of(*masks)[(slice(None), *BOX)]
        first = tuple(s.start for s in BOX)
        path = tmp_path / f"slicer/c{i}.seg.nrrd"
        write_segments(path, cropped, SEGMENTS, made.OBLIQUE, first=first)
    return tmp_path


def table_of(cli, root, labels, *regions):
    pair = ("--probs", root / "maps", "--labels", labels)
    done = cli("score", *pair, *regions, "--engine", "host", "-o", root / "s")
    assert done.code == 0, done.err
    return cx.scores.read_table(root / "s"), done.err


def rows_of(table, region):
    kept = table.column("region") == region
    names = [n for n in table.columns if n.startswith(("case_id", "n_", "critical"))]
    assert len(names) > 3
    return {name: np.asarray(table.column(name)[kept]).tolist() for name in names}


def test_segments_score_as_a_mask_of_each_does(cohort, cli):
    specs = ("edema=1:1", "Tumor_core=2:7", "Necrosis=2:1")
    regions = [word for spec in specs for word in ("--region", spec)]
    table, said = table_of(cli, cohort, cohort / "slicer", *regions)
    assert "belongs to no region" not in said
    for name, folder, channel in (
        ("edema", "edema", 1),
        ("Tumor_core", "core", 2),
        ("Necrosis", "necrosis", 2),
    ):
        region = ("--region", f"{name}={channel}:1")
        twin, _ = table_of(cli, cohort, cohort / folder, *region)
        assert rows_of(table, name) == rows_of(twin, name)
        assert any(rows_of(twin, name)["n_foreground"])


def test_segments_are_classes_of_a_softmax_as_labels_are(cohort, cli):
    """Apart from each other in one layer; what joins them is both."""
    for i in range(N):
        edema, core, _ = reference(i)
        made.write_reference(cohort / "flat", f"c{i}", np.where(core, 5, 3 * edema))
    specs = ("edema=1:3", "Tumor_core=2:5", "whole=1+2:3,5")
    regions = [word for spec in specs for word in ("--region", spec)]
    table, said = table_of(cli, cohort, cohort / "slicer", *regions, "--softmax")
    twin, _ = table_of(cli, cohort, cohort / "flat", *regions, "--softmax")
    assert "segment necrosis belongs to no region" in said
    assert set(table.columns) == set(twin.columns)
    for name in table.columns:
        np.testing.assert_array_equal(table.column(name), twin.column(name), name)
    assert (rows_of(table, "whole")["n_foreground"]) == [
        int((edema | core).sum()) for edema, core, _ in map(reference, range(N))
    ]


def test_any_is_all_segments_and_those_of_no_region_are_named(cohort, cli):
    table, _ = table_of(cli, cohort, cohort / "slicer", "--region", "whole=1:any")
    expected = [int(np.logical_or.reduce(reference(i)).sum()) for i in range(N)]
    assert rows_of(table, "whole")["n_foreground"] == expected
    _, said = table_of(cli, cohort, cohort / "slicer", *REGIONS)
    assert "segment necrosis belongs to no region: background in 3 references" in said


def test_pictures_draw_the_segment_of_the_region(cohort, cli):
    """Label 1, which the region gives its references, is no segment's."""
    pytest.importorskip("matplotlib")
    region = ("--region", "Tumor_core=2:1")
    table_of(cli, cohort, cohort / "slicer", *region)
    how = ("--alpha", ".4", "-o", cohort / "c.json")
    assert cli("calibrate", cohort / "s", *how).code == 0
    maps = ("--probs", cohort / "maps")
    done = cli("predict", cohort / "c.json", *maps, "-o", cohort / "masks")
    assert done.code == 0, done.err
    drawn = {}
    for name in ("slicer", "core"):
        out = cohort / f"pictures_{name}"
        given = (*maps, "--labels", cohort / name, "-o", out)
        done = cli("picture", cohort / "masks", *given)
        assert done.code == 0, done.err
        drawn[name] = {p.name: p.read_bytes() for p in out.glob("*.png")}
    assert len(drawn["core"]) == N
    assert drawn["slicer"] == drawn["core"]


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ("lesion=1:1", "no segment is called lesion; it has 'Edema', "),
        ("foreground=1:1", "no segment is called foreground"),
    ],
)
def test_a_name_that_is_not_there_is_one_line_with_those_that_are(
    cohort, cli, region, message
):
    pair = ("--probs", cohort / "maps", "--labels", cohort / "slicer")
    done = cli("score", *pair, "--region", region, "-o", cohort / "s")
    assert done.code == 1
    assert message in done.err
    assert "'Edema', 'Tumor core', 'necrosis'" in done.err


def one(cohort, layers, segments, **options):
    """The cohort's first case alone, with another reference."""
    folder = cohort / "one"
    folder.mkdir()
    (folder / "c0.nii.gz").symlink_to(cohort / "maps/c0.nii.gz")
    affine = options.pop("affine", made.OBLIQUE)
    path = cohort / "own/c0.seg.nrrd"
    write_segments(path, layers, segments, affine, **options)
    return ("--probs", folder, "--labels", path.parent, "-o", cohort / "s")


def test_turned_segments_and_a_valid_mask_meet_the_map(cohort, cli):
    """Stored z, y, x and cropped, beside a mask of what counts on the map's grid."""
    edema = reference(0)[0]
    turned = made.OBLIQUE[:, [2, 1, 0, 3]]
    layers = edema[BOX].transpose(2, 1, 0)[None]
    first = tuple(s.start for s in BOX[::-1])
    segments = [("edema", 0, 1)]
    pair = one(cohort, layers, segments, affine=turned, first=first)
    done = cli("score", *pair, "--region", "edema=1:1")
    assert done.code == 0
    assert "(axes z, y, x) and were turned" in done.err
    table = cx.scores.read_table(cohort / "s")
    assert table.column("n_foreground").tolist() == [int(edema.sum())]
    valid = np.ones(made.SHAPE, bool)
    valid[3:] = False
    made.write_reference(cohort / "valid", "c0", valid)
    rows = "case_id,probs,labels,valid\nc0,maps/c0.nii.gz,own/c0.seg.nrrd,"
    (cohort / "c.csv").write_text(f"{rows}valid/c0.nii.gz\n")
    args = ("--cohort", cohort / "c.csv", "--region", "edema=1:1", "-o", cohort / "s")
    assert cli("score", *args).code == 0
    table = cx.scores.read_table(cohort / "s")
    assert table.column("n_voxels").tolist() == [int(valid.sum())]
    assert table.column("n_foreground").tolist() == [int((edema & valid).sum())]


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("beyond", "voxels of its segments lie outside"),
        ("between", "place the same voxel up to|has shape"),
        ("twins", "2 segments are called edema"),
        ("layer", "a layer or label that it cannot have"),
        ("ignored", "no label of them can be ignored"),
        ("softmax", "segments edema and core share 27 voxels, but classes exclude"),
    ],
)
def test_segments_that_cannot_be_read_are_one_line(cohort, cli, case, message):
    layers, segments, options, extra = np.ones((1, 3, 3, 3)), [("edema", 0, 1)], {}, ()
    if case == "beyond":
        options["first"] = (-1, 0, 0)
    if case == "between":
        options["first"] = (0.4, 0, 0)
    if case == "twins":
        segments = [("edema", 0, 1), ("Edema", 0, 2)]
    if case == "layer":
        segments = [("edema", 4, 1)]
    if case == "ignored":
        extra = ("--ignore-label", "9")
    regions = ("--region", "edema=1:1")
    if case == "softmax":
        extra, regions = ("--softmax",), (*regions, "--region", "core=2:2")
        layers, segments = np.ones((2, 3, 3, 3)), [*segments, ("core", 1, 1)]
    pair = one(cohort, layers, segments, **options)
    done = cli("score", *pair, *regions, *extra)
    assert done.code == 1
    assert any(part in done.err for part in message.split("|"))
    assert not (cohort / "s").exists()


def test_one_segment_is_the_foreground_and_old_files_have_one_a_layer(cohort, cli):
    for name in ("c0.nii.gz", "c1.nii.gz", "c2.nii.gz"):
        image = nib.load(cohort / "maps" / name)
        probs = np.asarray(image.dataobj)[..., 1]
        nib.save(nib.Nifti1Image(probs, image.affine), cohort / "maps" / name)
    edema, core, _ = reference(0)
    pair = one(cohort, edema[None], [("whatever", 0, 1)])
    assert cli("score", *pair).code == 0
    table = cx.scores.read_table(cohort / "s")
    assert table.column("n_foreground").tolist() == [int(edema.sum())]
    write_segments(
        cohort / "own/c0.seg.nrrd",
        np.stack([edema, core]),
        [("edema", None, None), ("core", None, None)],
        made.OBLIQUE,
    )
    specs = ("--region", "core=0:1", "--region", "edema=0:1")
    assert cli("score", *pair, *specs).code == 0
    table = cx.scores.read_table(cohort / "s")
    assert table.column("n_foreground").tolist() == [int(core.sum()), int(edema.sum())]


def test_a_file_that_names_no_segments_holds_labels(cohort, cli):
    labels = np.where(reference(0)[0], 2, 0)
    pair = one(cohort, labels[None], [])
    assert cli("score", *pair, "--region", "edema=1:2").code == 0
    table = cx.scores.read_table(cohort / "s")
    assert table.column("n_foreground").tolist() == [int((labels == 2).sum())]


def test_evaluate_takes_them_too(cohort, cli):
    pair = ("--probs", cohort / "maps", "--labels", cohort / "slicer")
    table_of(cli, cohort, cohort / "slicer", *REGIONS)
    fit = ("--alpha", "0.4", "-o", cohort / "c")
    assert cli("calibrate", cohort / "s", *fit).code == 0
    done = cli("evaluate", cohort / "c", *pair, "-o", cohort / "e")
    assert done.code == 0
