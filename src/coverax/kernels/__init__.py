"""Pure batched JAX functions over volumes; the host twins are in `coverax.host`."""

from coverax.kernels.batching import Batch as Batch
from coverax.kernels.batching import batch_size as batch_size
from coverax.kernels.batching import bucket_axes as bucket_axes
from coverax.kernels.batching import bucket_size as bucket_size
from coverax.kernels.batching import clear_slots as clear_slots
from coverax.kernels.batching import empty_batch as empty_batch
from coverax.kernels.batching import fill_slot as fill_slot
from coverax.kernels.curves import cut_counts as cut_counts
from coverax.kernels.curves import grid_counts as grid_counts
from coverax.kernels.distance import signed_distance as signed_distance
from coverax.kernels.extremes import extreme_scores as extreme_scores
from coverax.kernels.extremes import inner_score as inner_score
from coverax.kernels.extremes import outer_score as outer_score
from coverax.kernels.order import critical_probability as critical_probability
from coverax.kernels.order import order_statistics as order_statistics
from coverax.kernels.overlap import Overlap as Overlap
from coverax.kernels.overlap import Sizes as Sizes
from coverax.kernels.overlap import overlap_counts as overlap_counts
from coverax.kernels.overlap import sizes as sizes
from coverax.kernels.smooth import smooth as smooth
from coverax.kernels.surface import surface_distance as surface_distance
