"""Segmentation nets in Flax NNX, channels last, in 2-D and 3-D: a family a file."""

from coverax.exports import exported
from coverax.train.nets.build import SegmentationNet as SegmentationNet
from coverax.train.nets.build import build as build
from coverax.train.nets.build import check_patch as check_patch
from coverax.train.nets.build import count_parameters as count_parameters
from coverax.train.nets.build import divisor as divisor
from coverax.train.nets.presets import PRESETS as PRESETS

__all__, __dir__ = exported(globals())
