"""A loss of one's own: `"examples.own.loss:brier" = 1.0` under [losses], or in Python.

python -m examples.own.loss
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import coverax as cx


def brier(logits, targets, *, power=2.0):
    """Mean distance of probability and reference, `[batch, classes]`."""
    error = jnp.abs(jax.nn.softmax(logits) - targets) ** power
    return error.mean(tuple(range(1, logits.ndim - 1)))


if __name__ == "__main__":
    labels = np.eye(8, dtype=int)[None].repeat(4, 0)
    net = nnx.Conv(1, 2, (3, 3), rngs=nnx.Rngs(0))
    run = {"patch": {"size": [8, 8, 1]}, "run": {"steps": 40, "validate_every": 0}}
    cases = [(2.0 * label - 1, label) for label in labels]
    fitted = cx.train.fit(net, cases, losses={brier: 1.0}, axes=2, **run)
    print(fitted.rows[0]["loss"], fitted.rows[-1]["loss"])
