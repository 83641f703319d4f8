"""The config of a training run: read, checked, written back."""

from pathlib import Path

import pytest

from coverax.train.config import as_plain, config_digest, load_config, parse_config

DATA = {"images": "i", "labels": "l", "classes": {"background": 0, "lesion": 1}}


def parsed(**raw):
    return parse_config({"data": DATA} | raw, Path("folder"))


def test_paths_are_relative_to_the_config_file(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('[data]\nimages="i"\nlabels="l"\nclasses={a=0, b=3}\n')
    config = load_config(file)
    assert config.data.images == tmp_path / "i"
    assert config.data.classes == {"a": 0, "b": 3}


def test_a_config_survives_its_plain_form():
    config = parsed(patch={"size": [8, 8, 8]}, losses={"sdc": 1.0})
    assert parse_config(as_plain(config), Path()) == config


def test_the_digest_holds_what_says_which_parameters_fit():
    digest = config_digest(parsed())
    assert digest == config_digest(parsed(run={"steps": 3}))
    assert digest != config_digest(parsed(net={"preset": "segresnet"}))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"colour": 1}, "unknown key colour"),
        ({"run": {"step": 1}}, "unknown key run.step"),
        ({"run": {"steps": 0}}, "run.steps must be at least 1"),
        ({"run": {"steps": True}}, "run.steps must be int"),
        ({"run": 3}, "run must be a table"),
        ({"patch": {"size": [8, "8", 8]}}, "patch.size[1] must be int"),
        ({"patch": {"size": [8, 8]}}, "three positive integers"),
        ({"net": {"axes": 2}}, "1 along the last axis"),
        ({"losses": {}}, "losses is empty"),
        ({"loss_options": {"sdc": {}}}, "a loss without weight"),
        ({"data": {"images": "i", "labels": "l"}}, "data.classes is missing"),
        ({"data": DATA | {"classes": {"a": 0, "b": 0}}}, "a label value twice"),
        ({"data": DATA | {"shares": {"train": 0.4, "test": 0.4}}}, "sum to 1"),
        ({"data": DATA | {"spacing_mm": [1, 0, 1]}}, "three positive numbers"),
        ({"data": DATA | {"intensity": "window"}}, "data.window belongs"),
        ({"data": DATA | {"shares": {"train": "0.5"}}}, "data.shares.train must be"),
        (
            {"data": DATA | {"classes": {"a": 0, "b": 1.5}}},
            "data.classes.b must be int",
        ),
        ({"data": DATA | {"split_seed": 10**30}}, "data.split_seed must be a number"),
        ({"data": DATA | {"unit_pattern": 3}}, "data.unit_pattern must be str"),
        ({"data": DATA | {"unit_pattern": "("}}, "unit pattern '('"),
        (
            {"data": DATA | {"unit_pattern": "x", "units": "u.csv"}},
            "two ways to say one thing",
        ),
        ({"losses": {"soft_dice": "1"}}, "losses.soft_dice must be float"),
        ({"losses": {"soft_dice": float("nan")}}, "losses.soft_dice must be a number"),
        ({"loss_options": {"soft_dice": 3}}, "loss_options.soft_dice must be dict"),
    ],
)
def test_a_wrong_config_is_one_line_that_names_the_key(raw, message, tmp_path):
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        parsed(**raw)
    assert message in str(error.value)


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "run.toml").write_text("[data\n")
    with pytest.raises(ValueError, match=r"run\.toml"):
        load_config(tmp_path / "run.toml")


@pytest.mark.parametrize(
    "text", ["a=" + "[" * 100_000, "a" * 100_000, "\x00", "a = 1\na = 2"]
)
def test_a_file_that_is_no_config_is_one_line_that_names_it(tmp_path, text):
    file = tmp_path / "run.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        load_config(file)
    assert str(error.value).startswith(f"{file}: ")
    assert len(str(error.value)) < 1000
