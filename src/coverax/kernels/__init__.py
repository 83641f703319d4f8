"""Pure batched JAX functions over volumes; the host twins are in `coverax.host`.

Maps are taken as float32, rounded once from any other float type. Masks and references may
be of any number type and are true where they are not 0; negative numbers, fractions and
NaN are refused, but inside `jit`, where values are not known.
"""

from coverax.engine.bins import bin_edges as bin_edges
from coverax.engine.plan import ScorePlan as ScorePlan
from coverax.engine.plan import SetScore as SetScore
from coverax.engine.results import BatchScores as BatchScores
from coverax.engine.results import BinStatistics as BinStatistics
from coverax.engine.results import Overlap as Overlap
from coverax.engine.results import ProperScores as ProperScores
from coverax.engine.results import Sizes as Sizes
from coverax.engine.results import SoftBinStatistics as SoftBinStatistics
from coverax.exports import exported
from coverax.kernels.batching import Batch as Batch
from coverax.kernels.batching import batch_size as batch_size
from coverax.kernels.batching import bucket_axes as bucket_axes
from coverax.kernels.batching import bucket_size as bucket_size
from coverax.kernels.batching import clear_slots as clear_slots
from coverax.kernels.batching import empty_batch as empty_batch
from coverax.kernels.batching import fill_slot as fill_slot
from coverax.kernels.bins import bin_index as bin_index
from coverax.kernels.bins import bin_statistics as bin_statistics
from coverax.kernels.bins import soft_bin_statistics as soft_bin_statistics
from coverax.kernels.curves import cut_counts as cut_counts
from coverax.kernels.curves import grid_counts as grid_counts
from coverax.kernels.devices import n_devices as n_devices
from coverax.kernels.devices import on_own_device as on_own_device
from coverax.kernels.devices import spread as spread
from coverax.kernels.distance import signed_distance as signed_distance
from coverax.kernels.extremes import extreme_scores as extreme_scores
from coverax.kernels.extremes import inner_score as inner_score
from coverax.kernels.extremes import outer_score as outer_score
from coverax.kernels.kept import keep_programs as keep_programs
from coverax.kernels.mass import mass_above as mass_above
from coverax.kernels.morphology import Operation as Operation
from coverax.kernels.morphology import morphology as morphology
from coverax.kernels.morphology import window_mean as window_mean
from coverax.kernels.order import critical_probability as critical_probability
from coverax.kernels.order import order_statistics as order_statistics
from coverax.kernels.overlap import overlap_counts as overlap_counts
from coverax.kernels.overlap import sizes as sizes
from coverax.kernels.program import run_plan as run_plan
from coverax.kernels.program import score_batch as score_batch
from coverax.kernels.proper import proper_scores as proper_scores
from coverax.kernels.smooth import smooth as smooth
from coverax.kernels.surface import surface_distance as surface_distance

__all__, __dir__ = exported(globals())
