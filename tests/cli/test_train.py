"""`coverax train` on a tiny cohort: runs, resumes, and refuses in one line."""

import json
import re

import nibabel as nib
import numpy as np
import pytest
from tests.nifti_files import AFFINE, save
from tests.segment_files import write_segments

SIDE = 8
N_CASES = 10
CONFIG = """
[data]
images = "images"
labels = "labels"
classes = {{ background = 0, lesion = 1 }}
shares = {{ train = 0.4, learning = 0.2, calibration = 0.2, test = 0.2 }}

[net]
sizes = {{ channels = [4, 6], blocks = [1, 1], decoder_blocks = [1], strides = [2], supervised = 1 }}

[patch]
size = [8, 8, 8]
rotation_degrees = 0.0
zoom = 0.0
noise = 0.0
blur_voxels = 0.0
gamma = 0.0

[run]
steps = {steps}
validate_every = 2
checkpoint_every = 2
"""


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    rng = np.random.default_rng(0)
    for part in ("images", "labels"):
        (folder / part).mkdir()
    for i in range(N_CASES):
        labels = np.zeros((SIDE + 2, SIDE, SIDE + 1), np.uint8)
        labels[2:6, 2:6, 2:6] = 1
        image = labels + rng.normal(0, 0.2, labels.shape)
        save(folder / "images" / f"case_{i}.nii.gz", image.astype(np.float32))
        save(folder / "labels" / f"case_{i}.nii.gz", labels)
    (folder / "run.toml").write_text(CONFIG.format(steps=4))
    (folder / "longer.toml").write_text(CONFIG.format(steps=6))
    return folder


@pytest.fixture(scope="module")
def trained(cohort, tmp_path_factory):
    from coverax.cli.app import run

    folder = tmp_path_factory.mktemp("trained") / "model"
    assert run(["train", str(cohort / "run.toml"), "-o", str(folder)]) == 0
    return folder


def test_a_run_leaves_config_split_metrics_and_checkpoints(trained):
    from coverax.train import load_checkpoint, read_split

    names = {path.name for path in trained.iterdir()}
    assert {"config.json", "split.json", "training.csv", "validation.csv"} <= names
    assert len((trained / "training.csv").read_text().splitlines()) == 5
    found = load_checkpoint(trained)
    assert found.split_digest == read_split(trained / "split.json").digest
    assert len(read_split(trained / "split.json").cases("calibration")) == 2


def test_a_folder_in_use_is_refused_and_resumed_only_by_its_config(
    cli, cohort, trained
):
    again = cli("train", cohort / "run.toml", "-o", trained)
    assert again.code == 1
    assert "is not empty" in again.errors[0]
    other = cli("train", cohort / "longer.toml", "-o", trained, "--resume")
    assert other.code == 1
    assert other.errors == [
        f"error: {trained}: another config: run.steps is 6 here and 4 there; name a "
        "new folder"
    ]
    done = cli("train", cohort / "run.toml", "-o", trained, "--resume", "--json")
    assert done.code == 0
    assert done.json["steps"] == 4


def test_a_resumed_run_needs_the_split_it_started_with(cli, cohort, trained):
    text = (trained / "split.json").read_text()
    try:
        (trained / "split.json").write_text(text.replace("calibration", "train", 1))
        done = cli("train", cohort / "run.toml", "-o", trained, "--resume")
    finally:
        (trained / "split.json").write_text(text)
    assert done.code == 1
    assert "altered after it was written" in done.errors[0]


def test_a_dry_run_shows_what_a_step_costs_and_writes_nothing(cli, cohort, tmp_path):
    done = cli("train", cohort / "run.toml", "-o", tmp_path / "no", "--dry-run")
    assert done.code == 0
    assert not list(tmp_path.iterdir())
    shown = {line.split()[0]: line for line in done.out.splitlines()}
    assert "4 train, 2 learning, 2 calibration, 2 test" in shown["cases"]
    assert "background in 6, lesion in 6 of 6 cases" in shown["classes"]
    assert "2 x 8 x 8 x 8 x 1" in shown["images"]
    assert "2 x 8 x 8 x 8 x 2" in shown["logits"]
    assert "steps/s" in shown["speed"]


def test_a_dry_run_reads_the_references(cli, cohort, tmp_path):
    config = changed(cohort, tmp_path, "lesion = 1", "lesion = 2")
    done = cli("train", config, "-o", tmp_path / "no", "--dry-run")
    assert done.code == 1
    assert "label value 1 is not in data.classes" in done.errors[0]


def test_segments_by_name_are_references(cli, cohort, tmp_path):
    """The lesion has label 4 in the files and 1 in `data.classes`."""
    pytest.importorskip("SimpleITK", exc_type=ImportError)
    config = changed(cohort, tmp_path, "lesion = 1", "lesion = 1")
    text = config.read_text().replace(f"{cohort / 'labels'}", f"{tmp_path / 'slicer'}")
    config.write_text(text)
    for path in (cohort / "labels").iterdir():
        lesion = np.asarray(nib.load(path).dataobj)
        layers = np.where(lesion, 4, np.where(lesion[::-1], 2, 0))[None]
        name = path.name.replace(".nii.gz", ".seg.nrrd")
        segments = [("Lesion", 0, 4), ("vessel", 0, 2)]
        write_segments(tmp_path / "slicer" / name, layers, segments, AFFINE)
    done = cli("train", config, "-o", tmp_path / "no", "--dry-run")
    assert done.code == 0, done.err
    assert "background in 6, lesion in 6 of 6 cases" in done.out
    assert "segment vessel is not in data.classes: background in 6 ref" in done.err


def test_a_run_starts_from_another_and_not_from_what_saw_its_calibration(
    cli, cohort, trained, tmp_path
):
    done = cli("train", cohort / "run.toml", "-o", tmp_path / "on", "--start", trained)
    assert done.code == 0, done.err
    first, again = (
        float((folder / "training.csv").read_text().splitlines()[1].split(",")[1])
        for folder in (trained, tmp_path / "on")
    )
    assert again < first
    other = changed(cohort, tmp_path, "[net]", "split_seed = 1\n[net]")
    leaked = cli("train", other, "-o", tmp_path / "no", "--start", trained)
    assert leaked.code == 1
    assert "was trained on unit" in leaked.errors[0]
    assert not (tmp_path / "no").exists()


def changed(cohort, tmp_path, old, new):
    config = tmp_path / "run.toml"
    text = (cohort / "run.toml").read_text()
    for name in ("images", "labels"):
        text = text.replace(f'{name} = "{name}"', f'{name} = "{cohort / name}"')
    assert old in text
    config.write_text(text.replace(old, new))
    return config


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lesion = 1", "lesion = 2", "label value 1 is not in data.classes"),
        ("[net]", "channels = 2\n[net]", "1 channels where data.channels is 2"),
        ("size = [8, 8, 8]", "size = [8, 8, 7]", "patch.size [8, 8, 7] does not fit"),
        ("[run]", "[losses]\nace = 1.0\n[run]", "losses are"),
    ],
)
def test_a_run_that_cannot_start_is_one_line(cli, cohort, tmp_path, old, new, message):
    config = changed(cohort, tmp_path, old, new)
    done = cli("train", config, "-o", tmp_path / "model")
    assert done.code == 1
    assert message in done.errors[0]
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[loss_options.soft_dice]\nsmoth = 1\n", "soft_dice: unknown option smoth"),
        ("[loss_options.soft_dice]\nvalid = 1\n", "soft_dice: unknown option valid"),
        ("[losses]\nsdc = 1\n[loss_options.sdc]\nnorm = 3\n", "norm"),
        ("[losses]\nsdc = 1\n[loss_options.sdc]\nslice_axis = 9\n", "loss"),
        ("[losses]\nace = 1\n", "losses are"),
        ("size = [8, 8, 7]", "does not fit"),
        ('preset = "x"', "preset"),
    ],
)
@pytest.mark.parametrize("option", [(), ("--dry-run",)])
def test_losses_net_and_patch_are_checked_before_a_volume_is_read(
    cli, cohort, tmp_path, text, message, option
):
    """No file of the cohort can be read: what is said is about the config all the same."""
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
        for i in range(N_CASES):
            (tmp_path / part / f"case_{i}.nii.gz").write_text("no volume")
    config = (cohort / "run.toml").read_text()
    if text.startswith("["):
        config += text
    elif text.startswith("size"):
        config = config.replace("size = [8, 8, 8]", text)
    else:
        config = config.replace("[net]", f"[net]\n{text}")
    (tmp_path / "run.toml").write_text(config)
    done = cli("train", tmp_path / "run.toml", "-o", tmp_path / "model", *option)
    assert (done.code, len(done.errors)) == (1, 1)
    assert message in done.errors[0]
    assert "no volume" not in done.err
    assert not (tmp_path / "model").exists()


def test_sessions_of_one_subject_stay_in_one_part(tmp_path):
    from coverax.train.config import DataConfig
    from coverax.train.split import split_of

    names = [f"sub-{i:02d}_ses-{j}" for i in range(20) for j in (1, 2)]
    data = {"images": tmp_path, "labels": tmp_path, "classes": {"a": 0, "b": 1}}
    split = split_of(DataConfig(**data), names)
    for i in range(20):
        parts = {split.part_of(f"sub-{i:02d}_ses-{j}") for j in (1, 2)}
        assert len(parts) == 1
    other = split_of(
        DataConfig(**data, unit_pattern="ses-."),
        ["a_ses-1", "b_ses-1", *(f"{i}_ses-{i}" for i in range(2, 10))],
    )
    assert other.units["a_ses-1"] == other.units["b_ses-1"] == "ses-1"


def test_a_folder_that_cannot_be_made_is_one_line(cli, cohort, tmp_path):
    (tmp_path / "file").write_text("")
    done = cli("train", cohort / "run.toml", "-o", tmp_path / "file" / "model")
    assert done.code == 1
    assert len(done.errors) == 1
    assert "file" in done.errors[0]


def test_without_the_extra_it_says_what_to_install(cli, cohort, tmp_path, monkeypatch):
    import sys

    for name in [m for m in sys.modules if m.startswith("coverax.train.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "flax", None)
    done = cli("train", cohort / "run.toml", "-o", tmp_path / "model")
    assert done.code == 1
    assert "pip install 'coverax[train]'" in done.errors[0]


@pytest.mark.parametrize("part", ["calibration", "test", "learning"])
def test_a_case_of_another_part_is_never_trained_on(cohort, part):
    from pathlib import Path

    from coverax.train.config import load_config
    from coverax.train.run import find_cohort, make_pieces, prepare

    config = load_config(Path(cohort / "run.toml"))
    found = find_cohort(config)
    own, leaked = prepare(config, found.of("train")), prepare(config, found.of(part))
    make_pieces(config, found.split, own, [])
    with pytest.raises(ValueError, match=rf"of the part {part} and must not be seen"):
        make_pieces(config, found.split, [*own, leaked[0]], [])
    if part != "learning":
        with pytest.raises(ValueError, match="must not be seen as learning"):
            make_pieces(config, found.split, own, leaked)


def test_the_config_of_a_run_is_written_beside_its_checkpoints(cohort, trained):
    from coverax.train.config import load_config, portable

    content = json.loads((trained / "config.json").read_text())
    assert content["config"] == portable(load_config(cohort / "run.toml"))


def test_a_run_is_verified_with_its_checkpoints(trained, cli):
    found = cli("verify", trained, "--json")
    assert found.code == 0
    whole = {v["what"] for v in found.json if v["status"] == "whole"}
    assert {"config of a run", "split", "checkpoint of step 4"} <= whole


def test_ctrl_c_says_what_is_kept_and_how_to_go_on(cli, cohort, tmp_path, monkeypatch):
    import coverax.train.loop as loop

    def stop(*_):
        raise KeyboardInterrupt

    command = ("train", cohort / "run.toml", "-o", tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(loop, "validate", stop)
        done = cli(*command)
    assert done.code == 130
    assert "compiling the step" in done.err
    kept = re.search(r"(\d) of 4 steps are kept: go on with .* --resume", done.err)
    assert kept
    done = cli(*command, "--resume")
    assert done.code == 0
    n_left = 4 - int(kept[1])
    assert re.search(rf"Training: {n_left}/{n_left}, .* left, loss [\d.]+", done.err)
