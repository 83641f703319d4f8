"""What the reference implementations of the papers give, on inputs in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from coverax import losses
from tests.golden import ABSENT, FILE, golden, logits_volume

pytestmark = pytest.mark.skipif(not FILE.is_file(), reason=ABSENT)
GOLDEN = golden() if FILE.is_file() else {}
CLOSE = {"rtol": 1e-5, "atol": 1e-6}
ACE = {"hard": losses.hard_l1_ace, "soft": losses.soft_l1_ace}
OURS = {"external_boundary": "external", "internal_boundary": "internal"}


def volume():
    logits, labels = logits_volume()
    targets = labels[..., None] == np.arange(3)
    shape = (2, 4, 4, 4, 3)
    logits = logits.swapaxes(1, 2).reshape(shape)
    return jnp.asarray(logits), jnp.asarray(targets.reshape(shape))


def plane():
    i, j = np.mgrid[:7, :7]
    logits = [1.2 * np.sin(0.6 * i + 0.3 * j), 1.5 * np.cos(0.5 * i - 0.4 * j)]
    labels = np.zeros((7, 7), int)
    labels[2:5, 2:5] = 1
    targets = jnp.asarray(labels[None, ..., None] == np.arange(2))
    return jnp.asarray(np.stack(logits, -1).astype(np.float32))[None], targets


def keyed(operation_and_aggregation):
    operation, aggregation = operation_and_aggregation.split("/")
    return {
        "operation": OURS.get(operation, operation),
        "aggregation": aggregation,
    }


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_binned_examples(kind):
    for case in GOLDEN["binning"]:
        p = jnp.array(case["p"], jnp.float32)[None, :, None]
        y = jnp.array(case["y"])[None, :, None]
        value = ACE[kind](p, y, n_bins=case["bins"])[0, 0]
        np.testing.assert_allclose(value, case[kind]["loss"], **CLOSE)


def test_ace_of_a_volume_and_its_gradient():
    logits, targets = volume()
    for case in GOLDEN["volume"]["losses"]:
        kept = slice(0 if case["background"] else 1, None)
        absent = "reference" if case["ignore_empty"] else "include"
        options = {"n_bins": case["bins"], "absent": absent}

        def loss(x, kind=case["kind"], kept=kept, options=options):
            p = jax.nn.softmax(x)[..., kept]
            return ACE[kind](p, targets[..., kept], **options)

        gradient = jax.jit(jax.grad(lambda x, f=loss: f(x).mean()))(logits)
        loss = jax.jit(loss)
        np.testing.assert_allclose(loss(logits), case["per_image_class"], **CLOSE)
        np.testing.assert_allclose(loss(logits).mean(), case["loss"], **CLOSE)
        norm = jnp.linalg.norm(gradient)
        np.testing.assert_allclose(norm, case["grad_l2"], **CLOSE)
        first = gradient[0, 0, 0, 0]
        np.testing.assert_allclose(first, case["grad_voxel0_img0"], **CLOSE)


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_composite_and_its_parts(kind):
    logits, targets = volume()
    golden = GOLDEN["volume"][f"composite_{kind}"]
    names = {"ace": f"{kind}_l1_ace", "dice": "soft_dice", "ce": "cross_entropy"}
    for part, name in names.items():
        value = losses.combine({name: 1.0})(logits, targets).mean()
        np.testing.assert_allclose(value, golden[part], **CLOSE)
    total = losses.combine(dict.fromkeys(names.values(), 0.33))(logits, targets)
    np.testing.assert_allclose(total.mean(), golden["total"], **CLOSE)


def test_adapted_targets():
    targets = plane()[1]
    for name, expected in GOLDEN["plane7"]["sam_fg"].items():
        ours = losses.adapt_targets(targets, **keyed(name))[0, ..., 1]
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6, err_msg=name)


def test_signed_distance_target():
    ours = losses.signed_distance_target(plane()[1], published_sign=True)
    expected = GOLDEN["plane7"]["sdf_fg_normalised"]
    np.testing.assert_allclose(ours[0, ..., 1], expected, **CLOSE)


def test_sdc_and_its_parts():
    logits, targets = plane()
    for name, norms in GOLDEN["plane7"]["sdc"].items():
        for norm, expected in norms.items():
            options = keyed(name) | {"norm": norm, "published_sign": True}
            ours = losses.sdc(logits, targets, **options).mean()
            np.testing.assert_allclose(ours, expected, **CLOSE)
    parts = GOLDEN["plane7"]["parts_default"]
    probs = jax.nn.softmax(logits)
    adapted = jnp.abs(losses.adapt_targets(targets) - probs).mean()
    distances = losses.signed_distance_target(targets, published_sign=True)
    gap = jnp.abs(2 * probs - 1 - distances).mean()
    np.testing.assert_allclose(
        losses.cross_entropy(logits, targets).mean(), parts["ce"], **CLOSE
    )
    np.testing.assert_allclose(adapted, parts["lc"], **CLOSE)
    np.testing.assert_allclose(gap, parts["sdf_l1_before_div100"], **CLOSE)


def test_svls_in_two_and_three_axes():
    logits, targets = plane()
    golden = GOLDEN["plane7"]["originals"]
    np.testing.assert_allclose(
        losses.svls_targets(targets)[0, ..., 1], golden["svls2d_fg_target"], **CLOSE
    )
    np.testing.assert_allclose(
        losses.svls(logits, targets).mean(), golden["svls2d_ce"], **CLOSE
    )
    dot = jnp.zeros((1, 5, 5, 5, 1)).at[0, 2, 2, 2, 0].set(1)
    kernel = losses.svls_targets(dot)[0, ..., 0]
    places = {
        "centre": (2, 2, 2),
        "face": (2, 2, 1),
        "edge": (2, 1, 1),
        "corner": (1, 1, 1),
    }
    for name, place in places.items():
        np.testing.assert_allclose(kernel[place], golden["svls3d"][name], **CLOSE)
    dot = jnp.zeros((1, 5, 5, 1)).at[0, 2, 2, 0].set(1)
    plane_kernel = losses.svls_targets(dot)[0, 1:4, 1:4, 0]
    np.testing.assert_allclose(plane_kernel, golden["svls2d_kernel"], **CLOSE)


def test_mbls_and_label_smoothing():
    logits, targets = plane()
    golden = GOLDEN["plane7"]["originals"]
    total, entropy, penalty = golden["mbls_on_10x_logits"]["10"]
    np.testing.assert_allclose(losses.mbls(10 * logits, targets).mean(), total, **CLOSE)
    ours = losses.cross_entropy(10 * logits, targets).mean()
    np.testing.assert_allclose(ours, entropy, **CLOSE)
    np.testing.assert_allclose(total - entropy, 0.1 * penalty, rtol=1e-4)
    smoothed = losses.label_smoothing(logits, targets).mean()
    np.testing.assert_allclose(smoothed, golden["ls_margin_repo"], **CLOSE)


def test_nacl_where_the_border_is_one_class():
    """The repository pads labels with 0, the class of this plane's border."""
    logits, targets = plane()
    golden = GOLDEN["plane7"]["originals"]["nacl_margin_repo"]
    for neighbours in ("mean", "gaussian"):
        ours = losses.nacl(logits, targets, neighbours=neighbours).mean()
        np.testing.assert_allclose(ours, golden[f"{neighbours}/logits"][0], **CLOSE)


@pytest.mark.parametrize(
    ("name", "neighbours"), [("mean", "mean"), ("gaussian", "wide")]
)
def test_nacl_of_monai_which_pads_with_no_class(name, neighbours):
    """Its Gaussian spans nine voxels; the border matters on this plane."""
    logits, targets = plane()
    golden = GOLDEN["plane7"]["originals"]["nacl_monai"][name]
    options = {"neighbours": neighbours, "border": "zeros"}
    ours = losses.nacl(logits, targets, **options).mean()
    np.testing.assert_allclose(ours, golden, **CLOSE)
    others = [("gaussian", "zeros"), (neighbours, "replicate")]
    for neighbours, border in others:
        options = {"neighbours": neighbours, "border": border}
        other = losses.nacl(logits, targets, **options).mean()
        assert abs(other - golden) > 1e-3
