"""Train a small 2-D net with each loss; compare calibration and Dice on other cases.

python examples/losses_hippocampus.py IMAGES LABELS      (two folders of .nii.gz)

Needs `pip install 'coverax[train]'`. One image is one case, twelve of its slices.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import nibabel as nib
import numpy as np
import optax
from flax import nnx

from coverax import losses


def by_slice(loss):
    """The loss of slices: windows and distances do not cross the gaps between them."""
    return lambda *maps: loss(*(x.reshape(-1, *x.shape[2:]) for x in maps))


THIRDS = {"soft_dice": 0.33, "cross_entropy": 0.33}  # as published
RUNS = {
    "Dice + CE": losses.combine({"soft_dice": 1.0, "cross_entropy": 1.0}),
    "Dice + CE + hard mL1-ACE": losses.combine(THIRDS | {"hard_l1_ace": 0.33}),
    "Dice + CE + soft mL1-ACE": losses.combine(THIRDS | {"soft_l1_ace": 0.33}),
    "CE": losses.combine({"cross_entropy": 1.0}),
} | {
    name: by_slice(losses.combine({name: 1.0}))
    for name in ("sdc", "svls", "mbls", "nacl")
}


def make_net(seed, width=32):
    """Logits of slices `[..., x, y, 1]` by patches of 4 x 4."""
    rngs = nnx.Rngs(seed)
    layers = [nnx.Conv(1, width, (4, 4), strides=4, rngs=rngs), nnx.relu]
    for _ in range(3):
        layers += [nnx.Conv(width, width, (3, 3), rngs=rngs), nnx.relu]
    up = nnx.ConvTranspose(width, 3, (4, 4), strides=(4, 4), rngs=rngs)
    return nnx.Sequential(*layers, up)


def load(folder, names):
    """Twelve slices of each volume, cut or padded to 40 x 56: `[cases, 12, 40, 56]`."""
    loaded = []
    for name in names:
        x = nib.load(folder / name).get_fdata(dtype=np.float32)[:40, :56]
        x = x[..., np.linspace(0, x.shape[2] - 1, 12).round().astype(int)]
        loaded.append(np.pad(x, [(0, 40 - x.shape[0]), (0, 56 - x.shape[1]), (0, 0)]))
    return np.moveaxis(np.stack(loaded), -1, 1)


def train(loss, x, y, steps=600):
    """Three nets, one a seed, each after some steps of Adam with two cases a step."""
    adam = optax.adam(optax.cosine_decay_schedule(3e-3, steps))

    @nnx.jit
    def step(net, optimizer, x, y):
        gradient = nnx.grad(lambda net: loss(net(x), y).mean())(net)
        optimizer.update(net, gradient)

    for seed in range(3):
        net, rng = make_net(seed), np.random.default_rng(seed)
        optimizer = nnx.Optimizer(net, adam, wrt=nnx.Param)
        for _ in range(steps):
            batch = rng.integers(0, len(x), 2)
            step(net, optimizer, x[batch], y[batch])
        yield net


@nnx.jit
def measure(net, x, y):
    """ACE against the references and against labels drawn from the map itself; Dice."""
    logits, there = net(x), losses.present_classes(y)
    drawn = jax.nn.one_hot(jax.random.categorical(jax.random.key(0), logits), 3)
    probs, best = jax.nn.softmax(logits), jax.nn.one_hot(logits.argmax(-1), 3)
    ace = [losses.hard_l1_ace(probs, t, absent="include") for t in (y, drawn)]
    dice = jnp.mean(1 - losses.soft_dice(best, y)[:, 1:], where=there[:, 1:])
    return jnp.array([*(jnp.mean(a, where=there) for a in ace), dice])


def main(images, labels, n_train=60, n_test=100):
    """Print mean and spread over three seeds; the difference is paired by seed."""
    names = sorted(
        f.name for f in labels.glob("*.nii.gz") if (images / f.name).exists()
    )
    x, y = (load(folder, names) for folder in (images, labels))
    x = (x - x.mean((1, 2, 3), keepdims=True)) / x.std((1, 2, 3), keepdims=True)
    x, y = jnp.asarray(x)[..., None], jax.nn.one_hot(y.astype(int), 3)
    base = None
    for name, loss in RUNS.items():
        nets = train(loss, x[:n_train], y[:n_train])
        rows = np.stack([measure(net, x[-n_test:], y[-n_test:]) for net in nets])
        base = rows[:, :1] if base is None else base
        columns = np.concatenate([rows[:, :1], rows[:, :1] - base, rows[:, 1:]], axis=1)
        cells = [f"{c.mean():.3f} ± {c.std(ddof=1):.3f}" for c in columns.T]
        print("|", " | ".join([name, *cells]), "|", flush=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
