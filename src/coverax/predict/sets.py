"""Confidence sets of a new case: a label map, its volumes, its margins."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from coverax.calibrate import Calibration, Status, Threshold
from coverax.choices import Joint, Side
from coverax.predict.masks import RegionMasks, at_or_above, volume_ml
from coverax.scores import (
    Transform,
    View,
    engine_of,
    lone_batch,
    score_maps,
    side_cut,
    side_transforms,
    unpadded,
)

EXCLUDED, UNCERTAIN, CERTAIN = 0, 1, 2
SIDE_SUFFIXES = ("_inner", "_outer")


def side_masks(calibration: Calibration, view: View) -> RegionMasks:
    """Label map of a case: 0 outside the outer set, 2 in the inner one, 1 between.

    A voxel of the inner set off the outer one breaks one of the two promises; it is
    called uncertain and counted.
    """
    transforms = side_transforms(calibration.sets.inner, calibration.sets.outer)
    maps = score_maps_of(calibration, view)
    sets, sides = {}, {}
    found = {
        t.side: calibration.threshold_of(view.region.name, t.side) for t in transforms
    }
    for transform in transforms:
        threshold = found[transform.side]
        cut = side_cut(transform, threshold.value)
        sets[transform.side] = at_or_above(maps[transform.side], cut)
        sides[transform.side] = _describe(transform, threshold)
    status = max(threshold.status for threshold in found.values())
    return label_sets(sets, view, sides, joint=calibration.sets.joint, status=status)


def score_maps_of(calibration: Calibration, view: View) -> dict[Side, np.ndarray]:
    """The score map of each side of a view, flat in storage order."""
    transforms = side_transforms(calibration.sets.inner, calibration.sets.outer)
    definition = calibration.definition
    engine = engine_of(definition, "auto" if definition.engine else "host")
    batch = lone_batch(engine, view, spatial=definition.is_spatial)
    if engine.is_device:
        from coverax.scores.first_use import check_maps_once

        check_maps_once(
            engine, definition, view.region, batch.axes or batch.probs.shape[1]
        )
    maps = score_maps(engine, batch, definition, transforms)
    return {t.side: unpadded(batch, maps[t.side, t.map_spec], 0) for t in transforms}


def label_sets(
    sets: Mapping[Side, np.ndarray],
    view: View,
    described: Mapping[Side, dict[str, Any]],
    *,
    joint: Joint,
    status: Status,
) -> RegionMasks:
    """The label map of an inner and an outer set, and what the sidecar says of them.

    Args:
        sets: Both sets, flat.
        view: Region and geometry.
        described: What each side was cut by.
        joint: How the promises of the two sides hold together.
        status: Whether they do.
    """
    inner, outer = sets["inner"], sets["outer"]
    certain = inner & outer
    labels = np.where(certain, np.uint8(CERTAIN), (inner | outer).astype(np.uint8))
    n_certain = int(np.count_nonzero(certain))
    n_uncertain = int(np.count_nonzero(inner | outer)) - n_certain
    n_outer, n_inner = int(np.count_nonzero(outer)), int(np.count_nonzero(inner))
    entry = {
        "labels": {"excluded": EXCLUDED, "uncertain": UNCERTAIN, "certain": CERTAIN},
        "joint": joint,
        **described,
        "status": status.name,
        "volume_ml": {
            "inner": volume_ml(n_inner, view),
            "outer": volume_ml(n_outer, view),
            "certain": volume_ml(n_certain, view),
            "uncertain": volume_ml(n_uncertain, view),
        },
        "n_contradictory": n_inner - n_certain,
        "whole_volume": n_outer == outer.size,
    }
    files = {"": labels, "_inner": inner, "_outer": outer}
    return RegionMasks(files, CERTAIN, entry)


def _describe(transform: Transform, threshold: Threshold) -> dict[str, Any]:
    """Threshold of a side, and the margin in mm where the transform has one.

    An outer margin grows the predicted mask (its surface, its boxes), an inner one is
    taken off it; a negative one is the other way round.
    """
    finite = bool(np.isfinite(threshold.value))
    described: dict[str, Any] = {
        "transform": transform.spec,
        "tolerance": threshold.tolerance,
        "threshold": {
            "value": threshold.value if finite else None,
            "hex": threshold.value.hex(),
        },
    }
    if transform.kind.unit == "mm":
        described["margin_mm"] = threshold.value if finite else None
    return described
