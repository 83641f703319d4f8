"""Boxes around connected components, and how deep a voxel lies in one of them."""

import cc3d
import numpy as np
from jaxtyping import Bool, Float, Int

from coverax.checks import takes_numpy
from coverax.engine.spacing import Spacing, batched_spacing
from coverax.host.components import components


@takes_numpy
def component_boxes(
    mask: Bool[np.ndarray, "*spatial"],
) -> Int[np.ndarray, "boxes axes 2"]:
    """First and last index of every component's box along each axis.

    Components touch by a corner (26 neighbours, 8 in 2-D). A box within another one is
    left out.

    Raises:
        ValueError: The mask has not 2 or 3 axes.
    """
    labels = components(mask, "corner")
    n = int(labels.max())
    sides = cc3d.statistics(labels)["bounding_boxes"][1 : n + 1]
    spans = [[(side.start, side.stop - 1) for side in box] for box in sides]
    boxes = np.unique(np.array(spans, np.int64).reshape(n, mask.ndim, 2), axis=0)
    low, high = boxes[:, None, :, 0], boxes[:, None, :, 1]
    holders = ((low >= boxes[:, :, 0]) & (high <= boxes[:, :, 1])).all(axis=2)
    return boxes[holders.sum(axis=1) == 1]  # a box always holds itself


@takes_numpy
def box_distance(
    mask: Bool[np.ndarray, "batch *spatial"], spacing_mm: Spacing
) -> Float[np.ndarray, "batch *spatial"]:
    """Signed chessboard distance in mm to the boxes of each mask's components.

    Outside, minus the largest gap to the nearest box over the axes; inside, how far the
    nearest side of a box is, of the box where that is farthest. `{distance >= -margin}`
    is every box grown by `margin` on all sides. `-inf` for an empty mask.
    """
    spacing = batched_spacing(spacing_mm, mask.shape)
    out = np.full(mask.shape, -np.inf, np.float32)
    for i, one in enumerate(mask):
        for box in component_boxes(one):
            np.maximum(out[i], _depth(one.shape, box, spacing[i]), out=out[i])
    return out


def _depth(shape, box, spacing_mm):
    """Signed distance to one box: the least over axes of a distance along the axis."""
    depth = np.float32(np.inf)
    for axis, n in enumerate(shape):
        index = np.arange(n)
        low, high = box[axis]
        inside = np.minimum(index - low, high - index)
        # The nearest voxel outside is one step beyond the last one inside.
        along = np.where(inside >= 0, inside + 1, inside) * spacing_mm[axis]
        sides = [n if a == axis else 1 for a in range(len(shape))]
        depth = np.minimum(depth, along.astype(np.float32).reshape(sides))
    return depth
