"""The order-statistics kernel by itself: device against host, data already in memory.

    python -m benchmarks.order [--size tiny|full] [--rounds 7]

Full size: eight cases of 64x128x128, six tolerances, lesions of 500 to 50,000 voxels;
half a minute on two cores. On an accelerator the probabilities lie on the device, as
they do when a model has just made them. Answers are compared to the bit first.
"""

import argparse
import statistics
import time
from datetime import date

import jax
import jax.numpy as jnp
import numpy as np
from tests import synthetic

from benchmarks.common import interleaved, machine, markdown, ratio, save
from coverax import host, kernels

TOLERANCES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
SIZES = {
    "tiny": (2, (16, 24, 24), (50, 500)),
    "full": (8, (64, 128, 128), (500, 5_000, 50_000)),
}


def measure(n_cases, shape, n_voxels, rounds):
    rng = np.random.default_rng(n_voxels)
    cases = [synthetic.case(shape, n_voxels, rng) for _ in range(n_cases)]
    probs, labels = (np.stack(part) for part in zip(*cases, strict=True))
    on_device = jnp.asarray(probs), jnp.asarray(labels)
    start = time.perf_counter()
    first = jax.block_until_ready(kernels.critical_probability(*on_device, TOLERANCES))
    compile_seconds = time.perf_counter() - start
    expected = host.critical_probability(probs, labels, TOLERANCES)
    np.testing.assert_array_equal(np.asarray(first), expected)
    seconds = interleaved(
        {
            "device": lambda: jax.block_until_ready(
                kernels.critical_probability(*on_device, TOLERANCES)
            ),
            "host": lambda: host.critical_probability(probs, labels, TOLERANCES),
        },
        rounds,
    )
    ms = {k: 1e3 * statistics.median(v) / n_cases for k, v in seconds.items()}
    return [
        f"{n_voxels:,}",
        f"{compile_seconds:.2f}",
        f"{ms['device']:.3f}",
        f"{ms['host']:.3f}",
        f"{ratio(seconds['device'], seconds['host']):.2f}",
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    n_cases, shape, lesions = SIZES[args.size]
    rows = [measure(n_cases, shape, n, args.rounds) for n in lesions]
    header = ["lesion", "first call, s", "device, ms", "host, ms", "device / host"]
    text = "\n".join(
        [
            f"`python -m benchmarks.order --size {args.size}`, {date.today()}, "
            f"{machine()}",
            "",
            f"Six tolerances at once, {'x'.join(map(str, shape))}, ms a case in batches "
            f"of {n_cases}; medians of {args.rounds}.",
            "",
            markdown(header, rows),
        ]
    )
    save("order" if args.size == "full" else "order_tiny", text)


if __name__ == "__main__":
    main()
