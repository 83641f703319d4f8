"""One step: schedule, levels, parts of the loss, decay, devices."""

import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.train import stand_in

ROOT = Path(__file__).resolve().parents[2]


def optimiser_config(**changed):
    from coverax.train.config import OptimiserConfig

    return OptimiserConfig(**({"learning_rate": 0.4, "warmup_steps": 4} | changed))


def test_the_rate_rises_to_its_highest_and_falls_to_zero():
    from coverax.train.optimiser import learning_rate

    rates = [float(learning_rate(optimiser_config(), 12, k)) for k in range(13)]
    np.testing.assert_allclose(rates[:4], [0.1, 0.2, 0.3, 0.4], rtol=1e-6)
    np.testing.assert_allclose(rates[4], 0.4, rtol=1e-6)
    np.testing.assert_allclose(rates[8], 0.2, rtol=1e-6)
    np.testing.assert_allclose(rates[6], 0.2 * (1 + math.cos(math.pi / 4)), rtol=1e-6)
    np.testing.assert_allclose(rates[12], 0, atol=1e-7)


@pytest.mark.parametrize(("warmup", "steps"), [(0, 3), (5, 3), (1, 1)])
def test_a_run_shorter_than_its_warm_up_has_a_rate(warmup, steps):
    from coverax.train.optimiser import learning_rate

    config = optimiser_config(warmup_steps=warmup)
    rates = [float(learning_rate(config, steps, k)) for k in range(steps)]
    assert all(0 < rate <= 0.4 * (1 + 1e-6) for rate in rates)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_weights_decay_and_biases_do_not(name):
    from coverax.train.optimiser import make_optimiser

    config = optimiser_config(name=name, warmup_steps=0, weight_decay=0.5)
    optimiser = make_optimiser(config, 10)
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    none = jax.tree.map(jnp.zeros_like, params)
    changes, _ = optimiser.update(none, optimiser.init(params), params)
    np.testing.assert_allclose(changes["kernel"], -0.4 * 0.5, rtol=1e-6)
    np.testing.assert_array_equal(changes["bias"], 0)


def test_a_long_gradient_is_clipped():
    from coverax.train.optimiser import make_optimiser

    config = optimiser_config(name="sgd", warmup_steps=0, weight_decay=0.0, clip=2.0)
    optimiser = make_optimiser(config, 10)
    params = {"bias": jnp.zeros(2)}
    slope = {"bias": jnp.array([30.0, 40.0])}
    changes, _ = optimiser.update(slope, optimiser.init(params), params)
    # Nesterov's first step: gradient times one plus the momentum.
    np.testing.assert_allclose(
        changes["bias"], -0.4 * 1.99 * np.array([1.2, 1.6]), rtol=1e-5
    )


def test_a_moving_average_soon_forgets_the_start():
    from coverax.train.optimiser import moved_average

    first = moved_average(jnp.zeros(1), jnp.ones(1), jnp.asarray(0), 0.99)
    late = moved_average(jnp.zeros(1), jnp.ones(1), jnp.asarray(10**6), 0.99)
    np.testing.assert_allclose(first, 0.9, rtol=1e-6)
    np.testing.assert_allclose(late, 0.01, rtol=1e-4)


def test_a_level_is_judged_by_the_voxels_at_its_centres():
    from coverax.train.step import level_labels

    labels = jnp.arange(6 * 4 * 3).reshape(1, 6, 4, 3)
    found = level_labels(labels, (1, 2, 2, 3, 5))
    np.testing.assert_array_equal(found, labels[:, 1::3, 1::2, :])
    np.testing.assert_array_equal(level_labels(labels, (1, 6, 4, 3, 5)), labels)
    with pytest.raises(ValueError, match="does not divide"):
        level_labels(labels, (1, 4, 4, 3, 5))


def test_the_loss_is_the_weighted_sum_over_losses_and_levels(tmp_path):
    from coverax import losses
    from coverax.train.step import make_loss

    weights = {"soft_dice": 0.7, "cross_entropy": 1.3}
    config = stand_in.config_of(tmp_path, losses=weights)
    model = stand_in.model()
    params, batch = model.start(0), next(stand_in.batches(0))
    value, parts = make_loss(model, config)(
        params, batch["image"], jnp.asarray(batch["label"])
    )
    fine, coarse = model.apply(params, batch["image"])
    whole = losses.combine(weights)
    expected = 0.0
    for logits, share in ((fine, 2 / 3), (coarse, 1 / 3)):
        stride = 8 // logits.shape[1]
        labels = batch["label"][:, stride // 2 :: stride][:, :, stride // 2 :: stride]
        targets = jax.nn.one_hot(labels[..., stride // 2 :: stride], 3)
        expected += share * float(whole(logits, targets).mean())
    np.testing.assert_allclose(float(value), expected, rtol=1e-5)
    assert set(parts) == set(weights)


def test_distances_are_in_millimetres_of_each_level(tmp_path):
    from coverax import losses
    from coverax.train.step import make_loss

    config = stand_in.config_of(tmp_path, losses={"boundary": 1.0, "sdc": 1.0})
    model = stand_in.model()
    params, batch = model.start(0), next(stand_in.batches(0))
    image, label = batch["image"], jnp.asarray(batch["label"])
    edges = (1.0, 1.5, 5.0)
    value, _ = make_loss(model, config, edges)(params, image, label)
    expected = 0.0
    for logits, share in zip(model.apply(params, image), (2 / 3, 1 / 3), strict=True):
        stride = 8 // logits.shape[1]
        part = (slice(None), *[slice(stride // 2, None, stride)] * 3)
        targets = jax.nn.one_hot(label[part], 3)
        spacing = tuple(stride * edge for edge in edges)
        probs = jax.nn.softmax(logits)
        of_level = losses.boundary(probs, targets, spacing_mm=spacing)
        of_level += losses.sdc(logits, targets, spacing_mm=spacing)
        expected += share * float(of_level.mean())
    np.testing.assert_allclose(float(value), expected, rtol=1e-5)
    voxels, _ = make_loss(model, config)(params, image, label)
    assert abs(float(voxels - value)) > 0.01


def test_ignored_voxels_move_no_loss_and_no_gradient(tmp_path):
    from coverax import losses
    from coverax.train.step import make_loss

    data = {"data": {"ignore_label": 9}}
    config = stand_in.config_of(
        tmp_path, losses={"soft_dice": 1.0, "cross_entropy": 1.0}, **data
    )
    logits = jax.random.normal(jax.random.key(0), (1, 8, 8, 8, 3))
    model = stand_in.model()._replace(apply=lambda params, images: (params + images,))
    labels = np.random.default_rng(0).integers(0, 3, (1, 8, 8, 8))
    labels[:, 2:5] = -1
    loss = make_loss(model, config)
    zero = jnp.zeros((1, 8, 8, 8, 1))
    slope = jax.grad(lambda p: loss(p, zero, jnp.asarray(labels))[0])(logits)
    np.testing.assert_array_equal(slope[:, 2:5], 0)
    assert float(jnp.abs(slope[:, :2]).max()) > 0
    ones = jax.nn.one_hot(labels, 3)
    want = losses.cross_entropy(logits, ones, valid=jnp.asarray(labels >= 0)).mean()
    found = loss(logits, zero, jnp.asarray(labels))[1]["cross_entropy"]
    np.testing.assert_allclose(float(found), float(want), rtol=1e-6)


def test_a_spacing_among_the_options_of_a_loss_is_kept(tmp_path):
    from coverax.train.step import make_loss

    own = {"loss_options": {"boundary": {"spacing_mm": [2.0, 2.0, 2.0]}}}
    config = stand_in.config_of(tmp_path, losses={"boundary": 1.0}, **own)
    plain = stand_in.config_of(tmp_path, losses={"boundary": 1.0})
    model = stand_in.model()
    model = model._replace(apply=lambda *a: stand_in.model().apply(*a)[:1])
    params, batch = model.start(0), next(stand_in.batches(0))
    arguments = params, batch["image"], jnp.asarray(batch["label"])
    kept, _ = make_loss(model, config, (1.0, 1.0, 1.0))(*arguments)
    voxels, _ = make_loss(model, plain, (1.0, 1.0, 1.0))(*arguments)
    np.testing.assert_allclose(float(kept), 2 * float(voxels), rtol=1e-5)


def test_devices_that_cannot_share_a_batch_are_refused():
    from coverax.train.step import device_mesh

    with pytest.raises(ValueError, match=r"patch\.batch = 3 cannot be shared by 2"):
        device_mesh(3, jax.devices() * 2)


TWO_STEPS = """
import json, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import jax, numpy as np
from coverax.train.step import device_mesh, make_step, shared_batch, start_state
from tests.train import stand_in
model, config = stand_in.model(), stand_in.config_of(Path("."), losses={"soft_l1_ace": 1, "cross_entropy": 1})
ends = []
for devices in (jax.devices(), jax.devices()[:1]):
    mesh = device_mesh(2, devices)
    step = make_step(model, config, mesh, stand_in.augment)
    state = start_state(model, config, mesh)
    batches = stand_in.batches(0)
    for _ in range(3):
        state, _ = step(state, shared_batch(next(batches), mesh))
    ends.append([np.asarray(x).tolist() for x in jax.tree.leaves(state.params)])
print(json.dumps({"devices": jax.device_count(), "ends": ends}))
"""


def test_gradients_keep_their_values_in_the_order_of_the_parameters():
    """As a GPU has them before the optimiser; numbers of no axis among them."""
    from coverax.train.step import _as_stored

    slope = {"kernel": jnp.arange(24.0).reshape(2, 3, 4), "slope": jnp.float32(2)}
    turned = {"kernel": slope["kernel"].transpose(2, 0, 1), "slope": slope["slope"]}

    def straight(slope):
        return _as_stored(slope | {"kernel": slope["kernel"].transpose(1, 2, 0)})

    found = jax.jit(straight)(turned)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(slope), strict=True):
        np.testing.assert_array_equal(one, other)
    program = jax.jit(straight).lower(turned).as_text()
    assert program.count("LayoutConstraint") == 2
    assert "optimization_barrier" in program


@pytest.mark.slow
def test_two_devices_equal_one():
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "src"),
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    done = subprocess.run(
        [sys.executable, "-c", TWO_STEPS, str(ROOT)],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["devices"] == 2
    for both, one in zip(*found["ends"], strict=True):
        np.testing.assert_allclose(both, one, atol=1e-5)


HOST = """
import json, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import jax, numpy as np
jax.distributed.initialize(f"localhost:{sys.argv[3]}", 2, int(sys.argv[4]))
from coverax.train.loop import train
from tests.train import stand_in
folder = Path(sys.argv[2])
done = train(stand_in.config_of(folder, run={"steps": 4}), stand_in.pieces(), folder)
params = jax.tree.leaves(done.state.params)
found = [np.asarray(p.addressable_data(0)).tolist() for p in params]
print(json.dumps({"devices": jax.device_count(), "dices": done.dices, "params": found}))
"""


@pytest.mark.slow
def test_two_hosts_equal_one(tmp_path):
    from coverax.train.loop import train

    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    together = tmp_path / "two"
    together.mkdir()
    words = [sys.executable, "-c", HOST, str(ROOT), str(together), str(port)]
    hosts = [
        subprocess.Popen(
            [*words, str(k)], stdout=subprocess.PIPE, text=True, env=environment
        )
        for k in range(2)
    ]
    found = [json.loads(h.communicate()[0].splitlines()[-1]) for h in hosts]
    assert found[0] == found[1]
    assert found[0]["devices"] == 2
    config = stand_in.config_of(tmp_path, run={"steps": 4})
    alone = train(config, stand_in.pieces(), tmp_path)
    for both, one in zip(
        found[0]["params"], jax.tree.leaves(alone.state.params), strict=True
    ):
        np.testing.assert_allclose(both, one, atol=1e-5)
