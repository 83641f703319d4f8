"""Every bad input: the exit code, one clear line a case, nothing half-written."""

import gzip
import json
import resource
import shutil
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from tests.cli.conftest import N_CASES, SHAPE
from tests.synthetic import write_nifti


def replace_voxel(path, value, dtype=np.float32):
    array = np.asanyarray(nib.load(path).dataobj).astype(dtype)
    array[1, 2, 3] = value
    write_nifti(path, array)


def reshape(path):
    write_nifti(path, np.zeros((8, 9, 6), np.float32))


def move(path):
    array = np.asanyarray(nib.load(path).dataobj)
    affine = np.eye(4)
    affine[0, 3] = 0.5
    nib.save(nib.Nifti1Image(array, affine), path)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-20])


def corrupt(path):
    data = bytearray(path.read_bytes())
    data[-6] ^= 0xFF
    path.write_bytes(bytes(data))


# what is wrong -> (how to break case i, the file the line must name, its words)
BROKEN_MAPS = {
    "NaN": (lambda p: replace_voxel(p, np.nan), "1 voxels are NaN or infinite"),
    "infinite": (lambda p: replace_voxel(p, np.inf), "1 voxels are NaN or infinite"),
    "above one": (lambda p: replace_voxel(p, 1.5), "must lie in [0, 1]"),
    "below zero": (lambda p: replace_voxel(p, -0.2), "must lie in [0, 1]"),
    "shape": (reshape, "has shape (8, 9, 6)"),
    "affine": (move, "place the same voxel up to 0.5 mm apart"),
    "truncated": (truncate, "truncated"),
    "checksum": (corrupt, "not a sound gzip file"),
    "no gzip": (lambda p: p.write_bytes(b"text" * 99), "not a sound gzip file"),
    "gzip of text": (
        lambda p: p.write_bytes(gzip.compress(b"text" * 99)),
        "is not a NIfTI file",
    ),
    "empty": (lambda p: p.write_bytes(b""), "is empty"),
}
BROKEN_LABELS = {
    "label 3": (lambda p: replace_voxel(p, 3, np.uint8), "unexpected label 3"),
    "negative label": (lambda p: replace_voxel(p, -1, np.int16), "unexpected label -1"),
    "half a label": (lambda p: replace_voxel(p, 0.5), "labels must be whole numbers"),
    "label NaN": (lambda p: replace_voxel(p, np.nan), "labels must be whole numbers"),
    "label inf": (lambda p: replace_voxel(p, np.inf), "labels must be whole numbers"),
    "channels": (
        lambda p: write_nifti(p, np.zeros((*SHAPE, 2), np.uint8)),
        "one label per voxel",
    ),
    "truncated": (truncate, "truncated"),
}
BROKEN = [("map", name) for name in BROKEN_MAPS] + [
    ("label", name) for name in BROKEN_LABELS
]


def break_cases(files, kind, name, cases):
    broken, words = (BROKEN_MAPS if kind == "map" else BROKEN_LABELS)[name]
    paths = [getattr(files, kind)(i) for i in cases]
    for path in paths:
        broken(path)
    return paths, words


def assert_all_named(result, paths, words):
    """One line a failing case, with case and file, then the count."""
    assert result.code == 1
    assert len(result.errors) == len(paths) + 1
    for line, path in zip(result.errors, paths, strict=False):
        assert f"case {path.name.removesuffix('.nii.gz')}: " in line
        assert str(path) in line
        assert words in line
    assert f"{len(paths)} of {N_CASES} cases failed" in result.errors[-1]
    assert result.out == ""


@pytest.mark.parametrize(("kind", "name"), BROKEN)
def test_score_names_every_broken_case_and_publishes_nothing(
    files, cli, engine, kind, name
):
    paths, words = break_cases(files, kind, name, (2, 7, 8))
    output = files.root / "scores.parquet"
    result = cli("score", *files.options, "--engine", engine, "-o", output)
    assert_all_named(result, paths, words)
    assert files.names() == ["scores.parquet.partial.jsonl"]


@pytest.mark.parametrize(("kind", "name"), BROKEN)
def test_evaluate_names_every_broken_case_and_publishes_nothing(
    files, calibrated, cli, engine, kind, name
):
    before = files.names()
    paths, words = break_cases(files, kind, name, (0, 11))
    output = files.root / "evaluation"
    result = cli(
        "evaluate", calibrated, *files.options, "--engine", engine, "-o", output
    )
    assert_all_named(result, paths, words)
    assert files.names() == before


@pytest.mark.parametrize(
    "name", [n for n in BROKEN_MAPS if n not in ("shape", "affine")]
)
def test_predict_names_every_broken_map_and_publishes_nothing(
    files, calibrated, cli, name
):
    paths, words = break_cases(files, "map", name, (0, 5))
    output = files.root / "masks"
    result = cli("predict", calibrated, "--probs", files.probs, "-o", output)
    assert_all_named(result, paths, words)
    assert not output.exists()


def test_missing_and_unmatched_files_are_all_named(files, cli, engine):
    files.map(3).unlink()
    files.label(4).unlink()
    output = files.root / "scores.parquet"
    command = ("score", *files.options, "--engine", engine, "-o", output)
    result = cli(*command)
    assert result.code == 1
    assert f"{files.label(3)} (case case_03): no map in" in result.err
    assert f"{files.map(4)} (case case_04): no reference in" in result.err
    assert "2 files have no partner" in result.errors[-1]
    assert files.names() == []
    result = cli(*command, "--allow-missing", "--json")
    assert result.code == 0
    assert result.json["n_rows"] == N_CASES - 2
    assert result.json["excluded"] == {
        "no_reference": ["case_04"],
        "no_map": ["case_03"],
    }


def test_a_file_the_cohort_names_but_nobody_has(files, cli, engine):
    csv = files.root / "cohort.csv"
    rows = [
        f"c{i},probs/{files.map(i).name},labels/{files.label(i).name}" for i in (0, 1)
    ]
    rows.append("c2,probs/nothing.nii.gz,labels/case_02.nii.gz")
    csv.write_text("\n".join(["case_id,probs,labels", *rows]) + "\n")
    result = cli(
        "score", "--cohort", csv, "--engine", engine, "-o", files.root / "s.pq"
    )
    assert result.code == 1
    assert "case c2: " in result.errors[0]
    assert "nothing.nii.gz: no such file" in result.errors[0]


def test_empty_folders_and_no_folders(files, cli):
    empty = files.root / "empty"
    empty.mkdir()
    output = files.root / "scores.parquet"
    result = cli("score", "--probs", empty, "--labels", files.labels, "-o", output)
    assert result.code == 1
    assert result.errors == [
        f"error: {empty}: holds no volume (.nii.gz, .nii, .npz, .seg.nrrd, .mha, .mhd, .nrrd, .png)"
    ]
    result = cli("score", "--probs", files.root / "x", "--labels", empty, "-o", output)
    assert result.code == 1
    assert result.errors == [f"error: {files.root / 'x'}: no such folder"]
    assert not output.exists()


def test_duplicate_case_ids(files, cli):
    csv = files.root / "cohort.csv"
    row = "a,probs/case_00.nii.gz,labels/case_00.nii.gz"
    csv.write_text(f"case_id,probs,labels\n{row}\n{row}\n")
    result = cli("score", "--cohort", csv, "-o", files.root / "s.pq")
    assert (result.code, len(result.errors)) == (1, 1)
    assert f"{csv}: case a occurs twice" in result.err
    plain = files.probs / "case_00.nii"
    plain.write_bytes(gzip.decompress(files.map(0).read_bytes()))
    result = cli("score", *files.options, "-o", files.root / "s.pq")
    assert result.code == 1
    assert "case case_00 occurs twice" in result.errors[0]


@pytest.mark.parametrize(
    "value", ["0", "1", "-0.1", "1.5", "nan", "inf", "x", "", "1/0"]
)
def test_levels_out_of_range_are_usage_errors(scored, files, cli, value):
    before = files.names()
    output = files.root / "calibration.json"
    result = cli("calibrate", scored, "--alpha", value, "-o", output)
    assert result.code == 2
    assert "--alpha" in result.err
    result = cli("calibrate", scored, "--alpha=0.1", f"--delta={value}", "-o", output)
    assert result.code == 2
    assert cli("plan", f"--alpha={value}").code == 2
    if value != "0":
        result = cli("score", *files.options, f"--tolerance={value}", "-o", output)
        assert result.code == 2
        assert "tolerance" in result.err
        result = cli(
            "calibrate", scored, "--alpha=.1", f"--tolerance={value}", "-o", output
        )
        assert result.code == 2
    assert files.names() == before


def test_a_tolerance_that_cannot_be_counted_exactly_is_a_usage_error(files, cli):
    for value in ("0.00000001", "1/3"):
        result = cli("score", *files.options, "--tolerance", value, "-o", "x.parquet")
        assert result.code == 2, value
        assert "denominator" in result.err


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("--probs", "p"),
        ("--labels", "p"),
        ("--cohort", "c.csv", "--probs", "p", "--labels", "l"),
        ("--probs", "p", "--labels", "l", "--engine", "gpu"),
        ("--probs", "p", "--labels", "l", "--threads", "0"),
        ("--probs", "p", "--labels", "l", "--nonsense"),
    ],
)
def test_wrong_options_are_usage_errors(cli, args, tmp_path):
    assert cli("score", *args, "-o", tmp_path / "s.parquet").code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (["tumour"], "expected NAME=CHANNEL"),
        (["a=0:1", "a=0:2"], "names must differ"),
        (["a=0:0"], "background"),
    ],
)
def test_bad_regions_are_usage_errors(files, cli, spec, words):
    regions = [x for s in spec for x in ("--region", s)]
    result = cli("score", *files.options, *regions, "-o", files.root / "s.parquet")
    assert result.code == 2
    assert words in " ".join(result.err.replace("│", " ").split())


def test_ignoring_the_label_of_a_region_is_a_usage_error(files, cli):
    result = cli("score", *files.options, "--ignore-label=1", "-o", files.root / "s.pq")
    assert result.code == 2
    assert "foreground" in result.err
    assert files.names() == []


def test_a_channel_the_maps_lack_is_named(files, cli, engine):
    options = (*files.options, "--region", "a=1:1", "--engine", engine)
    result = cli("score", *options, "-o", files.root / "s.pq")
    assert result.code == 1
    assert len(result.errors) == 2
    assert "channel 1 asked for, but the axes (8, 9, 7)" in result.errors[0]
    listed = (files.root / "s.pq.errors.txt").read_text().splitlines()
    assert len(listed) == N_CASES + 1
    for i, line in enumerate(listed[:-1]):
        assert line.startswith(f"case case_{i:02d}: {files.map(i)}: channel 1 asked")


def test_too_few_cases_is_refused_unless_vacuous_is_allowed(scored, files, cli, engine):
    output = files.root / "calibration.json"
    command = ("calibrate", scored, "--alpha", "0.05", "-o", output)
    result = cli(*command)
    assert (result.code, len(result.errors)) == (1, 1)
    assert "TOO_FEW_CASES" in result.errors[0]
    assert "--allow-vacuous" in result.errors[0]
    assert not output.exists()
    result = cli(*command, "--allow-vacuous", "--json")
    assert result.code == 0
    assert result.json["status"] == "TOO_FEW_CASES"
    assert result.json["threshold"] == {"value": None, "hex": "inf"}
    assert "NO INFORMATIVE GUARANTEE" in result.json["statement"]

    masks = files.root / "masks"
    predict = ("predict", output, "--probs", files.probs, "-o", masks)
    assert cli(*predict).code == 1
    assert not masks.exists()
    assert cli(*predict, "--allow-vacuous").code == 0
    assert np.asanyarray(nib.load(masks / "case_00.nii.gz").dataobj).min() == 1
    sidecar = json.loads((masks / "case_00.json").read_text())
    assert sidecar["guarantee"] is False
    assert sidecar["masks"][0]["whole_volume"] is True
    evaluation = files.root / "evaluation"
    result = cli(
        "evaluate",
        output,
        *files.options,
        "--engine",
        engine,
        "-o",
        evaluation,
        "--json",
    )
    assert result.code == 0
    assert result.json["results"][0]["calibrated"]["ecr"] == 1.0


def test_all_references_empty(files, cli, engine):
    for i in range(N_CASES):
        write_nifti(files.label(i), np.zeros(SHAPE, np.uint8))
    table = files.root / "scores.parquet"
    command = ("score", *files.options, "--engine", engine, "-o", table, "--json")
    result = cli(*command)
    assert result.code == 0
    assert result.json["n_empty_reference"] == N_CASES
    output = files.root / "calibration.json"
    result = cli("calibrate", table, "--alpha", "0.1", "-o", output)
    assert (result.code, len(result.errors)) == (1, 1)
    assert f"all {N_CASES} references are empty" in result.errors[0]
    assert not output.exists()


def test_empty_references_follow_the_policy(files, cli):
    write_nifti(files.label(3), np.zeros(SHAPE, np.uint8))
    table, output = files.root / "scores.parquet", files.root / "calibration.json"
    cli("score", *files.options, "-o", table)
    command = ("calibrate", table, "--alpha", "0.1", "-o", output, "--json")
    excluded = cli(*command).json
    assert (excluded["n_units"], excluded["excluded"]) == (
        N_CASES - 1,
        {"empty_reference": ["case_03"]},
    )
    assert excluded["options"]["empty"] == "exclude"
    included = cli(*command, "--empty", "include").json
    assert (included["n_units"], included["excluded"]) == (N_CASES, {})
    result = cli(*command, "--empty", "refuse")
    assert result.code == 1
    assert "case_03" in result.errors[0]


def _several_a_unit(files):
    csv = files.root / "cohort.csv"
    rows = [
        f"c{i:02d},probs/{files.map(i).name},labels/{files.label(i).name},patient_{i // 2}"
        for i in range(N_CASES)
    ]
    csv.write_text("\n".join(["case_id,probs,labels,unit", *rows]) + "\n")
    return csv


def test_a_unit_of_several_cases_is_refused_with_the_reason(files, cli):
    table, output = files.root / "scores.parquet", files.root / "calibration.json"
    assert cli("score", "--cohort", _several_a_unit(files), "-o", table).code == 0
    command = ("calibrate", table, "--alpha", "0.2", "-o", output)
    result = cli(*command)
    assert (result.code, len(result.errors)) == (1, 1)
    for words in ("6 units own 12 cases", "not exchangeable", "--per-unit one"):
        assert words in result.errors[0]
    assert not output.exists()
    drawn = cli(*command, "--per-unit", "one", "--seed", "3", "--json").json
    assert drawn["n_units"] == 6
    assert drawn["options"]["per_unit"] == "one"
    assert drawn["options"]["seed"] == 3
    assert len(drawn["excluded"]["not_drawn"]) == 6
    assert "drawn at random from a new unit" in drawn["statement"]
    assert cli(*command, "--per-unit", "one", "--seed", "3", "--json").json == drawn
    result = cli(*command, "--unit", "patient")
    assert result.code == 1
    assert "no column 'patient'" in result.errors[0]


EDITS = {
    "threshold": lambda c: c["thresholds"][0].update(hex=(0.25).hex()),
    "alpha": lambda c: c.update(alpha=0.01),
    "statement": lambda c: c.update(statement="trust me"),
    "an extra field": lambda c: c.update(note="hello"),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_a_calibration_edited_by_hand_is_refused(calibrated, files, cli, edit, command):
    content = json.loads(calibrated.read_text())
    EDITS[edit](content)
    calibrated.write_text(json.dumps(content))
    options = files.options if command == "evaluate" else files.options[:2]
    result = cli(command, calibrated, *options, "-o", files.root / "out")
    assert (result.code, len(result.errors)) == (1, 1)
    assert str(calibrated) in result.errors[0]
    assert "altered" in result.errors[0]
    assert not (files.root / "out").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[1]", "not a coverax calibration"),
        ("{}", "not a coverax calibration"),
        ('{"schema": 99, "digest": ""}', "schema 99, this version reads 1"),
        ('{"schema": 1, "digest": "", "alpha": NaN}', "not JSON (NaN"),
        ('{"schema": 1, "digest": "", "alpha": 0.1}', "altered"),
    ],
)
def test_what_is_no_calibration_is_refused(files, cli, text, words):
    path = files.root / "calibration.json"
    path.write_text(text)
    result = cli("predict", path, "--probs", files.probs, "-o", files.root / "out")
    assert (result.code, len(result.errors)) == (1, 1)
    assert f"{path}: " in result.errors[0]
    assert words in result.errors[0]


def test_an_output_that_is_an_input_is_a_usage_error(scored, files, cli):
    before = scored.read_bytes()
    assert cli("calibrate", scored, "--alpha=.1", "-o", scored).code == 2
    assert scored.read_bytes() == before
    csv = files.root / "cohort.csv"
    csv.write_text("case_id,probs,labels")
    assert cli("score", "--cohort", csv, "-o", files.root / "x/../cohort.csv").code == 2
    assert csv.read_text() == "case_id,probs,labels"


def test_a_device_is_not_replaced_by_a_file(scored, tmp_path, cli):
    import os

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for command in (("calibrate", scored, "--alpha=.1"), ("score", "--cohort=x")):
        result = cli(*command, "-o", pipe)
        assert result.code == 1
        assert result.errors == [f"error: {pipe} is no ordinary file; name a file"]
    assert pipe.is_fifo()


def test_nothing_is_left_where_every_map_failed(calibrated, files, cli):
    before = files.names()
    for i in range(N_CASES):
        truncate(files.map(i))
    result = cli("predict", calibrated, "--probs", files.probs, "-o", files.root / "m")
    assert result.errors[0].startswith(f"error: {N_CASES} cases alike (case_00, ")
    assert files.names() == sorted([*before, "m.errors.txt"])
    listed = (files.root / "m.errors.txt").read_text().splitlines()
    assert len(listed) == N_CASES + 1


def test_what_is_no_score_table_is_refused(files, cli):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path, output = files.root / "scores.parquet", files.root / "calibration.json"
    command = ("calibrate", path, "--alpha", "0.1", "-o", output)
    result = cli(*command)
    assert (result.code, result.errors) == (1, [f"error: {path}: no such score table"])
    path.write_bytes(b"hello")
    assert "not a Parquet file" in cli(*command).errors[0]
    pq.write_table(pa.table({"a": [1]}), path)
    assert "not a coverax score table" in cli(*command).errors[0]
    for meta in ("7", '{"schema": 99}', "{}"):
        table = pa.table({"a": [1]}).replace_schema_metadata(
            {b"coverax": meta.encode()}
        )
        pq.write_table(table, path)
        result = cli(*command)
        assert (result.code, len(result.errors)) == (1, 1)
        assert str(path) in result.errors[0]
    assert not output.exists()


def test_a_score_that_was_changed_is_noticed(scored, files, cli):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = pq.read_table(scored)
    k = rows.column_names.index("critical_probability@0.1")
    changed = pa.array(np.ones(N_CASES, np.float32))
    pq.write_table(rows.set_column(k, rows.schema.field(k), changed), scored)
    result = cli("calibrate", scored, "--alpha", "0.1", "-o", files.root / "c.json")
    assert result.code == 1
    assert "digest" in result.errors[0]


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_an_output_folder_with_other_content_is_left_alone(
    calibrated, files, cli, command
):
    output = files.root / "out"
    output.mkdir()
    (output / "thesis.txt").write_text("years of work")
    options = files.options if command == "evaluate" else files.options[:2]
    result = cli(command, calibrated, *options, "-o", output)
    assert result.code == 1
    assert result.errors == [
        f"error: {output} exists and is not empty; name a new folder"
    ]
    assert [p.name for p in output.iterdir()] == ["thesis.txt"]
    shutil.rmtree(output)
    output.write_text("a file")
    result = cli(command, calibrated, *options, "-o", output)
    assert (result.code, len(result.errors)) == (1, 1)
    assert output.read_text() == "a file"


@pytest.mark.parametrize("command", ["score", "calibrate"])
def test_a_folder_where_a_file_belongs_is_refused_before_the_work(
    scored, files, cli, command
):
    output = files.root / "folder"
    output.mkdir()
    before = files.names()
    args = files.options if command == "score" else (scored, "--alpha", "0.1")
    result = cli(command, *args, "-o", output)
    assert (result.code, len(result.errors)) == (1, 1)
    assert str(output) in result.errors[0]
    assert "folder" in result.errors[0]
    assert files.names() == before


def test_a_map_of_another_kind_is_refused(calibrated, files, cli):
    quantised = (np.asanyarray(nib.load(files.map(1)).dataobj) > 0.5).astype(np.uint8)
    write_nifti(files.map(1), quantised)
    write_nifti(files.map(2), np.zeros((*SHAPE, 2), np.float32))
    output = files.root / "masks"
    result = cli("predict", calibrated, "--probs", files.probs, "-o", output)
    assert (result.code, len(result.errors)) == (1, 3)
    assert "case case_01" in result.errors[0]
    assert "stored as uint8" in result.errors[0]
    assert "no class axis, this one has 2 channels" in result.errors[1]
    assert not output.exists()


def test_maps_of_different_kinds_make_no_table(files, cli, engine):
    two = np.stack([np.asanyarray(nib.load(files.map(5)).dataobj)] * 2, axis=-1)
    write_nifti(files.map(5), two)
    command = ("score", *files.options, "--region", "a=0:1", "--engine", engine)
    result = cli(*command, "-o", files.root / "s.parquet")
    assert result.code == 1
    assert "different kinds" in result.errors[-1]
    assert "case case_05" in result.errors[-1]
    assert not (files.root / "s.parquet").exists()


def test_a_region_the_calibration_does_not_know_is_refused(
    calibrated, files, cli, engine
):
    csv = files.root / "cohort.csv"
    csv.write_text(
        "case_id,probs,labels,region\n"
        "a,probs/case_00.nii.gz,labels/case_00.nii.gz,foreground\n"
        "b,probs/case_01.nii.gz,labels/case_01.nii.gz,liver\n"
    )
    command = ("evaluate", calibrated, "--cohort", csv, "--engine", engine)
    result = cli(*command, "-o", files.root / "out")
    assert (result.code, len(result.errors)) == (1, 1)
    assert "liver" in result.errors[0]


def test_masks_that_would_share_a_file_are_refused(files, cli):
    """Case `a` region `b_c` and case `a_b` region `c` are both `a_b_c.nii.gz`."""
    table, output = files.root / "s.parquet", files.root / "c.json"
    regions = ("--region", "b_c=0:1", "--region", "c=0:1")
    assert cli("score", *files.options, *regions, "-o", table).code == 0
    assert cli("calibrate", table, "--alpha", "0.1", "-o", output).code == 0
    maps = files.root / "maps"
    maps.mkdir()
    shutil.copy(files.map(0), maps / "a.nii.gz")
    shutil.copy(files.map(1), maps / "a_b.nii.gz")
    result = cli("predict", output, "--probs", maps, "-o", files.root / "masks")
    assert (result.code, len(result.errors)) == (1, 1)
    assert "a_b_c.nii.gz" in result.errors[0]
    assert not (files.root / "masks").exists()


def test_debug_shows_the_traceback(files, cli):
    code = "from coverax.cli.app import main; main()"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            code,
            "--debug",
            "calibrate",
            "x",
            "--alpha",
            ".1",
            "-oy",
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=files.root,
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def cpu_s(*args):
    """Processor time of a fresh interpreter with these arguments."""

    def used():
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return children.ru_utime + children.ru_stime

    start = used()
    subprocess.run([sys.executable, *args], capture_output=True, check=True)
    return used() - start


def test_help_is_there_at_once():
    """At most three times what its framework takes here; with NumPy it is more."""
    needed = "import typer"
    ratios = [cpu_s("-m", "coverax", "--help") / cpu_s("-c", needed) for _ in range(5)]
    assert min(ratios) < 3, ratios
