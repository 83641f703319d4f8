"""A net of two levels, a case of balls and batches of it: as small as a run can be.

No import of coverax at the top level: the type hook would miss it.
"""

import jax
import jax.numpy as jnp
import numpy as np

SIDE = 8
N_CLASSES = 3


def config_of(folder, **raw):
    from coverax.train.config import parse_config

    data = {
        "images": "images",
        "labels": "labels",
        "classes": {"background": 0, "inner": 1, "outer": 2},
    }
    base = {
        "data": data,
        "patch": {"size": [SIDE] * 3, "batch": 2},
        "optimiser": {"learning_rate": 0.02, "warmup_steps": 2},
        "run": {"steps": 6, "validate_every": 2, "checkpoint_every": 2},
    }
    merged = {key: base.get(key, {}) | raw.get(key, {}) for key in base}
    return parse_config(raw | merged, folder)


def volume():
    """A ball in a shell, and noise over the grey values of the three classes."""
    grid = np.stack(np.meshgrid(*[np.arange(16) - 7.3] * 3, indexing="ij"))
    radius = np.sqrt((grid**2).sum(0))
    labels = np.where(radius < 3, 1, np.where(radius < 5.5, 2, 0)).astype(np.int32)
    noise = np.random.default_rng(0).standard_normal(labels.shape)
    image = np.array([-1.0, 1.5, 0.3])[labels] + 0.1 * noise
    return image.astype(np.float32)[..., None], labels


class Case:
    case_id = "ball"
    image, labels = volume()


def batches(step):
    """Patches anywhere in the case, by the number of the step alone."""
    while True:
        rng = np.random.default_rng([7, step])
        corners = rng.integers(0, 16 - SIDE + 1, (2, 3))
        boxes = [tuple(slice(c, c + SIDE) for c in corner) for corner in corners]
        yield {
            "image": np.stack([Case.image[box] for box in boxes]),
            "label": np.stack([Case.labels[box] for box in boxes]),
        }
        step += 1


def convolve(kernel, x, stride):
    order = ("NXYZC", "XYZIO", "NXYZC")
    return jax.lax.conv_general_dilated(
        x, kernel, (stride,) * 3, "SAME", dimension_numbers=order
    )


def model():
    from coverax.train.model import Model

    def start(seed):
        rng = np.random.default_rng(seed)
        shapes = {
            "first": (3, 3, 3, 1, 6),
            "second": (3, 3, 3, 6, 6),
            "fine": (1, 1, 1, 6, N_CLASSES),
            "coarse": (1, 1, 1, 6, N_CLASSES),
        }
        return {
            name: (0.3 * rng.standard_normal(shape)).astype(np.float32)
            for name, shape in shapes.items()
        }

    def apply(params, images):
        x = jnp.tanh(convolve(params["first"], images, 1))
        down = jnp.tanh(convolve(params["second"], x, 2))
        return convolve(params["fine"], x, 1), convolve(params["coarse"], down, 1)

    return Model(start, apply)


def augment(key, images, labels, config):
    """Noise and a mirror, drawn from the key."""
    del config
    noise = 0.1 * jax.random.normal(key, images.shape)
    flip = jax.random.bernoulli(jax.random.fold_in(key, 1))
    images = jnp.where(flip, jnp.flip(images, 1), images)
    return images + noise, jnp.where(flip, jnp.flip(labels, 1), labels)


def volumes(predict, case):
    """The whole case as one patch."""
    return np.asarray(predict(case.image[None]))[0]


def pieces(**changed):
    from coverax.train.loop import Pieces

    own = {
        "model": model(),
        "augment": augment,
        "batches": batches,
        "learning": [Case],
        "volumes": volumes,
        "split_digest": "split",
    }
    return Pieces(**(own | changed))
