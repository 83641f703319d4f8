"""Training and inference: from images to probability volumes (extra `train`)."""

import importlib
from typing import TYPE_CHECKING

from coverax.exports import exported

if TYPE_CHECKING:
    from coverax.train.cases import CaseFiles as CaseFiles
    from coverax.train.cases import Prepared as Prepared
    from coverax.train.cases import find_cases as find_cases
    from coverax.train.cases import image_files as image_files
    from coverax.train.cases import orientations as orientations
    from coverax.train.cases import prepare_case as prepare_case
    from coverax.train.checkpoint import Checkpoint as Checkpoint
    from coverax.train.checkpoint import load_checkpoint as load_checkpoint
    from coverax.train.checkpoint import steps_done as steps_done
    from coverax.train.config import TrainConfig as TrainConfig
    from coverax.train.config import load_config as load_config
    from coverax.train.config import parse_config as parse_config
    from coverax.train.fitting import Fitted as Fitted
    from coverax.train.fitting import fit as fit
    from coverax.train.infer import NEW as NEW
    from coverax.train.infer import InferOptions as InferOptions
    from coverax.train.infer import choose_images as choose_images
    from coverax.train.infer import count_finished as count_finished
    from coverax.train.infer import digest_params as digest_params
    from coverax.train.infer import infer_folder as infer_folder
    from coverax.train.infer import map_reader as map_reader
    from coverax.train.infer import part_of as part_of
    from coverax.train.loop import Pieces as Pieces
    from coverax.train.loop import Trained as Trained
    from coverax.train.loop import train as train
    from coverax.train.model import build_model as build_model
    from coverax.train.model import make_predict as make_predict
    from coverax.train.references import unnamed_segments as unnamed_segments
    from coverax.train.run import Cohort as Cohort
    from coverax.train.run import check_labels as check_labels
    from coverax.train.run import find_cohort as find_cohort
    from coverax.train.run import make_pieces as make_pieces
    from coverax.train.run import prepare as prepare
    from coverax.train.run import starting_run as starting_run
    from coverax.train.split import Split as Split
    from coverax.train.split import read_split as read_split
    from coverax.train.split import split_units as split_units
    from coverax.train.split import write_split as write_split
    from coverax.train.start import check_start as check_start
    from coverax.train.start import first_params as first_params
    from coverax.train.windows import predict_volume as predict_volume

# Name to where it is defined. A name is imported on first use: a config is read, and
# the command line starts, without the packages that train.
_HOME = {
    "CaseFiles": "cases.CaseFiles",
    "Checkpoint": "checkpoint.Checkpoint",
    "Cohort": "run.Cohort",
    "InferOptions": "infer.InferOptions",
    "NEW": "infer.NEW",
    "Pieces": "loop.Pieces",
    "Prepared": "cases.Prepared",
    "Split": "split.Split",
    "TrainConfig": "config.TrainConfig",
    "Trained": "loop.Trained",
    "build_model": "model.build_model",
    "check_labels": "run.check_labels",
    "check_start": "start.check_start",
    "choose_images": "infer.choose_images",
    "count_finished": "infer.count_finished",
    "digest_params": "infer.digest_params",
    "Fitted": "fitting.Fitted",
    "fit": "fitting.fit",
    "first_params": "start.first_params",
    "find_cases": "cases.find_cases",
    "find_cohort": "run.find_cohort",
    "image_files": "cases.image_files",
    "infer_folder": "infer.infer_folder",
    "load_checkpoint": "checkpoint.load_checkpoint",
    "load_config": "config.load_config",
    "make_pieces": "run.make_pieces",
    "make_predict": "model.make_predict",
    "map_reader": "infer.map_reader",
    "orientations": "cases.orientations",
    "parse_config": "config.parse_config",
    "part_of": "infer.part_of",
    "predict_volume": "windows.predict_volume",
    "prepare": "run.prepare",
    "prepare_case": "cases.prepare_case",
    "read_split": "split.read_split",
    "split_units": "split.split_units",
    "starting_run": "run.starting_run",
    "steps_done": "checkpoint.steps_done",
    "train": "loop.train",
    "unnamed_segments": "references.unnamed_segments",
    "write_split": "split.write_split",
}


__all__, __dir__ = exported(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'coverax.train' has no attribute {name!r}")
    module, own = _HOME[name].split(".")
    return getattr(importlib.import_module(f"coverax.train.{module}"), own)
