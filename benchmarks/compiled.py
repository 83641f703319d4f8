"""What the kernels become when compiled for a GPU, on a machine without one.

    python -m benchmarks.compiled CONFIG [--save NAME] [--size tiny]

CONFIG describes the GPU, as XLA writes its target configuration. It needs the plugin of
`jax[cuda13]` of the jax in use, and no driver. What it shows: temporaries against the
arguments, passes, loops, scatters and sorts. What it does not show: time.
"""

import argparse
import os
import re
from datetime import date
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("XLA_FLAGS", "--xla_gpu_autotune_level=0")

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from benchmarks.common import machine, markdown, save
from coverax import kernels

SHAPES = {"full": (1, 512, 512, 300), "tiny": (1, 64, 64, 32)}
FIVE = (0.1, 0.2, 0.05, 0.01, 0.3)
SETS = (kernels.SetScore("inner"), kernels.SetScore("outer"))
KERNELS = {
    "`bin_statistics`, 20 bins": lambda p, y: kernels.bin_statistics(p, y, 20),
    "`soft_bin_statistics`, 20 bins": lambda p, y: kernels.soft_bin_statistics(
        p, y, 20
    ),
    "`proper_scores`": kernels.proper_scores,
    "`critical_probability`, 1 tolerance": lambda p, y: kernels.critical_probability(
        p, y, FIVE[:1]
    ),
    "`critical_probability`, 5 tolerances": lambda p, y: kernels.critical_probability(
        p, y, FIVE
    ),
    "`grid_counts`, 1024 cuts": lambda p, y: kernels.grid_counts(
        p.reshape(1, -1), y.reshape(1, -1), 1024
    ),
    "`score_batch`, as scored": kernels.score_batch,
    "`score_batch`, every column": lambda p, y: kernels.score_batch(
        p, y, FIVE, n_soft_bins=20, n_cuts=1024, sets=SETS
    ),
    "`signed_distance`, of a mask": lambda _, y: kernels.signed_distance(y, SPACING_MM),
    "`surface_distance`": lambda p, _: kernels.surface_distance(p, 0.5, SPACING_MM),
}
SPACING_MM = (1.0, 1.5, 2.0)
COUNTED = ("fusion", "custom-call", "while", "scatter", "sort")
TRIPS = re.compile(r'known_trip_count":\{"n":"(\d+)"\}')


def sharding(config: Path) -> NamedSharding:
    """On one device of the described, absent machine."""
    described = topologies.get_topology_desc(
        "gpu", "cuda", target_config=config.read_text(), topology="1x1x1"
    )
    return NamedSharding(Mesh(np.array(described.devices[:1]), "d"), PartitionSpec())


def row(name: str, place: NamedSharding, shape: tuple[int, ...]) -> list[str]:
    """Temporaries as a share of the arguments, and operations of the program."""
    arguments = [
        jax.ShapeDtypeStruct(shape, dtype, sharding=place)
        for dtype in (np.float32, np.bool_)
    ]
    compiled = jax.jit(KERNELS[name]).lower(*arguments).compile()
    memory, text = compiled.memory_analysis(), compiled.as_text()
    share = memory.temp_size_in_bytes / memory.argument_size_in_bytes
    found = [len(re.findall(rf"= [^=]*? {kind}\(", text)) for kind in COUNTED]
    trips = TRIPS.findall(text)
    counts = [str(n) for n in found]
    counts[COUNTED.index("while")] += f" ({', '.join(trips)})" if trips else ""
    return [name, f"{share:.2f}", *counts]


def main() -> None:
    """Print the table; keep it under a name."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--save", default="compiled")
    parser.add_argument("--size", choices=SHAPES, default="full")
    given = parser.parse_args()
    place, shape = sharding(given.config), SHAPES[given.size]
    header = ["kernel", "temporaries / arguments", "fusions", "programs in tiles"]
    header += ["loops (trips)", "scatters", "sorts"]
    text = "\n\n".join(
        [
            f"# Compiled for {given.config.stem}",
            f"`python -m benchmarks.compiled CONFIG --save {given.save}`, {date.today()}",
            machine(),
            f"One map of {' x '.join(map(str, shape[1:]))} and its reference.",
            markdown(header, [row(name, place, shape) for name in KERNELS]),
        ]
    )
    save(given.save, text, whole=given.size == "full")


if __name__ == "__main__":
    main()
