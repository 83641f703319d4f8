"""The preset of a whole run: its values, what goes before them, its steps."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tests.train import stand_in

DATA = {"images": "i", "labels": "l", "classes": {"background": 0, "a": 1, "b": 2}}


def parsed(**raw):
    from coverax.train.config import parse_config

    return parse_config({"data": DATA, "preset": "nnunet-like"} | raw, Path("folder"))


def test_it_fills_what_a_config_leaves_out():
    config = parsed(
        patch={"batch": 9},
        optimiser={"learning_rate": 0.02},
        net={"sizes": {"supervised": 3}},
    )
    assert config.patch.batch == 9
    assert config.patch.size == (40, 56, 40)
    assert config.optimiser.learning_rate == 0.02
    assert (config.optimiser.name, config.optimiser.momentum) == ("sgd", 0.99)
    assert (config.optimiser.schedule, config.optimiser.power) == ("polynomial", 0.9)
    assert config.net.sizes["supervised"] == 3
    assert config.net.sizes["channels"] == [32, 64, 128, 256]


def test_it_survives_the_plain_form_and_is_named_there():
    from coverax.train.config import as_plain, parse_config

    for raw in ({}, {"losses": {"sdc": 1.0}}, {"net": {"preset": "segresnet"}}):
        config = parsed(**raw)
        plain = as_plain(config)
        assert plain["preset"] == "nnunet-like"
        assert parse_config(plain, Path()) == config


def test_other_losses_and_another_net_come_without_its_options():
    config = parsed(losses={"cross_entropy": 1.0}, net={"preset": "segresnet"})
    assert config.loss_options == {}
    assert config.net.sizes == {}
    kept = parsed(losses={"soft_dice": 1.0, "soft_l1_ace": 1.0})
    assert set(kept.loss_options) == {"soft_dice"}


@pytest.mark.parametrize("name", ["nnunet", 3])
def test_an_unknown_preset_is_refused_with_the_known(name):
    with pytest.raises(ValueError, match=r"preset .* is unknown \(known: nnunet-like"):
        parsed(preset=name)


def test_its_net_takes_its_patch():
    from coverax.train.model import build_model

    config = parsed()
    model = build_model(config)
    params = jax.eval_shape(lambda: model.start(0))
    images = jax.ShapeDtypeStruct((2, *config.patch.size, 1), jnp.float32)
    levels = jax.eval_shape(model.apply, params, images)
    assert [v.shape for v in levels] == [(2, 40, 56, 40, 3), (2, 20, 28, 20, 3)]


def test_levels_weigh_by_halves():
    from coverax.losses import deep_supervision_weights

    np.testing.assert_allclose(deep_supervision_weights(2), [2 / 3, 1 / 3], rtol=1e-6)


def test_its_rate_is_the_polynomial_of_optax():
    from coverax.train.optimiser import learning_rate

    config, n = parsed().optimiser, 50
    rate = optax.polynomial_schedule(0.01, 0.0, 0.9, n)
    ours = [float(learning_rate(config, n, k)) for k in range(n + 1)]
    theirs = [np.asarray(rate(k)) for k in range(n + 1)]
    # Two powers of numbers in [0, 1], each within some units of the last place.
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-12)


def test_its_optimiser_is_the_sgd_of_optax_with_decay_in_the_gradient():
    from coverax.train.optimiser import make_optimiser

    n = 6
    chain = optax.chain(
        optax.clip_by_global_norm(12.0),
        optax.add_decayed_weights(3e-5, mask=lambda p: jax.tree.map(_is_matrix, p)),
        optax.sgd(optax.polynomial_schedule(0.01, 0.0, 0.9, n), 0.99, nesterov=True),
    )
    rng = np.random.default_rng(0)
    start = {"kernel": jnp.asarray(rng.normal(size=(3, 4))), "bias": jnp.ones(4)}
    slopes = [
        jax.tree.map(lambda p: jnp.asarray(9 * rng.normal(size=p.shape)), start)
        for _ in range(n)
    ]
    found = []
    for optimiser in (make_optimiser(parsed().optimiser, n), chain):
        params, state = start, optimiser.init(start)
        for slope in slopes:
            changes, state = optimiser.update(slope, state, params)
            params = optax.apply_updates(params, changes)
        found.append(params)
    for ours, theirs in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def _is_matrix(value):
    return value.ndim > 1


@pytest.mark.parametrize(
    ("table", "values", "message"),
    [
        ("optimiser", {"schedule": "linear"}, "cosine or polynomial"),
        ("optimiser", {"name": "adamw"}, "coupled_decay belongs to"),
        ("optimiser", {"momentum": 1.0}, r"momentum must lie in \[0, 1\)"),
        ("optimiser", {"power": 0.0}, "power must be > 0"),
        ("patch", {"low_resolution": 1.0}, r"low_resolution must lie in \[0, 1\)"),
        ("patch", {"contrast": -0.1}, r"contrast must lie in \[0, 1\)"),
    ],
)
def test_impossible_choices_are_refused(table, values, message):
    with pytest.raises(ValueError, match=message):
        parsed(**{table: values})


def test_killed_and_resumed_it_is_the_unbroken_run(tmp_path):
    from coverax.train.augment import augment
    from coverax.train.loop import train

    def deadly(step):
        for number, batch in enumerate(stand_in.batches(step), start=step):
            if number == 2:
                raise KeyboardInterrupt
            yield batch

    def run(name, **changed):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        config = stand_in.config_of(
            folder,
            preset="nnunet-like",
            optimiser={"learning_rate": 0.01, "warmup_steps": 0},
            run={"steps": 4, "checkpoint_every": 1, "validate_every": 0},
        )
        pieces = stand_in.pieces(augment=augment, **changed)
        return train(config, pieces, folder).state

    whole = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("killed", batches=deadly)
    again = run("killed")
    for a, b in zip(*map(jax.tree.leaves, (whole, again)), strict=True):
        np.testing.assert_array_equal(a, b)
