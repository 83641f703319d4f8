"""Train a small 2-D net on hippocampus slices with a choice of losses; compare ACE.

python examples/losses_hippocampus.py IMAGES LABELS      (two folders of .nii.gz)
"""

import sys
from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import nibabel as nib
import numpy as np
from jax import lax, nn

import coverax as cx

THIRDS = {"soft_dice": 0.33, "cross_entropy": 0.33}
LOSSES = {
    "Dice + CE": {"soft_dice": 1.0, "cross_entropy": 1.0},
    "Dice + CE + hard mL1-ACE": THIRDS | {"hard_l1_ace": 0.33},
    "Dice + CE + soft mL1-ACE": THIRDS | {"soft_l1_ace": 0.33},
} | {name: {name: 1.0} for name in ("sdc", "svls", "mbls", "nacl")}
WIDTHS, STEPS, BATCH = (1, 12, 12, 3), 250, 8


def slices(case):
    """Middle slices of one case, 40 x 56, standardised, and their labels."""
    image, labels = (nib.load(f).get_fdata(dtype=np.float32) for f in case)
    image = (image - image.mean()) / image.std()
    pad = [(0, max(0, n - m)) for n, m in zip((40, 56), image.shape, strict=False)]
    kept = [np.pad(x, [*pad, (0, 0)])[:40, :56, 10:22:4] for x in (image, labels)]
    return kept[0].transpose(2, 0, 1), kept[1].transpose(2, 0, 1)


def net(params, x):
    """Logits of three dilated convolutions."""
    for i, (w, b) in enumerate(params):
        x = lax.conv_general_dilated(
            x, w, (1, 1), "SAME", rhs_dilation=(i + 1,) * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        ) + b.reshape(1, 1, 1, -1)  # fmt: skip
        x = x if i == len(params) - 1 else nn.relu(x)
    return x


def train(loss, x, y, seed):
    """Parameters after some steps of Adam on random batches."""
    rng = np.random.default_rng(seed)
    shapes = [(5, 5, a, b) for a, b in pairwise(WIDTHS)]
    params = [
        (rng.normal(0, (2 / (25 * s[2])) ** 0.5, s), np.zeros(s[3])) for s in shapes
    ]
    params = jax.tree.map(lambda w: jnp.asarray(w, jnp.float32), params)
    zero = jax.tree.map(jnp.zeros_like, params)

    @jax.jit
    def step(params, m, v, x, y, t):  # Adam
        grad = jax.grad(lambda p: loss(net(p, x), y).mean())(params)
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grad)
        v = jax.tree.map(lambda v, g: 0.99 * v + 0.01 * g * g, v, grad)
        rate = 4e-3 * jnp.sqrt(1 - 0.99**t) / (1 - 0.9**t)
        new = jax.tree.map(
            lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8), params, m, v
        )
        return new, m, v

    state = (params, zero, zero)
    for t in range(STEPS):
        batch = rng.integers(0, len(x), BATCH)
        state = step(*state, x[batch], y[batch], t + 1.0)
    return state[0]


def main(images, labels, n_train=40, n_test=60):
    """Print mean and spread over three seeds, test slices of other cases."""
    names = sorted(
        f.name for f in images.glob("*.nii.gz") if (labels / f.name).exists()
    )
    x, y = zip(
        *(slices((images / n, labels / n)) for n in names[: n_train + n_test]),
        strict=True,
    )
    x = [
        jnp.asarray(np.concatenate(part)[..., None])
        for part in (x[:n_train], x[n_train:])
    ]
    y = [
        nn.one_hot(np.concatenate(part).astype(int), 3)
        for part in (y[:n_train], y[n_train:])
    ]
    for name, weights in LOSSES.items():
        ace, dice = [], []
        for seed in range(3):
            params = train(cx.losses.combine(weights), x[0], y[0], seed)
            probs = nn.softmax(net(params, x[1]))
            there = cx.losses.present_classes(y[1])
            error = cx.losses.hard_l1_ace(probs, y[1], absent="include")
            ace.append(jnp.mean(error, where=there))
            hard = nn.one_hot(probs.argmax(-1), 3)
            dice.append(
                1 - jnp.mean(cx.losses.soft_dice(hard, y[1])[:, 1:], where=there[:, 1:])
            )
        print(f"| {name} | {np.mean(ace):.3f} ± {np.std(ace, ddof=1):.3f} "
              f"| {np.mean(dice):.3f} ± {np.std(dice, ddof=1):.3f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
