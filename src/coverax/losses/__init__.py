"""Losses for training: maps `[batch, *spatial, classes]` in, `[batch, classes]` out.

The mean over classes of each is the loss as published. Keyword-only options; `valid` marks
the voxels that count; targets are constants. Not tied to any network library.
"""

from coverax.exports import exported
from coverax.losses._voxels import present_classes as present_classes
from coverax.losses.ace import hard_l1_ace as hard_l1_ace
from coverax.losses.ace import soft_l1_ace as soft_l1_ace
from coverax.losses.boundary import boundary as boundary
from coverax.losses.boundary import class_distances as class_distances
from coverax.losses.boundary import signed_distance_target as signed_distance_target
from coverax.losses.combined import combine as combine
from coverax.losses.combined import deep_supervision_weights as deep_supervision_weights
from coverax.losses.conformal import conformal_size as conformal_size
from coverax.losses.conformal import smooth_order_statistic as smooth_order_statistic
from coverax.losses.entropy import binary_cross_entropy as binary_cross_entropy
from coverax.losses.entropy import cross_entropy as cross_entropy
from coverax.losses.entropy import entropy_penalty as entropy_penalty
from coverax.losses.entropy import focal as focal
from coverax.losses.margin import mbls as mbls
from coverax.losses.margin import nacl as nacl
from coverax.losses.margin import neighbour_targets as neighbour_targets
from coverax.losses.overlap import soft_dice as soft_dice
from coverax.losses.sdc import adapt_targets as adapt_targets
from coverax.losses.sdc import sdc as sdc
from coverax.losses.smoothing import label_smoothing as label_smoothing
from coverax.losses.smoothing import svls as svls
from coverax.losses.smoothing import svls_targets as svls_targets

__all__, __dir__ = exported(globals())
