"""What a step of training becomes when compiled for a GPU, on a machine without one.

    python -m benchmarks.compiled_train CONFIG [--save NAME] [--size tiny] [--dump DIR]

CONFIG and the plugin are those of `benchmarks.compiled`. A row is a net and a type of
number; the step is that of a run, with augmentation, loss, gradients and optimiser. A
kernel counts as often as its loop runs. A transpose, copy, concatenation or other change
of place is a kernel that computes nothing beside a change of type; bytes are what
kernels read and write. Time is not shown.
"""

import argparse
import math
import re
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from benchmarks.compiled import TRIPS, sharding  # first: it chooses the platform

# isort: split
import jax
from jax.sharding import NamedSharding, PartitionSpec

from benchmarks.common import machine, markdown, save
from coverax.train.augment import augment
from coverax.train.config import TrainConfig, parse_config
from coverax.train.dry_run import made_up_batch
from coverax.train.model import build_model
from coverax.train.optimiser import make_optimiser
from coverax.train.step import TrainState, device_mesh, make_step

NETS = ("unet3d-small", "unet3d-strided")
TYPES = ("float32", "bfloat16")
SIDE = {"tiny": 16, "full": 64}
MIB = 2**20

OP = re.compile(
    r"^\s+(?P<root>ROOT )?%(?P<name>\S+) = (?P<shape>\([^()]*\)|\S+) "
    r"(?P<kind>[a-z][\w-]*)\((?P<rest>.*)"
)
ARRAY = re.compile(r"\b(?:pred|[a-z]+(\d+)\w*)\[([\d,]*)\]")
# These launch nothing: they are names of memory that is there.
NAMES = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element", "while"}
NAMES |= {"call", "conditional", "after-all", "copy-done", "partition-id", "iota"}
MOVES = {"transpose", "copy", "concatenate", "slice", "pad", "reverse", "reshape"}
MOVES |= {"dynamic-slice", "dynamic-update-slice", "gather", "broadcast"}
IDLE = {"parameter", "constant", "bitcast", "tuple", "get-tuple-element", "convert"}


class Op(NamedTuple):
    """A line of the program: what it makes, of which kind, and the rest of it."""

    name: str
    shape: str
    kind: str
    rest: str

    def attribute(self, name: str) -> str:
        """Of the line, as written; empty without it."""
        found = re.search(rf"\b{name}=[{{\"%]*([\w.$>-]+)", self.rest)
        return found[1] if found else ""


class Kernel(NamedTuple):
    """What is launched: how often, which kinds of operation it does, bytes a launch."""

    op: Op
    trips: int
    kinds: frozenset[str]
    n_bytes: int

    @property
    def move(self) -> str | None:
        """The change of place that it is, or None where it computes."""
        if self.op.kind == "custom-call" or self.kinds - MOVES - IDLE:
            return None
        for kind in ("transpose", "concatenate"):
            if kind in self.kinds:
                return kind
        return "copy" if "copy" in self.kinds or self.op.kind == "copy" else "other"


def computations(text: str) -> dict[str, list[Op]]:
    """Operations of each computation by its name; the program itself is `ENTRY`."""
    found: dict[str, list[Op]] = {}
    for line in text.splitlines():
        if line and not line[0].isspace() and line.endswith("{"):
            first = line.split()[0]
            name = "ENTRY" if first == "ENTRY" else first.lstrip("%")
            found[name] = []
        elif found and (op := OP.match(re.sub(r"/\*.*?\*/", "", line))):
            found[name].append(Op(op["name"], op["shape"], op["kind"], op["rest"]))
    return found


def kernels(
    program: dict[str, list[Op]], name: str = "ENTRY", trips: int = 1
) -> Iterator[Kernel]:
    """Of a computation and of those that it calls."""
    shapes = {op.name: op.shape for op in program[name]}
    for op in program[name]:
        if op.kind == "while":
            known = TRIPS.search(op.rest)
            times = trips * int(known[1]) if known else trips
            yield from kernels(program, op.attribute("body"), times)
        elif op.kind == "call":
            yield from kernels(program, op.attribute("to_apply"), trips)
        elif op.kind not in NAMES:
            inside = program.get(op.attribute("calls"), [op])
            operands = re.findall(r"%([\w.\-]+)", op.rest.split("), ")[0])
            read = [shapes[operand] for operand in operands if operand in shapes]
            n_bytes = sum(map(size, (*read, op.shape)))
            yield Kernel(op, trips, frozenset(o.kind for o in inside), n_bytes)


def size(shape: str) -> int:
    """Bytes of an array or a tuple of arrays."""
    total = 0
    for digits, sides in ARRAY.findall(shape):
        bits = int(digits or 8)  # a truth takes a byte
        total += math.prod(int(side) for side in sides.split(",") if side) * bits // 8
    return total


def config_of(net: str, dtype: str, side: int) -> TrainConfig:
    """Two patches of a cube, three classes."""
    raw = {
        "data": {"images": "i", "labels": "l"}
        | {"classes": {"background": 0, "anterior": 1, "posterior": 2}},
        "net": {"preset": net, "compute": dtype},
        "patch": {"size": [side] * 3, "batch": 2},
    }
    return parse_config(raw, Path())


def compiled_step(config: TrainConfig, place: NamedSharding):
    """The step of a run, compiled for the described device."""
    mesh = device_mesh(config.patch.batch, list(place.device_set))
    with patch("jax.default_backend", lambda: "gpu"):
        model = build_model(config)
        optimiser = make_optimiser(config.optimiser, config.run.steps)

        def started():
            params = model.start(0)
            return TrainState(jax.numpy.int32(0), params, optimiser.init(params), None)

        def placed(tree, spec):
            there = NamedSharding(mesh, spec)
            return jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=there), tree
            )

        state = placed(jax.eval_shape(started), PartitionSpec())
        batch = placed(made_up_batch(config), PartitionSpec(*mesh.axis_names))
        return make_step(model, config, mesh, augment).lower(state, batch).compile()


def row(name: str, found: list[Kernel], temporaries: int) -> list[str]:
    """Temporaries, launches and bytes of each kind, layouts of the convolutions."""
    count, moved, layouts = Counter(), Counter(), set()
    for kernel in found:
        kinds = ["all", kernel.move]
        if "cudnn$conv" in kernel.op.attribute("custom_call_target"):
            kinds.append("convolution")
            layouts.add(kernel.op.attribute("dim_labels"))
        for kind in kinds:
            count[kind] += kernel.trips
            moved[kind] += kernel.trips * kernel.n_bytes
    kinds = ("all", "convolution", "transpose", "copy", "concatenate", "other")
    cells = [f"{count[kind]}: {moved[kind] / MIB:.0f}" for kind in kinds]
    return [name, f"{temporaries / MIB:.0f}", *cells, ", ".join(sorted(layouts))]


def main() -> None:
    """Print the table; keep it under a name."""
    parser = argparse.ArgumentParser(description="Compile a step for a GPU.")
    parser.add_argument("config", type=Path)
    parser.add_argument("--save", default="compiled_train")
    parser.add_argument("--size", choices=SIDE, default="full")
    parser.add_argument("--dump", type=Path, help="folder for the programs")
    given = parser.parse_args()
    place, side, rows = sharding(given.config), SIDE[given.size], []
    for net in NETS:
        for dtype in TYPES:
            step = compiled_step(config_of(net, dtype, side), place)
            text = step.as_text() or ""
            if given.dump:
                (given.dump / f"{net}_{dtype}.txt").write_text(text)
            found = list(kernels(computations(text)))
            temporaries = step.memory_analysis().temp_size_in_bytes
            rows.append(row(f"{net}, {dtype}", found, temporaries))
    header = ["step", "temporaries", "all kernels", "convolutions", "transposes"]
    header += ["copies", "concatenations", "other moves", "layouts of convolutions"]
    text = "\n\n".join(
        [
            f"# A step of training, compiled for {given.config.stem}",
            f"`python -m benchmarks.compiled_train CONFIG --save {given.save}`, "
            f"{date.today()}",
            machine(),
            f"Two patches of {side}^3, 3 classes. Temporaries in MiB; kernels as "
            "launches: MiB read and written.",
            markdown(header, rows),
        ]
    )
    save(given.save, text, whole=given.size == "full")


if __name__ == "__main__":
    main()
