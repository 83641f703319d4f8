"""Components of a map at every cut at once, from one spanning forest.

Components of `{probs >= cut}` are born, merge and touch the reference as the cut falls.
Two neighbours are in one component at every cut up to the smaller of their values, so the
edges of a maximum spanning forest of the lattice tell all: a mask has as many components
as voxels less edges. With the reference as one further node, joined to each of its voxels,
what it does not reach is false. Nothing is labelled twice.
"""

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree

from coverax.checks import takes_numpy
from coverax.choices import Neighbours
from coverax.engine.results import ComponentEvents
from coverax.host.components import check_masks

_REACH: dict[Neighbours, int] = {"face": 1, "edge": 2, "corner": 3}


@takes_numpy
def component_events(
    probs: Float[np.ndarray, "*spatial"],
    mask: Bool[np.ndarray, "*spatial"],
    neighbours: Neighbours,
    *,
    floor: float = 0.0,
    valid: Bool[np.ndarray, "*spatial"] | None = None,
) -> ComponentEvents:
    """Count the components of `{probs >= cut}`, and the false ones, for every cut.

    Args:
        probs: The map.
        mask: The reference.
        neighbours: Voxels that belong together share at least a face, an edge or a
            corner (6, 18 or 26 neighbours; 4, 8 or 8 in 2-D).
        floor: Voxels below it are in no mask: most of a map, and most of the work.
        valid: Voxels that count; the others belong to neither.

    Raises:
        ValueError: The shapes differ, or have not 2 or 3 axes.
    """
    if probs.ndim not in (2, 3):
        raise ValueError(f"probs has shape {probs.shape}: lesions need 2 or 3 axes")
    check_masks(probs, mask, valid)
    above = probs >= np.float32(floor)
    inside = above if valid is None else above & valid
    values, level = np.unique(probs[inside], return_inverse=True)
    if not values.size:
        nothing = np.zeros(0, np.int64)
        return ComponentEvents(values, nothing, nothing)
    depth = values.size - level  # 1 where the map is largest: no edge weighs 0
    forest = _forest(inside, depth, neighbours)
    touched = np.flatnonzero(mask[inside])
    reference = np.full(touched.size, depth.size)
    joined = _spanned(forest, touched, reference, depth[touched], depth.size + 1)
    n_voxels = np.cumsum(np.bincount(depth, minlength=values.size + 1)[1:])
    n, n_false = (
        (n_voxels - _edges(edges, values.size))[::-1] for edges in (forest, joined)
    )
    changes = np.append(np.diff(n) != 0, True) | np.append(np.diff(n_false) != 0, True)
    return ComponentEvents(
        values[changes] + np.float32(0), n[changes], n_false[changes]
    )


class _Edges(NamedTuple):
    start: np.ndarray
    end: np.ndarray
    depth: np.ndarray


def _forest(inside, depth, neighbours):
    """Edges of a spanning forest that joins neighbours as high up as it can."""
    number = np.full(inside.shape, -1, np.int32)
    number[inside] = np.arange(depth.size, dtype=np.int32)
    none = np.zeros(0, np.int32)
    forest = _Edges(none, none, none)
    for step in _steps(inside.ndim, neighbours):
        low = tuple(slice(max(0, -s), min(0, -s) or None) for s in step)
        high = tuple(slice(max(0, s), min(0, s) or None) for s in step)
        start, end = number[low].ravel(), number[high].ravel()
        both = (start >= 0) & (end >= 0)
        start, end = start[both], end[both]
        deeper = np.maximum(depth[start], depth[end])
        # Direction by direction: never more than two edges a voxel at once.
        forest = _spanned(forest, start, end, deeper, depth.size)
    return forest


def _steps(ndim, neighbours):
    """Half of the directions to the neighbours of a voxel."""
    every = itertools.product((-1, 0, 1), repeat=ndim)
    reach = min(_REACH[neighbours], ndim)
    return [s for s in every if s > (0,) * ndim and np.abs(s).sum() <= reach]


def _spanned(forest, start, end, depth, n_nodes):
    """The spanning forest of a forest and further edges."""
    edges = [
        np.concatenate(pair) for pair in zip(forest, (start, end, depth), strict=True)
    ]
    if not edges[0].size:
        return _Edges(*edges)
    graph = coo_array(
        (edges[2].astype(np.float64), (edges[0], edges[1])), (n_nodes,) * 2
    )
    tree = minimum_spanning_tree(graph.tocsr()).tocoo()
    start, end = tree.coords
    return _Edges(start, end, tree.data.astype(np.int64))


def _edges(edges, n_levels):
    """Edges down to each depth."""
    return np.cumsum(np.bincount(edges.depth, minlength=n_levels + 1)[1:])
