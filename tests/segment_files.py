"""`.seg.nrrd` as 3D Slicer writes it: layers, segments by name, cropped extents."""

import gzip

import numpy as np

from tests.nnunet_files import sitk_stuff


def write_segments(path, layers, segments, affine, *, first=(0, 0, 0), keys=None):
    """Write `[layer, x, y, z]` whose first voxel is voxel `first` of the affine's grid.

    Segments are (name, layer, label); `keys` further lines of the header.
    """
    layers = np.asarray(layers, np.uint8)
    placed = affine.copy()
    placed[:3, 3] = (affine @ [*first, 1])[:3]
    stuff = sitk_stuff(placed)
    axes = (np.array(stuff["direction"]).reshape(3, 3) * stuff["spacing"]).T
    vectors = " ".join(f"({','.join(map(repr, axis))})" for axis in axes.tolist())
    several = len(layers) > 1
    lines = [
        "NRRD0004",
        "type: unsigned char",
        f"dimension: {3 + several}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, layers.shape[not several :]))}",
        f"space directions: {'none ' * several}{vectors}",
        f"kinds: {'list ' * several}domain domain domain",
        "encoding: gzip",
        f"space origin: ({','.join(map(repr, stuff['origin']))})",
    ]
    for i, (name, layer, label) in enumerate(segments):
        lines += [f"Segment{i}_ID:=Segment_{i + 1}", f"Segment{i}_Name:={name}"]
        if layer is not None:
            lines += [f"Segment{i}_Layer:={layer}", f"Segment{i}_LabelValue:={label}"]
    lines += [f"{key}:={value}" for key, value in (keys or {}).items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    header = "\n".join(lines).encode() + b"\n\n"
    path.write_bytes(header + gzip.compress(layers.tobytes(order="F")))
