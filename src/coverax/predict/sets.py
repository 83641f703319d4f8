"""Confidence sets of a new case: a label map, its volumes, its margins."""

from typing import Any

import numpy as np

from coverax.calibrate import Calibration, Threshold
from coverax.predict.masks import RegionMasks, threshold_mask, volume_ml
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
    transforms = side_transforms(
        calibration.options["inner"], calibration.options["outer"]
    )
    definition = calibration.definition
    engine = engine_of(definition, "auto" if definition.engine else "host")
    batch = lone_batch(engine, view, spatial=definition.is_spatial)
    maps = score_maps(engine, batch, definition, transforms)
    sets, sides = {}, {}
    for transform in transforms:
        threshold = calibration.threshold_of(view.region.name, transform.side)
        values = unpadded(batch, maps[transform.side, transform.map_spec], 0)
        cut = side_cut(transform, threshold.value)
        sets[transform.side] = threshold_mask(values, float(cut))
        sides[transform.side] = _describe(transform, threshold)
    inner, outer = sets["inner"], sets["outer"]
    certain = inner & outer
    labels = np.where(certain, np.uint8(CERTAIN), (inner | outer).astype(np.uint8))
    n_certain = int(np.count_nonzero(certain))
    n_uncertain = int(np.count_nonzero(inner | outer)) - n_certain
    n_outer, n_inner = int(np.count_nonzero(outer)), int(np.count_nonzero(inner))
    entry = {
        "labels": {"excluded": EXCLUDED, "uncertain": UNCERTAIN, "certain": CERTAIN},
        "joint": calibration.options["joint"],
        **sides,
        "status": max(
            calibration.threshold_of(view.region.name, side).status for side in sets
        ).name,
        "volume_ml": {
            "inner": volume_ml(n_inner, view),
            "outer": volume_ml(n_outer, view),
            "certain": volume_ml(n_certain, view),
            "uncertain": volume_ml(n_uncertain, view),
        },
        "n_contradictory": n_inner - n_certain,
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
