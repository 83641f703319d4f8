"""NumPy twins of the kernels: same names, same answers, faster on a CPU."""

from coverax.host.bins import BinStatistics as BinStatistics
from coverax.host.bins import SoftBinStatistics as SoftBinStatistics
from coverax.host.bins import bin_index as bin_index
from coverax.host.bins import bin_statistics as bin_statistics
from coverax.host.bins import soft_bin_statistics as soft_bin_statistics
from coverax.host.distance import signed_distance as signed_distance
from coverax.host.order import critical_probability as critical_probability
from coverax.host.overlap import Overlap as Overlap
from coverax.host.overlap import Sizes as Sizes
from coverax.host.overlap import overlap_counts as overlap_counts
from coverax.host.overlap import sizes as sizes
