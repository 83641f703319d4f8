"""Files of ours with flipped bits and lost ends: nothing altered is taken for what it was.

Each is read as it was written, or refused in one line that names it. `COVERAX_FUZZ` sets
the number of inputs a kind in the slow runs.
"""

import json
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context

import numpy as np
import pytest

import coverax as cx
from coverax.files import read_json
from coverax.stream import Journal
from tests import synthetic
from tests.train import stand_in

N_FAST, N_SLOW = 120, int(os.environ.get("COVERAX_FUZZ", "3000"))
N_CHECKPOINTS_FAST, N_CHECKPOINTS_SLOW = 6, 300
HOW_MANY = pytest.mark.parametrize(
    "n", [N_FAST, pytest.param(N_SLOW, marks=pytest.mark.slow)], ids=["few", "many"]
)


def altered(data, rng, n):
    """One bit flipped, the end lost, or a piece doubled; always other bytes."""
    for _ in range(n):
        kind, at = rng.integers(8), int(rng.integers(len(data)))
        if kind == 0:
            yield data[:at]
        elif kind == 1:
            yield data[:at] + data[at // 2 : at + 9] + data[at:]
        else:
            flipped = bytearray(data)
            flipped[at] ^= 1 << int(rng.integers(8))
            yield bytes(flipped)


def assert_one_line(error, path):
    text = str(error)
    assert str(path) in text
    assert "\n" not in text
    assert text.isprintable()
    assert len(text) < 2000


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    root = tmp_path_factory.mktemp("table")
    cohort = cx.volumes.match_folders(
        *synthetic.write_cohort(root / "in", 6, (8, 9, 7), 40)
    )
    found = cx.scores.score_cohort(cohort, cx.scores.ScoreDefinition(), engine="host")
    found.write(root / "scores.parquet")
    cx.calibrate.calibrate_fnr(found, "0.3").write(root / "c.json")
    return root


@HOW_MANY
def test_no_altered_score_table_is_read_as_another(table, tmp_path, n):
    own, path = table / "scores.parquet", tmp_path / "scores.parquet"
    sound, refused = cx.scores.read_table(own), 0
    for data in altered(own.read_bytes(), np.random.default_rng(1), n):
        path.write_bytes(data)
        try:
            found = cx.scores.read_table(path)
        except ValueError as error:
            assert_one_line(error, path)
            refused += 1
        else:
            assert found.rows_digest == sound.rows_digest
            assert found.definition == sound.definition
            assert found.excluded == sound.excluded
    assert refused > n // 2


@HOW_MANY
def test_no_altered_json_is_read_as_another(table, tmp_path, n):
    own, path = table / "c.json", tmp_path / "c.json"
    sound, refused = read_json(own), 0
    for data in altered(own.read_bytes(), np.random.default_rng(2), n):
        path.write_bytes(data)
        (verdict,) = cx.verify.verify_files([path])
        if verdict.status == "whole":
            assert read_json(path) == sound
        else:
            assert verdict.what.isprintable()
            refused += 1
        try:
            found = cx.calibrate.read_calibration(path)
        except ValueError as error:
            assert_one_line(error, path)
            assert verdict.status != "whole"
        else:
            assert found == cx.calibrate.read_calibration(own)
    assert refused > n // 2


@pytest.fixture(scope="module")
def state(table, tmp_path_factory):
    """A monitor after one look at other maps and their references."""
    root = tmp_path_factory.mktemp("state")
    maps, labels = synthetic.write_cohort(
        root / "new", 4, (8, 9, 7), 40, seed=9, prefix="new"
    )
    cx.validate.watch_folder(
        cx.calibrate.read_calibration(table / "c.json"),
        cx.volumes.nifti_files(maps),
        root / "monitor.json",
        labels=cx.volumes.nifti_files(labels),
    )
    return root / "monitor.json"


@HOW_MANY
def test_no_altered_state_of_a_monitor_is_read_as_another(state, tmp_path, n):
    path, sound, refused = tmp_path / "m.json", cx.validate.read_memory(state), 0
    for data in altered(state.read_bytes(), np.random.default_rng(4), n):
        path.write_bytes(data)
        try:
            found = cx.validate.read_memory(path)
        except ValueError as error:
            assert_one_line(error, path)
            refused += 1
        else:
            assert found == sound
    assert refused > n // 2


def test_a_state_under_a_new_digest_is_sound_or_refused_in_one_line(
    table, state, tmp_path
):
    """Every value of an entry replaced by another kind, and sealed anew."""
    from coverax.files import publish_sealed_json

    calibration = cx.calibrate.read_calibration(table / "c.json")
    path, content = tmp_path / "m.json", read_json(state)
    del content["digest"]
    assert content["maps"]
    assert content["references"]
    for where in ("maps", "references"):
        for key in (*content[where][0], None):
            for wrong in (None, [], {}, "x", {"foreground": "x"}, {"foreground": -1.0}):
                entry = {} if key is None else content[where][0] | {key: wrong}
                publish_sealed_json(
                    path, content | {where: [entry, *content[where][1:]]}
                )
                try:
                    cx.validate.watch_folder(calibration, {}, path)
                except ValueError as error:
                    assert_one_line(error, path)


@HOW_MANY
def test_no_altered_line_of_a_journal_is_used(tmp_path, n):
    out = tmp_path / "out"
    written = {f"case_{i}": {"rows": [{"a": i / 7, "b": [i, 2]}]} for i in range(5)}
    journal = Journal(out, {"a": 1}, resume=False)
    for key, record in written.items():
        journal.add(key, record)
    journal.close(keep=True)
    data, lost = journal.path.read_bytes(), 0
    for other in altered(data, np.random.default_rng(3), n):
        journal.path.write_bytes(other)
        try:
            resumed = Journal(out, {"a": 1}, resume=True)
        except ValueError as error:
            assert_one_line(error, journal.path)
            lost += 1
            continue
        assert dict(resumed.records).items() <= written.items()
        lost += len(resumed.records) < len(written)
        resumed.add("more", 1)
        resumed.close(keep=True)
    assert lost > n // 2


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A step of a real net, as small as it can be."""
    from coverax.train import checkpoint
    from coverax.train.model import build_model
    from coverax.train.step import device_mesh, start_state

    folder = tmp_path_factory.mktemp("run")
    sizes = {"channels": [2, 2], "blocks": [1, 1], "decoder_blocks": [1]}
    net = {"sizes": sizes | {"strides": [2], "supervised": 1}}
    config = stand_in.config_of(folder, net=net)
    state = start_state(build_model(config), config, device_mesh(2))
    with checkpoint.open_checkpoints(folder) as manager:
        state = state._replace(step=np.asarray(3, np.int32))
        checkpoint.save(manager, state, config, "split", [0.5], 0.5)
    return folder


def read_altered_checkpoints(run_folder, folder, n):
    """How many were refused; one that is read is the sound one."""
    from coverax.train.checkpoint import digest_params, load_checkpoint

    rng = np.random.default_rng(4)
    sound = load_checkpoint(run_folder)
    step = run_folder / "checkpoints" / "3"
    files = sorted(p.relative_to(run_folder) for p in step.rglob("*") if p.is_file())
    files = [f for f in files if (run_folder / f).stat().st_size]
    shutil.copytree(run_folder, folder)
    refused = 0
    for _ in range(n):
        name = files[rng.integers(len(files))]
        data = (run_folder / name).read_bytes()
        if rng.integers(4) == 0:  # as a kill may leave it
            (folder / "checkpoints" / "3" / "seal.json").unlink()
        if rng.integers(6) == 0:
            (folder / name).unlink(missing_ok=True)
        else:
            (folder / name).write_bytes(next(altered(data, rng, 1)))
        try:
            found = load_checkpoint(folder)
        except (ValueError, FileNotFoundError) as error:
            assert_one_line(error, folder)
            refused += 1
        else:
            assert digest_params(found.params) == digest_params(sound.params)
            assert found.config == sound.config
            assert found.split_digest == sound.split_digest
        for sound_name in (name, (step / "seal.json").relative_to(run_folder)):
            shutil.copyfile(run_folder / sound_name, folder / sound_name)
    return refused


@pytest.mark.parametrize(
    "n",
    [N_CHECKPOINTS_FAST, pytest.param(N_CHECKPOINTS_SLOW, marks=pytest.mark.slow)],
    ids=["few", "many"],
)
def test_no_altered_checkpoint_is_another_net(run_folder, tmp_path, n):
    """In a process of its own: when a read fails, the library below leaves others
    unfinished, and they would speak up in a test that comes later."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        done = pool.submit(read_altered_checkpoints, run_folder, tmp_path / "run", n)
        assert done.result()


def test_the_fuzz_would_see_a_reader_without_a_digest(table, tmp_path):
    """Without the seal most edits of the text of a calibration read as another."""
    data = json.dumps({"threshold": 0.123456789}).encode()
    others = 0
    for text in altered(data, np.random.default_rng(5), 100):
        with suppress(ValueError):
            others += json.loads(text) != json.loads(data)
    assert others > 10
