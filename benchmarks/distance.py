"""Signed distances: SciPy, the host path and the device kernel, same answer first.

    python -m benchmarks.distance [--size tiny|full|huge] [--rounds 3]

Full size: 64x128x128 and 256x256x256, anisotropic, two minutes on two cores; `huge`
adds 512x512x300. SciPy needs two transforms for a signed distance, the host path one.
"""

import argparse
import statistics
import time
from datetime import date

import jax
import jax.numpy as jnp
import numpy as np
from scipy.ndimage import distance_transform_edt
from tests import synthetic

from benchmarks.common import interleaved, machine, markdown, ratio, save
from coverax import host, kernels
from coverax.stream import default_threads

SPACING = (0.7, 0.8, 2.5)
SHAPES = {
    "tiny": [(12, 16, 20)],
    "full": [(64, 128, 128), (256, 256, 256)],
    "huge": [(64, 128, 128), (256, 256, 256), (512, 512, 300)],
}
PASSES = 3  # a separable transform reads and writes the volume once an axis


def scipy_distance(mask):
    inside = distance_transform_edt(mask, sampling=SPACING)
    return np.where(mask, inside, -distance_transform_edt(~mask, sampling=SPACING))


def measure(shape, rounds):
    rng = np.random.default_rng(0)
    mask = synthetic.lesion_mask(shape, max(20, int(0.01 * np.prod(shape))), rng)
    on_device = jnp.asarray(mask[None])
    spacing = np.array([SPACING], np.float32)
    start = time.perf_counter()
    found = jax.block_until_ready(kernels.signed_distance(on_device, spacing))
    compile_seconds = time.perf_counter() - start
    wanted = scipy_distance(mask)
    threads = default_threads()
    on_host = host.signed_distance(mask[None], SPACING, threads=threads)
    for other in (found, on_host):
        np.testing.assert_allclose(np.asarray(other)[0], wanted, atol=1e-4)
    seconds = interleaved(
        {
            "scipy": lambda: scipy_distance(mask),
            "host": lambda: host.signed_distance(mask[None], SPACING, threads=threads),
            "host, one thread": lambda: host.signed_distance(mask[None], SPACING),
            "device": lambda: jax.block_until_ready(
                kernels.signed_distance(on_device, spacing)
            ),
        },
        rounds,
    )
    ms = {k: 1e3 * statistics.median(v) for k, v in seconds.items()}
    from coverax.kernels.distance import _signed_distance

    memory = _signed_distance.lower(on_device, spacing, None).compile()
    temporary = memory.memory_analysis().temp_size_in_bytes / mask.size
    moved = PASSES * 8 * mask.size / (ms["device"] / 1e3) / 1e9
    return [
        "x".join(map(str, shape)),
        *(f"{ms[name]:,.1f}" for name in seconds),
        f"{ratio(seconds['scipy'], seconds['host']):.1f}",
        f"{ratio(seconds['scipy'], seconds['device']):.1f}",
        f"{compile_seconds:.1f}",
        f"{temporary:.1f}",
        f"{moved:.2f}",
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SHAPES, default="full")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    rows = [measure(shape, args.rounds) for shape in SHAPES[args.size]]
    header = [
        "mask",
        "SciPy, ms",
        f"host ({default_threads()} threads), ms",
        "host (1 thread), ms",
        "device, ms",
        "SciPy / host",
        "SciPy / device",
        "first call, s",
        "device temporaries, bytes a voxel",
        "device, GB/s of the ideal 24 bytes a voxel",
    ]
    text = "\n".join(
        [
            f"`python -m benchmarks.distance --size {args.size}`, {date.today()}, "
            f"{machine()}",
            "",
            "Signed distance of one mask (a lesion of 1 % of the volume), spacing "
            f"{SPACING} mm; all agree to 1e-4 mm; medians of {args.rounds}, taken in "
            "turn.",
            "",
            markdown(header, rows),
        ]
    )
    save("distance_tiny" if args.size == "tiny" else "distance", text)


if __name__ == "__main__":
    main()
