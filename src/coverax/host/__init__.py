"""NumPy twins of the kernels: same names, same answers, faster on a CPU.

Arrays may be of NumPy, JAX, torch or lists. Maps are taken as float32, rounded once; masks
and references may be of any number type, are true where they are not 0, and hold whole
numbers that are not negative.
"""

from coverax.choices import Neighbours as Neighbours
from coverax.engine.results import BatchScores as BatchScores
from coverax.engine.results import BinStatistics as BinStatistics
from coverax.engine.results import ComponentEvents as ComponentEvents
from coverax.engine.results import Overlap as Overlap
from coverax.engine.results import ProperScores as ProperScores
from coverax.engine.results import Sizes as Sizes
from coverax.engine.results import SoftBinStatistics as SoftBinStatistics
from coverax.exports import exported
from coverax.host.bins import bin_statistics as bin_statistics
from coverax.host.bins import soft_bin_statistics as soft_bin_statistics
from coverax.host.boxes import box_distance as box_distance
from coverax.host.boxes import component_boxes as component_boxes
from coverax.host.components import components as components
from coverax.host.contours import SurfaceDistances as SurfaceDistances
from coverax.host.contours import surface_distances as surface_distances
from coverax.host.curves import cut_counts as cut_counts
from coverax.host.curves import grid_counts as grid_counts
from coverax.host.distance import signed_distance as signed_distance
from coverax.host.events import component_events as component_events
from coverax.host.extremes import extreme_scores as extreme_scores
from coverax.host.extremes import inner_score as inner_score
from coverax.host.extremes import outer_score as outer_score
from coverax.host.lesions import ComponentCounts as ComponentCounts
from coverax.host.lesions import count_components as count_components
from coverax.host.lesions import lesion_peaks as lesion_peaks
from coverax.host.mass import mass_above as mass_above
from coverax.host.mass import mass_cut as mass_cut
from coverax.host.order import critical_probability as critical_probability
from coverax.host.overlap import overlap_counts as overlap_counts
from coverax.host.overlap import sizes as sizes
from coverax.host.program import run_plan as run_plan
from coverax.host.program import score_batch as score_batch
from coverax.host.proper import proper_scores as proper_scores
from coverax.host.smooth import smooth as smooth
from coverax.host.surface import surface_distance as surface_distance
from coverax.host.tally import bin_index as bin_index

__all__, __dir__ = exported(globals())
