"""What a file leaves open, rounds or does not count: rows and notes of scoring."""

from dataclasses import replace

import numpy as np
import pytest
from tests.nifti_files import save, with_scale
from tests.synthetic import assert_same_columns

from coverax.reliability import summarise
from coverax.scores import ScoreDefinition, parse_transforms, score_arrays, score_cohort
from coverax.volumes import match_folders, parse_regions, read_cohort

SHAPE = (9, 8, 7)
DISTANCE = parse_transforms(["outer=distance:cut=0.5"])


def cases(n=3, seed=0, labels=2):
    rng = np.random.default_rng(seed)
    for _ in range(n):
        probs = rng.random(SHAPE, np.float32)
        yield probs, (rng.random(SHAPE) < probs).astype(np.uint8) * (labels - 1)


def write(folder, maps, labels, **header):
    for i, (p, y) in enumerate(zip(maps, labels, strict=True)):
        for kind, array in (("probs", p), ("labels", y)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            save(folder / kind / f"c{i}.nii", array, **header)
    return match_folders(folder / "probs", folder / "labels")


def assert_same(table, other):
    # Peaks are of any number a row; a fingerprint is of the map as it was read.
    assert_same_columns(table, other, but=("lesion_peaks", "map_fingerprint"))
    peaks = ([p.tolist() for p in t.lesion_peaks()] for t in (table, other))
    assert next(peaks) == next(peaks)


def of_regions(table, *names):
    return table.select(np.isin(table.column("region"), names))


def voids(n, seed=5):
    rng = np.random.default_rng(seed)
    return [rng.random(SHAPE) < 0.3 for _ in range(n)]


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_what_lies_where_no_voxel_counts_changes_no_row(tmp_path, engine, value):
    probs, labels = zip(*cases(), strict=True)
    away = voids(len(probs))
    marked = [
        np.where(v, 255, y).astype(np.uint8) for v, y in zip(away, labels, strict=True)
    ]
    definition = ScoreDefinition(ignore_label=255, lesions="face")
    notes = []
    tables = [
        score_cohort(
            write(tmp_path / str(i), maps, marked),
            definition,
            engine=engine,
            on_note=notes.append,
        )
        for i, maps in enumerate(
            (
                probs,
                [
                    np.where(v, np.float32(value), p)
                    for v, p in zip(away, probs, strict=True)
                ],
            )
        )
    ]
    assert_same(*tables)
    assert len(notes) == 1
    assert "3 maps hold no probabilities where no voxel counts" in notes[0]
    arrays = score_arrays(
        [np.where(v, np.float32(np.nan), p) for v, p in zip(away, probs, strict=True)],
        labels,
        [0.1],
        valid=[~v for v in away],
        engine=engine,
    )
    critical = "critical_probability@0.1"
    assert arrays.column(critical).tolist() == tables[0].column(critical).tolist()


def test_a_transform_needs_a_number_at_every_voxel(tmp_path, engine):
    probs, labels = zip(*cases(), strict=True)
    away = voids(len(probs))
    holes = [
        np.where(v, np.float32(np.nan), p) for v, p in zip(away, probs, strict=True)
    ]
    marked = [
        np.where(v, 255, y).astype(np.uint8) for v, y in zip(away, labels, strict=True)
    ]
    cohort = write(tmp_path, holes, marked)
    definition = ScoreDefinition(ignore_label=255, transforms=DISTANCE)
    with pytest.raises(ExceptionGroup) as caught:
        score_cohort(cohort, definition, engine=engine)
    assert all("NaN" in str(error) for error in caught.value.exceptions)
    with pytest.raises(ExceptionGroup):
        score_arrays(
            holes,
            labels,
            [0.1],
            transforms=["outer=distance:cut=0.5"],
            spacing_mm=(1.0, 1.0, 1.0),
            valid=[~v for v in away],
            engine=engine,
        )


@pytest.mark.parametrize("what", ["sheared", "unsized"])
@pytest.mark.parametrize(
    "asks", [{"transforms": DISTANCE}, {"band_edges_mm": (-1.0, 0.0, 1.0)}]
)
def test_millimetres_that_nobody_knows_are_refused_with_the_file(
    tmp_path, engine, what, asks
):
    probs, labels = zip(*cases(), strict=True)
    affine = np.diag([0.5, 0.5, 4.7, 1.0])
    if what == "sheared":
        affine[1, 2] = 1.71
    cohort = write(tmp_path, probs, labels, affine=affine)
    if what == "unsized":
        for path in tmp_path.glob("*/*.nii"):
            data = bytearray(path.read_bytes())
            data[80:92], data[252:256] = bytes(12), bytes([1, 0, 0, 0])
            path.write_bytes(data)
    table = score_cohort(cohort, ScoreDefinition(lesions="face"), engine=engine)
    volume = table.column("voxel_volume_ml")
    if what == "sheared":
        np.testing.assert_allclose(volume, 0.5 * 0.5 * 4.7 / 1000, rtol=1e-6)
    else:
        assert np.isnan(volume).all()
    with pytest.raises(ExceptionGroup) as caught:
        score_cohort(cohort, replace(ScoreDefinition(), **asks), engine=engine)
    words = {"sheared": "not at right angles", "unsized": "pixdim is 0 along x, y, z"}
    for i, error in enumerate(caught.value.exceptions):
        assert f"c{i}.nii: " in str(error)
        assert words[what] in str(error)


@pytest.mark.parametrize("ignore", [None, 4])
def test_any_label_above_0_is_one_region(tmp_path, engine, ignore):
    probs, labels = zip(*cases(), strict=True)
    rng = np.random.default_rng(1)
    named = [y * rng.integers(1, 5, SHAPE).astype(np.uint8) for y in labels]
    definition = ScoreDefinition(
        regions=parse_regions(["a=0:any"]), ignore_label=ignore, lesions="face"
    )
    listed = (1, 2, 3, 4) if ignore is None else (1, 2, 3)
    wide = replace(definition, regions=(replace(definition.regions[0], labels=listed),))
    cohort = write(tmp_path, probs, named)
    some, every = (score_cohort(cohort, d, engine=engine) for d in (definition, wide))
    assert_same(some, every)
    again = ScoreDefinition.from_json(some.definition.to_json())
    assert again.regions == definition.regions


def test_labels_of_no_region_are_said(tmp_path):
    probs, labels = zip(*cases(labels=4), strict=True)
    labels[0][0, 0, 0] = 9
    cohort = write(tmp_path, probs, labels)

    def notes(*specs):
        lines = []
        definition = ScoreDefinition(regions=parse_regions(list(specs)))
        score_cohort(cohort, definition, on_note=lines.append)
        return lines

    (line,) = notes("a=0:3")
    assert line.startswith("label 9 belongs to no region: background in 1 references")
    (line,) = notes("a=0:1")
    assert line.startswith(
        "label 3, 9 belongs to no region: background in 3 references"
    )
    assert not notes("a=0:3,9")
    assert not notes("a=0:any")


def softmaxes(n=4):
    rng = np.random.default_rng(2)
    maps = [rng.dirichlet(np.ones(3), SHAPE).astype(np.float32) for _ in range(n)]
    labels = [rng.integers(0, 3, SHAPE).astype(np.uint8) for _ in range(n)]
    return maps, labels


def test_a_region_that_joins_classes_leaves_the_softmax_as_it_is(tmp_path, engine):
    cohort = write(tmp_path, *softmaxes())
    specs = ["a=1:1", "b=2:2", "whole=1+2:1,2"]
    alone, joined = (
        score_cohort(
            cohort,
            ScoreDefinition(regions=parse_regions(chosen), softmax=True),
            engine=engine,
        )
        for chosen in (specs[:2], specs)
    )
    assert_same_columns(of_regions(joined, "a", "b"), alone)
    one, two = (summarise(t, n_draws=50).summary for t in (alone, joined))
    assert one.softmax == two.softmax
    assert one.top_label == two.top_label
    apart = ScoreDefinition(regions=parse_regions(specs[2:]))
    union = score_cohort(cohort, apart, engine=engine)
    for name in union.columns:
        np.testing.assert_array_equal(
            of_regions(joined, "whole").column(name), union.column(name)
        )


@pytest.mark.parametrize(
    "specs",
    [
        ["whole=1+2:1,2", "a=1:1", "b=2:2"],
        ["a=1:1", "b=2:2", "whole=1+2:1"],
        ["a=1:1", "whole=1+2:1,2"],
        ["a=1:1", "b=2:any"],
        ["a=1:1", "b=2:2", "whole=1+2:any"],
    ],
)
def test_a_softmax_of_other_regions_is_refused(specs):
    with pytest.raises(ValueError, match="of a softmax"):
        ScoreDefinition(regions=parse_regions(specs), softmax=True)


@pytest.mark.parametrize("cut", [np.rint, np.floor])
def test_a_softmax_in_bytes_is_a_softmax(tmp_path, cut):
    maps, labels = softmaxes()
    stored = [cut(p * 255).astype(np.uint8) for p in maps]
    cohort = write(tmp_path, stored, labels)
    for case in cohort.cases:
        with_scale(case.probs, 1 / 255, 0.0)
    regions = parse_regions(["a=1:1", "b=2:2", "whole=1+2:1,2"])
    score_cohort(cohort, ScoreDefinition(regions=regions, softmax=True))
    with_scale(cohort.cases[0].probs, 0.9 / 255, 0.0)
    with pytest.raises(ExceptionGroup) as caught:
        score_cohort(cohort, ScoreDefinition(regions=regions, softmax=True))
    assert "must sum to 1" in str(caught.value.exceptions[0])


def test_a_valid_mask_of_a_fitted_scale_counts(tmp_path):
    import nibabel as nib

    ((probs, labels),) = cases(1)
    valid = np.random.default_rng(3).random(SHAPE) < 0.7
    write(tmp_path, [probs], [labels])
    image = nib.Nifti1Image(
        valid.astype(float), nib.load(tmp_path / "probs/c0.nii").affine
    )
    image.set_data_dtype(np.int16)
    nib.save(image, tmp_path / "valid.nii.gz")
    (tmp_path / "cohort.csv").write_text(
        "case_id,probs,labels,valid\nc0,probs/c0.nii,labels/c0.nii,valid.nii.gz\n"
    )
    table = score_cohort(read_cohort(tmp_path / "cohort.csv"), ScoreDefinition())
    assert table.column("n_voxels").tolist() == [valid.sum()]
