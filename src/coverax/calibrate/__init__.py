"""Pure functions over score tables: ranks, thresholds, guarantees."""

from coverax.calibrate.fnr import calibrate_fnr as calibrate_fnr
from coverax.calibrate.fnr import unit_digests as unit_digests
from coverax.calibrate.laws import compliance_band as compliance_band
from coverax.calibrate.laws import compliance_pmf as compliance_pmf
from coverax.calibrate.laws import coverage_quantiles as coverage_quantiles
from coverax.calibrate.learn import LearnedSets as LearnedSets
from coverax.calibrate.learn import learn_sets as learn_sets
from coverax.calibrate.learn import read_learned as read_learned
from coverax.calibrate.ranks import attainable_levels as attainable_levels
from coverax.calibrate.ranks import conformal_rank as conformal_rank
from coverax.calibrate.ranks import n_needed as n_needed
from coverax.calibrate.ranks import pac_rank as pac_rank
from coverax.calibrate.result import Calibration as Calibration
from coverax.calibrate.result import Status as Status
from coverax.calibrate.result import Threshold as Threshold
from coverax.calibrate.result import read_calibration as read_calibration
from coverax.calibrate.scales import RankScale as RankScale
from coverax.calibrate.scales import largest_at_most as largest_at_most
from coverax.calibrate.sets import calibrate_sets as calibrate_sets
from coverax.calibrate.split import rank_threshold as rank_threshold
from coverax.calibrate.split import split_threshold as split_threshold
from coverax.calibrate.units import EmptyPolicy as EmptyPolicy
from coverax.calibrate.units import draw_one_per_unit as draw_one_per_unit
from coverax.calibrate.units import keep_rows as keep_rows
