"""Parts of one's own: nets, losses and cases by import path, and all of them in Python."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import coverax as cx

RUN = {"patch": {"size": [8, 8, 8]}, "run": {"steps": 2, "validate_every": 2}}
CONFIG = """
[data]
dataset = "examples.own.dataset:cases"
classes = {{ background = 0, part = 1 }}
[net]
module = "{module}"
[patch]
size = [8, 8, 8]
rotation_degrees = 0.0
zoom = 0.0
[losses]
"examples.own.loss:brier" = 1.0
soft_dice = 1.0
[loss_options."examples.own.loss:brier"]
power = 1.0
[run]
steps = 2
validate_every = 2
"""


class Linen(linen.Module):
    in_channels: int
    n_classes: int

    @linen.compact
    def __call__(self, images):
        return linen.Conv(self.n_classes, (1, 1, 1))(images)


class Normed(nnx.Module):
    def __init__(self, in_channels, n_classes, rngs):
        self.norm = nnx.BatchNorm(in_channels + n_classes, rngs=rngs)

    def __call__(self, images):
        return self.norm(images)


def cases(n=3):
    labels = np.zeros((9, 8, 8), int)
    labels[2:5, 3:6, 1:7] = 1
    return [(labels + 0.1 * np.ones(labels.shape), labels) for _ in range(n)]


def of_file(tmp_path, module="examples.own.net:Net"):
    (tmp_path / "run.toml").write_text(CONFIG.format(module=module))
    return tmp_path / "run.toml"


def test_a_config_names_a_net_a_loss_and_cases_by_import_path(cli, tmp_path):
    done = cli("train", of_file(tmp_path), "-o", tmp_path / "run")
    assert done.code == 0, done.err
    header, *rows = (tmp_path / "run" / "training.csv").read_text().splitlines()
    assert "examples.own.loss:brier" in header
    assert len(rows) == 2
    found = cx.train.load_checkpoint(tmp_path / "run")
    image = jnp.zeros((1, 8, 8, 8, 1))
    (logits,) = found.model.apply(found.params, image)
    assert logits.shape == (1, 8, 8, 8, 2)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("no_such_module:Net", "net.module = no_such_module:Net: cannot be imported"),
        ("examples.own.net:Other", "cannot be imported"),
        ("examples.own.net", "a path is package.module:name"),
        ("tests.cli.test_own_parts:Normed", "the net holds BatchStat"),
        ("tests.cli.test_own_parts:cases", "unexpected keyword"),
    ],
)
def test_a_net_that_cannot_be_had_is_one_line(cli, tmp_path, module, message):
    done = cli("train", of_file(tmp_path, module), "-o", tmp_path / "run")
    assert (done.code, len(done.errors)) == (1, 1)
    assert message in done.errors[0]
    assert not (tmp_path / "run").exists()


def test_a_fit_takes_modules_of_both_kinds_and_functions_as_losses():
    def wide(logits, targets):
        return jnp.square(logits - targets).mean(tuple(range(1, logits.ndim - 1)))

    for module in (nnx.Conv(1, 2, (3, 3, 3), rngs=nnx.Rngs(0)), Linen(1, 2)):
        fitted = cx.train.fit(module, cases(), losses={wide: 1.0}, **RUN)
        assert set(fitted.rows[1]) >= {"step", "loss", "wide"}
        probs = fitted.predict(cases()[0][0][..., None])
        assert probs.shape == (9, 8, 8, 2)
        np.testing.assert_allclose(probs.sum(-1), 1, atol=1e-6)


@pytest.mark.slow
def test_a_fit_of_slices_and_its_module_agree():
    image, label = cases()[0][0][:8, :, 3], cases()[0][1][:8, :, 3]
    net = nnx.Conv(1, 2, (3, 3), rngs=nnx.Rngs(0))
    run = {"patch": {"size": [8, 8, 1]}, "run": {"steps": 2, "validate_every": 0}}
    fitted = cx.train.fit(net, [(image, label)], axes=2, **run)
    logits = fitted.module(jnp.asarray(image[None, ..., None], jnp.float32))[0]
    probs = fitted.predict(image[..., None])[:, :, 0]
    want = np.exp(logits - logits.max(-1, keepdims=True))
    np.testing.assert_allclose(probs, want / want.sum(-1, keepdims=True), atol=1e-5)


def test_cases_that_do_not_fit_and_losses_of_another_shape_are_one_line():
    net = nnx.Conv(1, 2, (3, 3, 3), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"cases\[0\]: image .* are no case"):
        cx.train.fit(net, [(np.zeros((4, 4)), np.zeros((5, 4), int))], **RUN)
    with pytest.raises(ValueError, match="a label value is no class"):
        cx.train.fit(net, cases(), n_classes=1, **RUN)
    with pytest.raises(ValueError, match=r"gives .* not .batch, classes."):
        cx.train.fit(net, cases(), losses={lambda x, y: (x - y).mean(): 1.0}, **RUN)
