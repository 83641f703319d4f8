"""What counts of voxels do not tell of a mask: its lesions, and how far its surface is.

Computed on the host whatever the engine, so that both say the same.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from coverax import host
from coverax.choices import Neighbours
from coverax.scores.batch import View
from coverax.scores.lesions import view_peaks


def mask_shapes(
    view: View,
    masks: Sequence[np.ndarray],
    neighbours: Neighbours | None,
    nsd_tolerance_mm: float | None = None,
) -> dict[str, Any]:
    """Lesions and surface distances of masks of a view.

    Args:
        view: The view; its map is not looked at.
        masks: Masks, flat as the view is. Equal arrays are measured once.
        neighbours: How voxels of a lesion connect; None where none are counted.
        nsd_tolerance_mm: Distance within which surfaces agree; None for no distances.

    Returns:
        `n_lesions`, and an array `[masks]` of each of `n_lesions_hit`, `n_components`,
        `n_false_components`; and of `hd95_mm`, `assd_mm` and `nsd`, where asked for.

    Raises:
        ValueError: The view has no grid, or one that gives no distances in mm.
    """
    if neighbours is None and nsd_tolerance_mm is None:
        return {}
    found = [_of_mask(view, mask, neighbours, nsd_tolerance_mm) for mask in masks]
    out: dict[str, Any] = {
        name: np.array([one[name] for one in found]) for name in found[0]
    }
    if neighbours is not None:
        out["n_lesions"] = out["n_lesions"][0]
    return out


def _of_mask(
    view: View,
    mask: np.ndarray,
    neighbours: Neighbours | None,
    nsd_tolerance_mm: float | None,
) -> dict[str, Any]:
    if view.grid is None:
        raise ValueError("lesions and distances need the grid of the voxels")
    shape = view.grid.shape[::-1]
    box, labels = mask.reshape(shape), view.labels.reshape(shape)
    valid = None if view.valid is None else view.valid.reshape(shape)
    out: dict[str, Any] = {}
    if neighbours is not None:
        peaks = view_peaks(view._replace(probs=mask.astype(np.float32)), neighbours)
        counts = host.count_components(box, labels, neighbours, valid=valid)
        out = {
            "n_lesions": peaks.size,
            "n_lesions_hit": int(np.count_nonzero(peaks)),
            "n_components": counts.n,
            "n_false_components": counts.n_false,
        }
    if nsd_tolerance_mm is not None:
        spacing = view.grid.spacing_mm[::-1]
        gaps = host.surface_distances(box, labels, spacing, valid=valid)
        out["hd95_mm"], out["assd_mm"] = gaps.hd95, gaps.assd
        out["nsd"] = gaps.within(nsd_tolerance_mm)
    return out
