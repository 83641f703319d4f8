"""Maps and references for the tests of losses."""

import jax
import jax.numpy as jnp
import numpy as np

from coverax import losses

OF_LOGITS = {
    "cross_entropy": losses.cross_entropy,
    "binary_cross_entropy": losses.binary_cross_entropy,
    "focal": losses.focal,
    "entropy_penalty": losses.entropy_penalty,
    "label_smoothing": losses.label_smoothing,
    "svls": losses.svls,
    "mbls": losses.mbls,
    "nacl": losses.nacl,
    "nacl_gaussian": lambda *a, **k: losses.nacl(*a, neighbours="gaussian", **k),
    "sdc": losses.sdc,
    "sdc_l2": lambda *a, **k: losses.sdc(*a, norm="l2", aggregation="gaussian", **k),
}
OF_PROBS = {
    "hard_l1_ace": losses.hard_l1_ace,
    "soft_l1_ace": losses.soft_l1_ace,
    "soft_dice": losses.soft_dice,
    "boundary": losses.boundary,
}


def of_logits(name):
    """Any loss as a function of logits."""
    if name in OF_LOGITS:
        return OF_LOGITS[name]
    return lambda logits, targets, **k: OF_PROBS[name](
        jax.nn.softmax(logits), targets, **k
    )


ALL = [*OF_LOGITS, *OF_PROBS]


def example(shape, classes, seed=0, batch=2, scale=3.0):
    """Logits and one-hot targets; every class has a voxel in the first example."""
    rng = np.random.default_rng(seed)
    logits = scale * rng.standard_normal((batch, *shape, classes), dtype=np.float32)
    labels = rng.integers(0, classes, (batch, *shape))
    flat = labels[0].ravel()
    flat[: min(classes, flat.size)] = np.arange(min(classes, flat.size))
    targets = (labels[..., None] == np.arange(classes)).astype(np.float32)
    return jnp.asarray(logits), jnp.asarray(targets)
