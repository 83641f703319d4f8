"""A net of one's own: `module = "examples.own.net:Net"` under [net], or in Python.

python -m examples.own.net
"""

import numpy as np
from flax import nnx

import coverax as cx


class Net(nnx.Module):
    """Images `[batch, x, y, z, channels]` to logits."""

    def __init__(self, in_channels, n_classes, rngs):
        self.first = nnx.Conv(in_channels, 8, (3, 3, 3), rngs=rngs)
        self.last = nnx.Conv(8, n_classes, (1, 1, 1), rngs=rngs)

    def __call__(self, images):
        """Two convolutions."""
        return self.last(nnx.relu(self.first(images)))


if __name__ == "__main__":
    labels = np.zeros((6, 12, 12, 12), int)
    labels[:, 3:8, 4:9, 2:7] = 1
    images = labels + 0.3 * np.random.default_rng(0).standard_normal(labels.shape)
    run = {"patch": {"size": [8, 8, 8]}, "run": {"steps": 40, "validate_every": 0}}
    cases = list(zip(images, labels, strict=True))
    fitted = cx.train.fit(Net(1, 2, nnx.Rngs(0)), cases, **run)
    print(fitted.rows[0]["loss"], fitted.rows[-1]["loss"])
