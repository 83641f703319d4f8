"""`coverax infer` on the folder of a run that has not taken its first step."""

import json
import shutil
import sys

import numpy as np
import pytest
from tests.nifti_files import save

from coverax.files import publish_sealed_json
from coverax.scores import read_table
from coverax.train.checkpoint import open_checkpoints
from coverax.train.checkpoint import save as save_state
from coverax.train.config import load_config
from coverax.train.model import build_model
from coverax.train.run import find_cohort, start_run
from coverax.train.split import read_split, split_units, write_split
from coverax.train.step import device_mesh, start_state
from coverax.volumes import read_header

CONFIG = """
[data]
images = "images"
labels = "labels"
classes = { background = 0, core = 1, rim = 2 }
spacing_mm = [0.7, 0.8, 1.25]
shares = { train = 0.4, calibration = 0.3, test = 0.3 }
[net]
sizes = { channels = [4, 8], blocks = [1, 1], decoder_blocks = [1], strides = [2], supervised = 1 }
[patch]
size = [8, 8, 8]
batch = 1
[run]
steps = 2
"""
SHAPE = (9, 8, 4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with ten cases, and the run of a net with its random parameters."""
    folder = tmp_path_factory.mktemp("infer")
    for kind in ("images", "labels"):
        (folder / kind).mkdir()
    for seed in range(10):
        rng = np.random.default_rng(seed)
        name = f"c{seed}.nii.gz"
        save(folder / "images" / name, rng.normal(size=SHAPE).astype(np.float32))
        save(folder / "labels" / name, rng.integers(0, 3, SHAPE).astype(np.uint8))
    (folder / "run.toml").write_text(CONFIG)
    config = load_config(folder / "run.toml")
    cohort = find_cohort(config)
    start_run(config, cohort, folder / "net", resume=False)
    state = start_state(build_model(config), config, device_mesh(1))
    with open_checkpoints(folder / "net") as manager:
        save_state(manager, state, config, cohort.split.digest, [], None)
    return folder


@pytest.fixture
def infer(trained, cli):
    """Run `coverax infer` on that net."""

    def run_infer(*words, images=trained / "images"):
        return cli("infer", trained / "net", "--images", images, *words)

    return run_infer


def cases_of(trained, part):
    return list(read_split(trained / "net" / "split.json").cases(part))


def test_maps_of_a_part_go_through_score_and_reliability(trained, infer, cli, tmp_path):
    maps = tmp_path / "maps"
    result = infer("--part", "test", "-o", maps, "--json")
    assert result.code == 0
    assert result.json["n_cases"] == 3
    names = [f"{i}.nii.gz" for i in cases_of(trained, "test")]
    assert sorted(p.name for p in maps.iterdir()) == [*names, "infer.json"]
    for name in names:
        image = read_header(trained / "images" / name)
        written = read_header(maps / name)
        assert written.grid.shape == SHAPE
        np.testing.assert_array_equal(written.grid.affine, image.grid.affine)
    record = json.loads((maps / "infer.json").read_text())
    assert record["step"] == 0
    assert record["parts"] == dict.fromkeys(cases_of(trained, "test"), "test")
    units = read_split(trained / "net" / "split.json").units
    assert record["units"] == {i: units[i] for i in cases_of(trained, "test")}
    folders = ("--probs", maps, "--labels", trained / "labels")
    written = tmp_path / "written.parquet"
    done = cli("score", *folders, "--softmax", "-o", written)
    assert done.code == 0
    assert "references of 7 others are passed over" in done.err
    assert "regions core=1:1, rim=2:2 taken from infer.json" in done.err
    direct = tmp_path / "direct.parquet"
    words = ("--score-only", "--labels", trained / "labels", "-o", direct)
    result = infer("--part", "test", *words)
    assert result.code == 0
    assert not list(tmp_path.glob("*.partial*"))
    assert read_table(direct).rows_digest == read_table(written).rows_digest
    assert cli("reliability", direct, "-o", tmp_path / "reliability").code == 0


def test_without_a_part_nothing_the_model_has_seen_is_inferred(
    trained, infer, tmp_path
):
    result = infer("-o", tmp_path / "maps", "--storage", "uint16", "--flip", "1")
    assert result.code == 0
    assert "4 of train" in result.err
    unseen = cases_of(trained, "calibration") + cases_of(trained, "test")
    written = [p.name.removesuffix(".nii.gz") for p in tmp_path.glob("maps/*.gz")]
    assert sorted(written) == sorted(unseen)
    header = read_header(tmp_path / "maps" / f"{unseen[0]}.nii.gz")
    assert header.storage == f"uint16*{2**-15:.9g}+0"


def test_a_split_of_another_run_is_refused(trained, infer, tmp_path):
    other = tmp_path / "split.json"
    units = {f"c{i}": f"c{i}" for i in range(10)}
    write_split(other, split_units(units, {"train": 0.5, "test": 0.5}, 7))
    result = infer("--part", "test", "--split", other, "-o", tmp_path / "maps")
    assert result.code == 1
    assert "was trained on another split" in result.errors[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--score-only",), "--score-only and --labels go together"),
        (("--tolerance", "0.2"), "go with --score-only"),
        (("--overlap", "1"), "overlap"),
        (("--flip", "3"), "flip"),
        (("--storage", "float16"), "storage"),
    ],
)
def test_usage_errors_exit_2(infer, tmp_path, words, message):
    result = infer(*words, "-o", tmp_path / "maps")
    assert result.code == 2
    assert message in result.err


def test_a_folder_without_checkpoint_is_one_line(cli, tmp_path):
    result = cli("infer", tmp_path, "--images", tmp_path, "-o", tmp_path / "maps")
    assert result.code == 1
    assert len(result.errors) == 1
    assert str(tmp_path) in result.errors[0]


def test_a_missing_package_names_the_extra(cli, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "coverax.train.checkpoint", None)
    result = cli("infer", tmp_path, "--images", tmp_path, "-o", tmp_path / "maps")
    assert result.code == 1
    assert "pip install 'coverax[train]'" in result.errors[0]


def test_what_infer_recorded_needs_no_typing_again(infer, trained, cli, tmp_path):
    """Units of the split; a reference that is lost is missed, one of no map is not."""
    maps, labels = tmp_path / "maps", tmp_path / "labels"
    assert infer("--part", "test", "-o", maps).code == 0
    record = json.loads((maps / "infer.json").read_text())
    del record["digest"]
    first, *_ = cases_of(trained, "test")
    record["units"] = dict.fromkeys(record["units"], "one patient")
    publish_sealed_json(maps / "infer.json", record)
    shutil.copytree(trained / "labels", labels)
    args = ("--probs", maps, "--labels", labels, "-o", tmp_path / "s.parquet")
    assert cli("score", *args).code == 0
    table = read_table(tmp_path / "s.parquet")
    assert set(table.column("unit")) == {"one patient"}
    assert set(table.column("region")) == {"core", "rim"}
    pattern = ("--unit-pattern", "c.")
    assert cli("score", *args, *pattern).code == 0
    named = read_table(tmp_path / "s.parquet")
    assert set(named.column("unit")) == set(cases_of(trained, "test"))
    (labels / f"{first}.nii.gz").unlink()
    lost = cli("score", *args)
    assert (lost.code, len(lost.errors)) == (1, 2)
    assert f"(case {first}): no reference in" in lost.errors[0]
