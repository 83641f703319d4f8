"""Every preset takes a step of the loop: its parameters move and stay finite."""

import jax
import numpy as np
import pytest
from tests.train.test_nets import TINY

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("preset", TINY)
def test_every_preset_trains_one_step(preset, tmp_path):
    from coverax.train.augment import augment
    from coverax.train.config import parse_config
    from coverax.train.dry_run import made_up_batch
    from coverax.train.model import build_model
    from coverax.train.step import device_mesh, make_step, shared_batch, start_state

    sizes, patch = TINY[preset]
    classes = {"background": 0, "lesion": 1}
    raw = {
        "data": {"images": "i", "labels": "l", "classes": classes},
        "net": {"preset": preset, "sizes": sizes},
        "patch": {"size": list(patch), "batch": 1},
        "losses": {"hard_l1_ace": 0.5, "soft_dice": 0.5, "cross_entropy": 1.0},
    }
    config = parse_config(raw, tmp_path)
    model, mesh = build_model(config), device_mesh(1)
    step = make_step(model, config, mesh, augment)
    state = start_state(model, config, mesh)
    before = jax.device_get(state.params)
    state, metrics = step(state, shared_batch(made_up_batch(config), mesh))
    assert np.isfinite(float(metrics["loss"]))
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(state.params), strict=True)
    moved = [not np.array_equal(a, b) for a, b in pairs]
    assert np.mean(moved) > 0.9
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
