"""Checkpoints: of this config and split, the last and the best, or refused."""

import json
import shutil

import numpy as np
import pytest
from tests.train import stand_in


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with checkpoints of the steps 1 to 4, of which 2 is the best."""
    from coverax.train import checkpoint
    from coverax.train.step import device_mesh, start_state

    folder = tmp_path_factory.mktemp("saved")
    config = stand_in.config_of(folder)
    start = start_state(stand_in.model(), config, device_mesh(2))
    dices = [0.1, 0.9, 0.5]
    with checkpoint.open_checkpoints(folder, keep_best=1) as manager:
        for step in range(1, 5):
            state = start._replace(step=np.asarray(step, np.int32))
            dice = dices[step - 1] if step <= 3 else None
            checkpoint.save(manager, state, config, "split", dices[:step], dice)
    return folder, config, start


def resumed(saved, config=None, split="split"):
    from coverax.train import checkpoint

    folder, own, start = saved
    with checkpoint.open_checkpoints(folder, keep_best=1) as manager:
        return checkpoint.resume(manager, start, config or own, split)


def test_the_last_and_the_best_are_kept(saved):
    kept = sorted(int(p.name) for p in (saved[0] / "checkpoints").iterdir())
    assert kept == [2, 4]


def test_a_run_goes_on_from_the_last(saved):
    state, dices = resumed(saved)
    assert int(state.step) == 4
    assert dices == [0.1, 0.9, 0.5]


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"net": {"preset": "segresnet"}}, "net.preset"),
        ({"optimiser": {"learning_rate": 0.5}}, "optimiser.learning_rate"),
        ({"losses": {"sdc": 1.0}}, "losses.cross_entropy"),
        ({"run": {"seed": 3}}, "run.seed"),
        ({"data": {"channels": 2}}, "data.channels"),
    ],
)
def test_a_checkpoint_of_another_config_is_refused_by_its_key(saved, changed, key):
    config = stand_in.config_of(saved[0], **changed)
    with pytest.raises(ValueError, match=rf"another config: {key} is .* here and"):
        resumed(saved, config)


def test_where_files_lie_and_what_is_kept_may_change(saved, tmp_path):
    config = stand_in.config_of(
        tmp_path,
        data={"images": "elsewhere", "cache": "c"},
        run={"keep_best": 3, "checkpoint_every": 5},
    )
    assert int(resumed(saved, config)[0].step) == 4


def test_a_checkpoint_of_another_split_is_refused(saved):
    with pytest.raises(ValueError, match="trained on another split"):
        resumed(saved, split="other")


def test_a_state_of_other_shapes_is_refused(saved):
    folder, config, start = saved
    params = dict(start.params) | {"fine": np.zeros((1, 1, 1, 6, 4), np.float32)}
    with pytest.raises(
        ValueError, match=r"params\.fine is \(1, 1, 1, 6, 3\), expected"
    ):
        resumed((folder, config, start._replace(params=params)))


def real_run(folder):
    """Checkpoints of a real net, two steps; what was saved last."""
    from coverax.train import checkpoint
    from coverax.train.model import build_model
    from coverax.train.step import device_mesh, start_state

    config = stand_in.config_of(
        folder,
        net={
            "sizes": {
                "channels": [4, 6],
                "blocks": [1, 1],
                "decoder_blocks": [1],
                "strides": [2],
                "supervised": 1,
            }
        },
        optimiser={"ema": 0.9},
    )
    state = start_state(build_model(config), config, device_mesh(2))
    with checkpoint.open_checkpoints(folder) as manager:
        for step in (3, 7):
            state = state._replace(step=np.asarray(step, np.int32))
            checkpoint.save(manager, state, config, "split", [], None)
    return config, state


def test_load_gives_what_inference_needs(tmp_path):
    from coverax.train.checkpoint import load_checkpoint
    from coverax.train.model import make_predict

    config, state = real_run(tmp_path)
    found = load_checkpoint(tmp_path)
    assert (found.step, found.split_digest) == (7, "split")
    assert (found.config.net, found.config.run) == (config.net, config.run)
    assert found.config.data.classes == config.data.classes
    assert load_checkpoint(tmp_path / "checkpoints" / "7").step == 7
    # A reader leaves what a running job is writing.
    (unfinished := tmp_path / "checkpoints" / "9.orbax-checkpoint-tmp-1").mkdir()
    assert load_checkpoint(tmp_path).step == 7
    assert unfinished.exists()
    images = stand_in.Case.image[None, :8, :8, :8]
    predict = make_predict(found.model)
    np.testing.assert_array_equal(
        predict(found.params, images),
        predict(state.average, images),
    )
    with pytest.raises(FileNotFoundError, match="no finished checkpoint"):
        load_checkpoint(tmp_path / "checkpoints" / "5")


def test_a_checkpoint_says_nothing_of_the_machine(tmp_path):
    real_run(tmp_path)
    files = [p for p in (tmp_path / "checkpoints").rglob("*") if p.is_file()]
    assert files
    for path in files:
        assert str(tmp_path).encode() not in path.read_bytes(), path


@pytest.mark.parametrize("part", ["metrics", "about", "state"])
def test_a_step_that_was_half_deleted_is_passed_over_and_cleared(saved, tmp_path, part):
    """As a kill leaves it, in the deletion of a step that is no longer kept."""
    from coverax.train import checkpoint

    folder = tmp_path / "run"
    shutil.copytree(saved[0], folder)
    shutil.rmtree(folder / "checkpoints" / "2" / part)
    with checkpoint.open_checkpoints(folder, is_reader=True) as manager:
        assert checkpoint.resume(manager, saved[2], saved[1], "split")[0].step == 4
    assert (folder / "checkpoints" / "2").exists()
    assert int(resumed((folder, *saved[1:]))[0].step) == 4
    assert [p.name for p in (folder / "checkpoints").iterdir()] == ["4"]


def test_what_a_kill_kept_a_save_from_is_done_when_the_run_goes_on(saved, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(saved[0], folder)
    root = folder / "checkpoints"
    names = {str(p.relative_to(root)) for p in root.rglob("*")}
    shutil.copytree(root / "2", root / "1")  # not yet deleted, of a Dice as good
    shutil.copytree(root / "2", root / "3")
    seal = root / "4" / "seal.json"
    seal.rename(seal.with_name(".seal.json.0123.tmp"))
    config = stand_in.config_of(folder)
    resumed((folder, config, saved[2]))
    left = {str(p.relative_to(root)) for p in root.rglob("*")}
    assert left == {
        name.replace("2", "3", 1) if name[0] == "2" else name for name in names
    }
    sealed = json.loads(seal.read_text())["files"]
    assert sealed
    assert all((root / "4" / name).is_file() for name in sealed)


def test_a_net_is_inferred_past_a_step_that_was_half_deleted(tmp_path):
    from coverax.train.checkpoint import load_checkpoint

    real_run(tmp_path)
    root = tmp_path / "checkpoints"
    shutil.copytree(root / "7", root / "3")
    shutil.rmtree(root / "3" / "metrics")
    assert load_checkpoint(tmp_path).step == 7


def test_one_process_at_a_time_trains_in_a_folder(tmp_path):
    from coverax.train.checkpoint import only_writer
    from coverax.train.loop import train

    config = stand_in.config_of(tmp_path)
    with (
        only_writer(tmp_path / "run"),
        pytest.raises(BlockingIOError, match="another run is writing it"),
    ):
        train(config, stand_in.pieces(), tmp_path / "run")


def test_a_folder_without_checkpoint_is_one_line(tmp_path):
    from coverax.train.checkpoint import load_checkpoint

    with pytest.raises(FileNotFoundError, match="no checkpoint of coverax train"):
        load_checkpoint(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_of_another_schema_is_refused(tmp_path, monkeypatch):
    from coverax.train import checkpoint

    monkeypatch.setattr(checkpoint, "SCHEMA", 0)
    real_run(tmp_path)
    monkeypatch.undo()
    about = next((tmp_path / "checkpoints" / "7" / "about").iterdir())
    assert json.loads(about.read_text())["schema"] == 0
    with pytest.raises(
        ValueError, match="checkpoint of schema 0, this version reads 1"
    ):
        checkpoint.load_checkpoint(tmp_path)
