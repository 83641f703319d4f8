"""A run: it learns, repeats, and a killed one ends as if it had not been."""

import csv
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from tests.train import stand_in

ROOT = Path(__file__).resolve().parents[2]


def run(folder, config=None, **changed):
    from coverax.train.loop import train

    folder.mkdir(exist_ok=True)
    config = stand_in.config_of(folder) if config is None else config
    return train(config, stand_in.pieces(**changed), folder)


def leaves(state):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


def assert_same_bits(a, b):
    for x, y in zip(leaves(a), leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


def rows(file):
    with file.open() as text:
        return list(csv.DictReader(text))


class Killed(Exception):
    pass


def deadly(at):
    """Batches that end the run before step `at` is done."""

    def batches(step):
        for number, batch in enumerate(stand_in.batches(step), start=step):
            if number == at:
                raise Killed
            yield batch

    return batches


def noted(steps):
    """Batches that note where they were asked to start."""

    def batches(step):
        steps.append(step)
        return stand_in.batches(step)

    return batches


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    return folder, run(folder)


def test_validations_share_one_compiled_net(tmp_path):
    traced = []
    model = stand_in.pieces().model

    def apply(params, images):
        traced.append(images.shape)
        return model.apply(params, images)

    result = run(tmp_path / "run", model=model._replace(apply=apply))
    assert len(result.dices) == 3
    assert len(traced) == 2  # the step, and the predictor of all validations


def test_it_overfits_one_volume(tmp_path):
    config = stand_in.config_of(
        tmp_path,
        run={"steps": 150, "validate_every": 150, "checkpoint_every": 1000},
        optimiser={"learning_rate": 0.1, "weight_decay": 0.0, "warmup_steps": 5},
    )
    result = run(
        tmp_path, config, augment=lambda _key, images, labels, _: (images, labels)
    )
    assert result.dices[-1] > 0.9


def test_a_longer_run_is_needed_to_overfit(unbroken):
    assert unbroken[1].dices[-1] < 0.9


def test_two_runs_with_a_seed_are_equal(unbroken, tmp_path):
    again = run(tmp_path)
    assert_same_bits(unbroken[1].state, again.state)
    for name in ("training.csv", "validation.csv"):
        assert (tmp_path / name).read_text() == (unbroken[0] / name).read_text()


def test_another_seed_is_another_run(unbroken, tmp_path):
    config = stand_in.config_of(tmp_path, run={"seed": 1, "steps": 2})
    other = run(tmp_path, config)
    first = rows(unbroken[0] / "training.csv")[0]
    assert float(rows(tmp_path / "training.csv")[0]["loss"]) != float(first["loss"])
    assert other.steps == 2


@pytest.mark.parametrize("at", range(6))
def test_killed_at_any_step_and_resumed_it_is_the_unbroken_run(unbroken, tmp_path, at):
    with pytest.raises(Killed):
        run(tmp_path, batches=deadly(at))
    starts = []
    resumed = run(tmp_path, batches=noted(starts))
    assert_same_bits(unbroken[1].state, resumed.state)
    assert resumed.dices == unbroken[1].dices
    # It went on from the last checkpoint, not from the start.
    assert starts == [at // 2 * 2]
    for name in ("training.csv", "validation.csv"):
        assert (tmp_path / name).read_text() == (unbroken[0] / name).read_text()


def test_killed_while_an_old_checkpoint_is_deleted_it_goes_on(
    unbroken, tmp_path, monkeypatch
):
    def stopped(path, **_):
        files = [p for p in sorted(Path(path).rglob("*")) if p.is_file()]
        if files:
            files[0].unlink()
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", stopped)
        with pytest.raises(Killed):
            run(tmp_path / "run")
    assert (tmp_path / "run" / "checkpoints" / "deleted").exists()
    assert_same_bits(unbroken[1].state, run(tmp_path / "run").state)
    kept = {p.name for p in (tmp_path / "run" / "checkpoints").iterdir()}
    assert kept == {p.name for p in (unbroken[0] / "checkpoints").iterdir()}


def test_a_finished_run_does_nothing_more(unbroken, tmp_path):
    run(tmp_path)
    again = run(tmp_path, batches=deadly(0))
    assert_same_bits(unbroken[1].state, again.state)


@pytest.mark.slow
def test_a_moving_average_is_kept_over_a_kill(tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    configs = [stand_in.config_of(f, optimiser={"ema": 0.9}) for f in folders]
    whole = run(folders[0], configs[0])
    with pytest.raises(Killed):
        run(folders[1], configs[1], batches=deadly(3))
    assert_same_bits(whole.state, run(folders[1], configs[1]).state)
    averages = jax.tree.leaves(whole.state.average)
    params = jax.tree.leaves(whole.state.params)
    assert any((a != p).any() for a, p in zip(averages, params, strict=True))


def test_it_stops_when_validations_bring_nothing(tmp_path):
    config = stand_in.config_of(
        tmp_path, run={"steps": 40, "patience": 2, "validate_every": 1}
    )
    constant = np.eye(3, dtype=np.float32)[np.zeros_like(stand_in.Case.labels)]
    result = run(tmp_path, config, volumes=lambda *_: constant)
    assert result.is_early
    assert result.steps == 3
    again = run(tmp_path, config, volumes=lambda *_: constant)
    assert again.steps == 3


def test_out_of_memory_names_batch_and_patch(tmp_path):
    from coverax.train.loop import memory_errors

    config = stand_in.config_of(tmp_path)
    with (
        pytest.raises(
            ValueError, match=r"patch\.batch = 2 and patch\.size = 8 x 8 x 8"
        ),
        memory_errors(config),
    ):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
    with pytest.raises(jax.errors.JaxRuntimeError), memory_errors(config):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")


def test_a_loss_that_is_not_finite_stops_the_run_before_it_is_saved(tmp_path):
    config = stand_in.config_of(tmp_path, optimiser={"learning_rate": 1e11})
    with pytest.raises(ValueError, match=r"the loss of step \d is nan; lower"):
        run(tmp_path, config)
    kept = [int(p.name) for p in (tmp_path / "checkpoints").iterdir()]
    assert all(step < 6 for step in kept)


KILLED_RUN = """
import os, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from coverax.train.loop import train
from tests.train import stand_in
folder = Path(sys.argv[2])
def on_step(_):
    print("step", flush=True)
train(stand_in.config_of(folder, run={"steps": 40, "validate_every": 7, "checkpoint_every": 3}), stand_in.pieces(), folder, on_step=on_step)
"""


def start_process(folder, **environment):
    folder.mkdir(exist_ok=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")} | environment
    return subprocess.Popen(
        [sys.executable, "-c", KILLED_RUN, str(ROOT), str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


@pytest.mark.slow
@pytest.mark.parametrize("at", [11, 29])
def test_a_process_killed_without_warning_resumes_to_the_same_bits(tmp_path, at):
    config = stand_in.config_of(
        tmp_path, run={"steps": 40, "validate_every": 7, "checkpoint_every": 3}
    )
    whole = run(tmp_path / "whole", config)
    folder = tmp_path / "killed"
    process = start_process(folder)
    for seen, _ in enumerate(process.stdout, start=1):
        if seen == at:
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    process.stdout.close()
    resumed = run(folder, config)
    assert_same_bits(whole.state, resumed.state)
    for name in ("training.csv", "validation.csv"):
        assert (folder / name).read_text() == (tmp_path / "whole" / name).read_text()
