"""Views of cases: what families and metrics compute on."""

from typing import Any, NamedTuple

import numpy as np

from coverax.volumes import Grid, Region


class View(NamedTuple):
    """One region of one case, flat in storage order (the first axis runs fastest).

    Attributes:
        region: The structure.
        probs: float32 probabilities, `[voxels]`.
        labels: Reference mask, `[voxels]`.
        valid: Voxels that count; None means all.
        grid: Shape and spacing; None for arrays in memory without geometry.
    """

    region: Region
    probs: np.ndarray
    labels: np.ndarray
    valid: np.ndarray | None
    grid: Grid | None


class ViewBatch(NamedTuple):
    """Views computed together: one on the host, a padded bucket on the device.

    Attributes:
        probs: `[batch, voxels]`.
        labels: `[batch, voxels]`.
        valid: `[batch, voxels]`, False in padding; None where every voxel counts.
        views: The views in the first slots; the slots behind them are padding.
    """

    probs: np.ndarray
    labels: np.ndarray
    valid: np.ndarray | None
    views: list[View]


class Loaded(NamedTuple):
    """A case in memory: facts that hold for all its views, and the views."""

    facts: dict[str, Any]
    views: list[View]


class CaseRows(NamedTuple):
    """Facts of a case, and one row of columns per view, with its region."""

    facts: dict[str, Any]
    rows: list[tuple[Region, dict[str, Any]]]
