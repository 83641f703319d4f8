"""Cases of one's own: `dataset = "examples.own.dataset:cases"` under [data].

python -m examples.own.dataset
"""

import numpy as np
from flax import nnx

import coverax as cx


def cases():
    """Case id to image, labels and voxel edges in mm; the config splits them by unit."""
    found = {}
    for i in range(12):
        labels = np.zeros((10, 10, 10), np.uint8)
        labels[2:7, 3 : 6 + i % 3, 2:8] = 1
        noise = np.random.default_rng(i).standard_normal(labels.shape)
        found[f"patient_{i:02d}"] = (labels + 0.3 * noise, labels, (1.0, 1.0, 2.5))
    return found


if __name__ == "__main__":
    net = nnx.Conv(1, 2, (3, 3, 3), rngs=nnx.Rngs(0))
    run = {"patch": {"size": [8, 8, 8]}, "run": {"steps": 40, "validate_every": 0}}
    print(cx.train.fit(net, list(cases().values()), **run).rows[-1]["loss"])
