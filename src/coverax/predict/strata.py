"""Which group the map of a new case is of, where its own map tells."""

import numpy as np

from coverax.calibrate import Calibration
from coverax.predict.volumes import map_counts, voxel_ml_of
from coverax.scores import View


def group_of_map(calibration: Calibration, view: View) -> str | None:
    """Bin of a map, as a table has it; None where maps tell no group.

    Raises:
        ValueError: The group is by volume, and the map has no size of voxels in mm.
    """
    strata = calibration.parts.strata
    if strata is None:
        return None
    in_ml = strata.feature == "predicted_volume"
    voxel_ml = np.array([voxel_ml_of(view) if in_ml else np.nan])
    columns = map_counts(calibration, view)
    return str(strata.groups(view.region.name, columns, voxel_ml)[0])
