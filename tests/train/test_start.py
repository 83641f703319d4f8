"""Where a run starts: weights that fit, by content, and not from units to be kept out."""

from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

SIZES = {"channels": 4, "groups": 2, "blocks_down": [1, 1], "blocks_up": [1]}


def config_of(folder, preset="segresnet", sizes=SIZES, **run):
    from coverax.train.config import parse_config

    classes = {"background": 0, "lesion": 1}
    return parse_config(
        {
            "data": {"images": "i", "labels": "l", "classes": classes},
            "net": {"preset": preset, "sizes": sizes},
            "patch": {"size": [4, 4, 4]},
            "run": run,
        },
        folder,
    )


def state_dictionary(rng):
    """Arrays as MONAI's SegResNet of these sizes names them."""
    shapes = {"convInit.conv": (4, 1, 3, 3, 3), "up_samples.0.0.conv": (4, 8, 1, 1, 1)}
    shapes["down_layers.1.0.conv"] = (8, 4, 3, 3, 3)
    norms = {"conv_final.0": 4}
    for name, n in (
        ("down_layers.0.1", 4),
        ("down_layers.1.1", 8),
        ("up_layers.0.0", 4),
    ):
        for i in (1, 2):
            shapes[f"{name}.conv{i}.conv"] = (n, n, 3, 3, 3)
            norms[f"{name}.norm{i}"] = n
    values = {f"{k}.weight": rng.standard_normal(v) for k, v in shapes.items()}
    for name, n in norms.items():
        values[f"{name}.weight"] = rng.standard_normal(n)
        values[f"{name}.bias"] = rng.standard_normal(n)
    values["conv_final.2.conv.weight"] = rng.standard_normal((2, 4, 1, 1, 1))
    values["conv_final.2.conv.bias"] = rng.standard_normal(2)
    return {name: value.astype(np.float32) for name, value in values.items()}


@pytest.fixture
def theirs():
    return state_dictionary(np.random.default_rng(0))


def test_a_state_dictionary_gives_every_parameter(tmp_path, theirs):
    from coverax.train.start import first_params, starting_model

    np.savez(tmp_path / "w.npz", **theirs)
    config = config_of(tmp_path, start="w.npz")
    params = starting_model(config).start(0)
    ours = sorted(float(np.sum(x)) for x in jax.tree.leaves(params))
    want = sorted(float(np.sum(x)) for x in theirs.values())
    # Sums of at most 1,728 numbers of size one in another order: 2^-24 * 1728 * 42.
    np.testing.assert_allclose(ours, want, atol=5e-3)
    parallel = {f"module.{name}": value for name, value in theirs.items()}
    np.savez(tmp_path / "p.npz", **parallel)
    again = first_params(config, tmp_path / "p.npz")
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(params), strict=True):
        np.testing.assert_array_equal(a, b)


def lacks(values):
    del values["convInit.conv.weight"]


def reshaped(values):
    values["convInit.conv.weight"] = values["convInit.conv.weight"][:, :, :1]


def extra(values):
    values["more.weight"] = np.zeros(1)


def infinite(values):
    values["conv_final.2.conv.bias"] = np.array([0, np.inf], np.float32)


def of_objects(values):
    values["convInit.conv.weight"] = np.array([None], object)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lacks, "no array convInit.conv.weight"),
        (reshaped, r"convInit.conv.weight gives \(1, 3, 3, 1, 4\), the net has"),
        (extra, "1 arrays are of no parameter .* more.weight"),
        (infinite, "not finite"),
        (of_objects, "no .npz of plain arrays"),
    ],
)
def test_what_does_not_fit_is_one_line_before_anything_is_read(
    tmp_path, theirs, change, message
):
    from coverax.train.run import check_pieces

    change(theirs)
    np.savez(tmp_path / "w.npz", **theirs)
    with pytest.raises(ValueError, match=message) as error:
        check_pieces(config_of(tmp_path, start="w.npz"))
    assert "w.npz" in str(error.value)
    assert "\n" not in str(error.value)


def test_nets_and_files_that_have_no_such_weights_say_so(tmp_path, theirs):
    from coverax.train.start import first_params

    np.savez(tmp_path / "w.npz", **theirs)
    small = config_of(tmp_path, "unet3d-small", {})
    with pytest.raises(ValueError, match="unet3d-small has no weights of MONAI"):
        first_params(small, tmp_path / "w.npz")
    (tmp_path / "w.pt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"\.npz or \.safetensors"):
        first_params(config_of(tmp_path), tmp_path / "w.pt")
    with pytest.raises(FileNotFoundError):
        first_params(config_of(tmp_path), tmp_path / "none.npz")


def test_a_start_that_has_seen_units_to_be_kept_out_is_refused(tmp_path):
    """The leak: thresholds of units that the weights were trained on."""
    from coverax.train.split import Split, write_split
    from coverax.train.start import check_start

    units = {"a": "a", "b": "b", "c": "c"}
    new = Split({"a": "train", "b": "calibration", "c": "test"}, units, 0)
    run = tmp_path / "run"
    run.mkdir()
    config = config_of(tmp_path, start="run")
    assert "make sure" in check_start(config, new)
    write_split(run / "split.json", new)
    assert check_start(config, new) == ""
    moved = Split({"a": "train", "b": "learning", "c": "test"}, units, 0)
    write_split(run / "split.json", moved)
    with pytest.raises(ValueError, match="was trained on unit b"):
        check_start(config, new)
    assert check_start(config_of(tmp_path), new) == ""


def test_the_content_of_the_start_is_part_of_the_run(tmp_path, theirs):
    from coverax.train.run import Cohort, start_run
    from coverax.train.split import Split

    np.savez(tmp_path / "w.npz", **theirs)
    config = config_of(tmp_path, start="w.npz")
    cohort = Cohort({}, Split({"a": "train"}, {"a": "a"}, 0))
    start_run(config, cohort, tmp_path / "run", resume=False)
    start_run(config, cohort, tmp_path / "run", resume=True)
    theirs["conv_final.2.conv.bias"] += 1
    np.savez(tmp_path / "w.npz", **theirs)
    with pytest.raises(
        ValueError, match=r"run\.start is not what the run started from"
    ):
        start_run(config, cohort, tmp_path / "run", resume=True)


def test_a_path_that_no_other_machine_has_is_not_kept(tmp_path):
    from coverax.train.config import portable

    kept = portable(config_of(tmp_path, start=str(tmp_path / "w.npz")))
    assert kept["run"]["start"] == "w.npz"
    assert Path(kept["run"]["start"]).name == "w.npz"


def test_parameters_come_out_as_those_that_are_drawn(tmp_path, theirs):
    from coverax.train.model import build_model
    from coverax.train.start import first_params

    np.savez(tmp_path / "w.npz", **theirs)
    config = config_of(tmp_path)
    params = first_params(config, tmp_path / "w.npz")
    drawn = build_model(config).start(0)
    assert jax.tree.structure(params) == jax.tree.structure(drawn)
    assert isinstance(params, nnx.State)
