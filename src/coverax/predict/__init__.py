"""Calibrated thresholds to masks to files."""

from coverax.exports import exported
from coverax.predict.apply import CasePrediction as CasePrediction
from coverax.predict.apply import RegionPrediction as RegionPrediction
from coverax.predict.apply import apply as apply
from coverax.predict.changes import visits_of as visits_of
from coverax.predict.folds import check_folds as check_folds
from coverax.predict.folds import fold_masks as fold_masks
from coverax.predict.folds import predict_folds as predict_folds
from coverax.predict.map_kind import check_first_mark as check_first_mark
from coverax.predict.map_kind import check_map_kind as check_map_kind
from coverax.predict.masks import threshold_mask as threshold_mask
from coverax.predict.merge import merged_labels as merged_labels
from coverax.predict.segmenter import ConformalSegmenter as ConformalSegmenter
from coverax.predict.strata import group_of_map as group_of_map
from coverax.predict.triage import cohort_confidences as cohort_confidences
from coverax.predict.triage import confidence_column as confidence_column
from coverax.predict.triage import triage_of as triage_of
from coverax.predict.triage import verdict as verdict
from coverax.predict.volumes import interval_of as interval_of
from coverax.predict.volumes import map_counts as map_counts
from coverax.predict.volumes import voxel_ml_of as voxel_ml_of
from coverax.predict.write import Predicted as Predicted
from coverax.predict.write import count_finished as count_finished
from coverax.predict.write import predict_folder as predict_folder
from coverax.predict.write import several_maps as several_maps

__all__, __dir__ = exported(globals())
