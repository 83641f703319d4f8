"""The one program of a batch beside the sum of its parts.

    python -m benchmarks.program [--size tiny|full] [--rounds 5]

Full size: a batch of 8 maps of 64x128x128; three tolerances, 20 bins, proper scores,
1,024 cuts, inner and outer scores of the map and of its signed distance. `transfers` is
with the batch copied from host memory each time (once for the program, once a part),
`resident` with it on the device. Answers are compared before anything is timed; compile
time stands apart. One minute on two cores; made for an accelerator.
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
from coverax import kernels
from coverax.kernels import SetScore

SIZES = {"tiny": (2, (8, 16, 16), 100), "full": (8, (64, 128, 128), 5_000)}
TOLERANCES = (0.05, 0.1, 0.2)
N_BINS, N_CUTS, CUT = 20, 1024, 0.5
SETS = tuple(SetScore(s, m) for s in ("inner", "outer") for m in (None, "distance"))


def distance_map(probs, spacing_mm, _inside, _given):
    return {"distance": kernels.signed_distance(probs >= CUT, spacing_mm)}


def program(probs, labels, spacing):
    return kernels.score_batch(
        probs,
        labels,
        TOLERANCES,
        n_bins=N_BINS,
        n_cuts=N_CUTS,
        sets=SETS,
        maps_fn=distance_map,
        spacing_mm=spacing,
    )


def parts(probs, labels, spacing):
    """Each kernel by itself, as one would call it; a NumPy input is copied for each."""
    flat, mask = (a.reshape(len(a), -1) for a in (probs, labels))
    distance = kernels.signed_distance(probs >= CUT, spacing).reshape(flat.shape)
    return (
        kernels.sizes(mask),
        kernels.critical_probability(probs, labels, TOLERANCES),
        kernels.bin_statistics(probs, labels, N_BINS),
        kernels.proper_scores(probs, labels),
        kernels.grid_counts(flat, mask, N_CUTS),
        kernels.extreme_scores(flat, flat, mask),
        kernels.extreme_scores(distance, distance, mask),
    )


def compare(found, alone):
    for name, part in zip(
        ("sizes", "critical_probability", "bins", "proper", "grid"), alone, strict=False
    ):
        pairs = zip(*map(jax.tree.leaves, (getattr(found, name), part)), strict=True)
        for a, b in pairs:
            if name == "proper":
                np.testing.assert_allclose(a, b, rtol=1e-6)
            else:
                np.testing.assert_array_equal(a, b)
    identity, distance = alone[5:]
    want = (identity[0], distance[0], identity[1], distance[1])
    for a, b in zip(found.set_scores, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    n_cases, shape, n_voxels = SIZES[args.size]
    rng = np.random.default_rng(0)
    cases = [synthetic.case(shape, n_voxels, rng) for _ in range(n_cases)]
    probs, labels = (np.stack(arrays) for arrays in zip(*cases, strict=True))
    spacing = np.ones((n_cases, 3), np.float32)
    inputs = {
        "transfers": (probs, labels, spacing),
        "resident": tuple(map(jnp.asarray, (probs, labels, spacing))),
    }
    first = {}
    for name, fn in (("program", program), ("parts", parts)):
        start = time.perf_counter()
        first[name] = jax.block_until_ready(fn(*inputs["resident"]))
        print(f"first call, with compiling: {name} {time.perf_counter() - start:.1f} s")
    compare(first["program"], first["parts"])
    rows = []
    for where, arrays in inputs.items():

        def run(fn, arrays=arrays):
            return lambda: jax.block_until_ready(fn(*arrays))

        seconds = interleaved(
            {"program": run(program), "parts": run(parts)}, args.rounds
        )
        ms = {k: f"{statistics.median(v) * 1e3:.0f}" for k, v in seconds.items()}
        times = ratio(seconds["parts"], seconds["program"])
        rows.append([where, ms["program"], ms["parts"], f"{times:.2f}"])
    text = "\n\n".join(
        [
            "# One program a batch",
            f"{date.today()}, {machine()}; `python -m benchmarks.program --size "
            f"{args.size} --rounds {args.rounds}`; {n_cases} maps of "
            f"{'x'.join(map(str, shape))}.",
            markdown(["batch", "program, ms", "parts, ms", "parts / program"], rows),
        ]
    )
    save("program" if args.size == "full" else "program_tiny", text)


if __name__ == "__main__":
    main()
