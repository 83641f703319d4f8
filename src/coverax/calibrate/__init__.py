"""Pure functions over score tables: ranks, thresholds, guarantees."""

from coverax.calibrate import bounds as bounds
from coverax.calibrate.controlled import calibrate_crc as calibrate_crc
from coverax.calibrate.controlled import calibrate_ltt as calibrate_ltt
from coverax.calibrate.controlled import calibrate_rcps as calibrate_rcps
from coverax.calibrate.features import map_features as map_features
from coverax.calibrate.features import map_histograms as map_histograms
from coverax.calibrate.fnr import calibrate_fnr as calibrate_fnr
from coverax.calibrate.groups import MERGED as MERGED
from coverax.calibrate.groups import group_parts as group_parts
from coverax.calibrate.groups import group_thresholds as group_thresholds
from coverax.calibrate.hierarchical import (
    hierarchical_threshold as hierarchical_threshold,
)
from coverax.calibrate.laws import compliance_band as compliance_band
from coverax.calibrate.laws import compliance_pmf as compliance_pmf
from coverax.calibrate.laws import coverage_quantiles as coverage_quantiles
from coverax.calibrate.learn import LearnedSets as LearnedSets
from coverax.calibrate.learn import learn_sets as learn_sets
from coverax.calibrate.learn import read_learned as read_learned
from coverax.calibrate.losses import LOSSES as LOSSES
from coverax.calibrate.losses import Counts as Counts
from coverax.calibrate.losses import Loss as Loss
from coverax.calibrate.losses import LossCurves as LossCurves
from coverax.calibrate.losses import read_loss_curves as read_loss_curves
from coverax.calibrate.ltt import CertifiedLams as CertifiedLams
from coverax.calibrate.ltt import ltt_threshold as ltt_threshold
from coverax.calibrate.ranks import attainable_levels as attainable_levels
from coverax.calibrate.ranks import conformal_rank as conformal_rank
from coverax.calibrate.ranks import n_needed as n_needed
from coverax.calibrate.ranks import pac_rank as pac_rank
from coverax.calibrate.raters import Cases as Cases
from coverax.calibrate.raters import RaterRule as RaterRule
from coverax.calibrate.raters import cases_of as cases_of
from coverax.calibrate.raters import settle_raters as settle_raters
from coverax.calibrate.rcps import rcps_threshold as rcps_threshold
from coverax.calibrate.regions import Policy as Policy
from coverax.calibrate.regions import unit_digests as unit_digests
from coverax.calibrate.result import Calibration as Calibration
from coverax.calibrate.result import Status as Status
from coverax.calibrate.result import Threshold as Threshold
from coverax.calibrate.result import read_calibration as read_calibration
from coverax.calibrate.risk import RiskThreshold as RiskThreshold
from coverax.calibrate.risk import crc_threshold as crc_threshold
from coverax.calibrate.scales import RankScale as RankScale
from coverax.calibrate.scales import largest_at_most as largest_at_most
from coverax.calibrate.sets import calibrate_sets as calibrate_sets
from coverax.calibrate.shift import likelihood_ratios as likelihood_ratios
from coverax.calibrate.split import rank_threshold as rank_threshold
from coverax.calibrate.split import split_threshold as split_threshold
from coverax.calibrate.units import EmptyPolicy as EmptyPolicy
from coverax.calibrate.units import draw_one_per_unit as draw_one_per_unit
from coverax.calibrate.units import keep_rows as keep_rows
from coverax.calibrate.weighted import coverage_gap as coverage_gap
from coverax.calibrate.weighted import fixed_weight_threshold as fixed_weight_threshold
from coverax.calibrate.weighted import weighted_threshold as weighted_threshold
