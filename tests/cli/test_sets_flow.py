"""Confidence sets through the command line, from score to overlay."""

import gzip
import json

import nibabel as nib
import numpy as np
import pytest
from tests.sets_cohort import blobs
from tests.synthetic import write_nifti

SPACING = (1.0, 1.5, 2.5)
TRANSFORMS = (
    "inner=identity",
    "inner=distance",
    "outer=distance:cut=0.5",
    "outer=surface",
)


@pytest.fixture(scope="module")
def blob_files(tmp_path_factory):
    """Three cohorts of blobs: to learn from, to calibrate, to hold out."""
    folder = tmp_path_factory.mktemp("blobs")
    probs, labels = blobs(60, 7)
    for part, chosen in (
        ("learn", range(20)),
        ("cal", range(20, 50)),
        ("new", range(50, 60)),
    ):
        for i in chosen:
            for kind, arrays in (("probs", probs), ("labels", labels)):
                path = folder / part / kind / f"case_{i:02d}.nii.gz"
                write_nifti(path, arrays[i], SPACING)
    return folder


def options(folder, part):
    return ("--probs", folder / part / "probs", "--labels", folder / part / "labels")


def asked(transforms=TRANSFORMS):
    return [word for text in transforms for word in ("--transform", text)]


@pytest.fixture
def flow(blob_files, tmp_path, cli):
    """Score, learn and calibrate; returns the folder of results."""
    learn, scores = tmp_path / "learn.parquet", tmp_path / "scores.parquet"
    steps = [
        ("score", *options(blob_files, "learn"), *asked(), "--set-sizes", "-o", learn),
        ("learn-sets", learn, "--alpha", "0.3", "-o", tmp_path / "transforms.json"),
        ("score", *options(blob_files, "cal"), *asked(), "-o", scores),
    ]
    for step in steps:
        result = cli(*step)
        assert result.code == 0, result.err
    return tmp_path


def calibrated(flow, cli, *words):
    """Sets calibrated on the scores of the flow; returns calibration.json."""
    path = flow / "calibration.json"
    common = (flow / "scores.parquet", "--method", "sets", *words)
    result = cli("calibrate", *common, "-o", path)
    assert result.code == 0, result.err
    return path


def test_slices_are_learned_from_by_their_areas(tmp_path, cli):
    """`--axes` decides what a width is; without it a set is a volume."""
    from coverax.calibrate import learn_sets
    from coverax.scores import score_arrays

    probs, labels = blobs(12, 3, (9, 11))
    names = ["inner=identity", "outer=identity"]
    table = score_arrays(
        probs, labels, ["0.1"], transforms=names, set_sizes=True, engine="host"
    )
    table.write(tmp_path / "s.parquet")
    for axes, words in ((2, ("--axes", "2")), (3, ())):
        out = tmp_path / f"{axes}.json"
        done = cli(
            "learn-sets", tmp_path / "s.parquet", "--alpha", "0.4", *words, "-o", out
        )
        assert done.code == 0, done.err
        found = json.loads(out.read_text())["candidates"]
        assert found == list(learn_sets(table, "0.4", n_axes=axes).candidates)
    widths = [
        json.loads((tmp_path / f"{n}.json").read_text())["candidates"] for n in (2, 3)
    ]
    assert widths[0] != widths[1]


@pytest.mark.parametrize("joint", ["each", "bonferroni", "max", "ranked"])
def test_what_is_predicted_is_what_is_evaluated(joint, flow, blob_files, cli):
    """Volumes of the written sets are the counts that evaluation counted."""
    learned = ("--transforms", flow / "transforms.json")
    calibration = calibrated(flow, cli, "--alpha", "0.3", "--joint", joint, *learned)
    done = cli(
        "predict",
        calibration,
        "--probs",
        blob_files / "new" / "probs",
        "--sides",
        "-o",
        flow / "masks",
    )
    assert done.code == 0, done.err
    done = cli(
        "evaluate",
        calibration,
        *options(blob_files, "new"),
        "-o",
        flow / "evaluation",
        "--json",
    )
    assert done.code == 0, done.err
    found = done.json["results"][0]
    assert [row["alpha"] for row in found["fcr"]][-1] == 0.2
    for name in ("inner", "outer", "joint"):
        assert 0 <= found[name]["coverage"] <= 1
    rows = (flow / "evaluation" / "cases.csv").read_text().splitlines()
    table = [
        dict(zip(rows[0].split(","), row.split(","), strict=True)) for row in rows[1:]
    ]
    for row in table:
        sidecar = json.loads((flow / "masks" / f"{row['case_id']}.json").read_text())
        entry = sidecar["masks"][0]
        truth = nib.load(blob_files / "new" / "labels" / f"{row['case_id']}.nii.gz")
        truth = np.asarray(truth.dataobj) > 0
        sets = {}
        for side in ("inner", "outer"):
            mask = nib.load(flow / "masks" / f"{row['case_id']}_{side}.nii.gz")
            sets[side] = np.asarray(mask.dataobj) > 0
            assert sets[side].sum() == int(row[f"n_{side}"])
            assert entry["volume_ml"][side] == pytest.approx(float(row[f"{side}_ml"]))
        assert (not (sets["inner"] & ~truth).any()) == (row["inner_covered"] == "True")
        assert (not (truth & ~sets["outer"]).any()) == (row["outer_covered"] == "True")
        labels = nib.load(flow / "masks" / f"{row['case_id']}.nii.gz")
        labels = np.asarray(labels.dataobj)
        assert np.array_equal(labels == 2, sets["inner"] & sets["outer"])
        assert np.array_equal(labels == 0, ~(sets["inner"] | sets["outer"]))
        assert labels.shape == truth.shape


def test_a_margin_in_mm_is_in_the_sidecar(flow, blob_files, cli):
    chosen = ("--inner", "distance", "--outer", "distance", "--joint", "max")
    calibration = calibrated(flow, cli, "--alpha", "0.2", *chosen)
    assert (
        cli(
            "predict",
            calibration,
            "--probs",
            blob_files / "new" / "probs",
            "-o",
            flow / "m",
        ).code
        == 0
    )
    entry = json.loads((flow / "m" / "case_50.json").read_text())["masks"][0]
    threshold = json.loads(calibration.read_text())["thresholds"][0]
    assert (
        entry["outer"]["margin_mm"] == threshold["value"] == entry["inner"]["margin_mm"]
    )


def test_overlays_are_drawn(flow, blob_files, cli):
    pytest.importorskip("matplotlib")
    calibration = calibrated(
        flow, cli, "--alpha", "0.3", "--inner", "identity", "--outer", "surface"
    )
    maps = ("--probs", blob_files / "new" / "probs")
    result = cli(
        "predict", calibration, *maps, "-o", flow / "m", "--overlay", flow / "png"
    )
    assert result.code == 0, result.err
    assert len(list((flow / "png").glob("*.png"))) == 10


def test_units_that_were_learned_from_are_refused(flow, cli):
    result = cli(
        "calibrate",
        flow / "learn.parquet",
        "--method",
        "sets",
        "--alpha",
        "0.3",
        "--transforms",
        flow / "transforms.json",
        "-o",
        flow / "c.json",
    )
    assert result.code == 1
    assert "20 of 20 calibration units were used" in result.errors[0]
    assert not (flow / "c.json").exists()


def test_an_output_does_not_replace_the_learned_transforms(flow, cli):
    learned = flow / "transforms.json"
    before = learned.read_text()
    words = ("--method", "sets", "--alpha", "0.3", "--transforms", learned)
    result = cli("calibrate", flow / "scores.parquet", *words, "-o", learned)
    assert result.code == 2
    assert "is an input" in " ".join(result.err.replace("│", " ").split())
    assert learned.read_text() == before


def test_a_table_without_set_scores_says_how_to_get_them(blob_files, tmp_path, cli):
    table = tmp_path / "plain.parquet"
    assert cli("score", *options(blob_files, "cal"), "-o", table).code == 0
    words = ("--method", "sets", "--alpha", "0.3", "-o", tmp_path / "c.json")
    result = cli("calibrate", table, *words)
    assert result.code == 1
    assert "--transform inner=NAME" in result.errors[0]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--inner", "smooth"), 1, "no inner scores for smooth"),
        (("--outer", "surface"), 1, "choose one"),
        (("--inner", "identity", "--outer", "euclid"), 1, "unknown"),
        (("--tolerance", "0.1"), 2, "does not go with --method sets"),
        (("--joint", "max", "--alpha-inner", "0.1"), 1, "does not split alpha"),
        (
            ("--joint", "ranked", "--inner", "identity", "--outer", "surface"),
            1,
            "learn-sets",
        ),
    ],
)
def test_what_cannot_be_calibrated_is_refused(words, code, message, flow, cli):
    result = cli(
        "calibrate",
        flow / "scores.parquet",
        "--method",
        "sets",
        "--alpha",
        "0.3",
        *words,
        "-o",
        flow / "c.json",
    )
    assert result.code == code
    assert message in " ".join(result.err.split())


def test_an_option_of_sets_is_refused_elsewhere(flow, cli):
    result = cli(
        "calibrate",
        flow / "scores.parquet",
        "--alpha",
        "0.3",
        "--joint",
        "max",
        "-o",
        flow / "c.json",
    )
    assert result.code == 2


def test_an_unknown_transform_is_a_usage_error(files, cli):
    result = cli(
        "score",
        *files.options,
        "--transform",
        "outer=euclid",
        "-o",
        files.root / "s.parquet",
    )
    assert result.code == 2


def test_another_engine_than_the_scores_is_refused(flow, blob_files, cli):
    calibration = calibrated(
        flow, cli, "--alpha", "0.3", "--inner", "identity", "--outer", "surface"
    )
    result = cli(
        "evaluate",
        calibration,
        *options(blob_files, "new"),
        "--engine",
        "device",
        "-o",
        flow / "e",
    )
    assert result.code == 1
    assert "--engine host" in result.errors[0]


@pytest.mark.parametrize("edge", [-2.0, 0.0])
def test_spacing_that_is_no_length_is_an_error(edge, files, cli):
    path = files.map(3)
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[252:256] = bytes(4)  # neither qform nor sform: the spacing is pixdim
    raw[80:84] = np.float32(edge).tobytes()
    path.write_bytes(gzip.compress(bytes(raw)))
    options = (*files.options, "--transform", "inner=distance")
    result = cli("score", *options, "-o", files.root / "s.parquet")
    assert result.code == 1
    assert "case_03" in result.errors[0]
