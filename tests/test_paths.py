"""A path may be text wherever the public functions take one."""

import importlib
import inspect
import os
import typing
from pathlib import Path

import numpy as np
import pytest

import coverax as cx
from tests import synthetic

PACKAGES = (*cx.__all__[1:], "stream", "demo", "table")


def public_functions():
    """Functions, methods and constructors that the packages export, by name."""
    for package in PACKAGES:
        module = importlib.import_module(f"coverax.{package}")
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isfunction(thing):
                yield f"{package}.{name}", thing
            elif inspect.isclass(thing) and thing.__module__.startswith("coverax"):
                own = {n: m for n, m in vars(thing).items() if not n.startswith("_")}
                for method in own:
                    if callable(getattr(thing, method)):
                        yield f"{package}.{name}.{method}", getattr(thing, method)


def leaves(annotation):
    """The types an annotation is built of."""
    if typing.get_origin(annotation) is os.PathLike:
        return {os.PathLike}
    listed = isinstance(annotation, list)
    inner = annotation if listed else typing.get_args(annotation)
    if inner or listed:
        return {t for a in inner for t in leaves(a)}
    return {annotation}


def path_parameters():
    for name, function in public_functions():
        for parameter in inspect.signature(function).parameters.values():
            types = leaves(parameter.annotation)
            if {Path, os.PathLike} & types:
                yield name, parameter.name, types


def test_there_are_many_functions_to_look_at():
    assert len(list(path_parameters())) > 40


def test_every_parameter_that_takes_a_path_takes_text():
    """Callbacks, which the package calls, are given a Path."""
    only_paths = {
        f"{name}({parameter})"
        for name, parameter, types in path_parameters()
        if str not in types
    }
    # What the package itself calls, with a Path.
    assert only_paths <= {"stream.fill_folder(write_case)", "demo.run_demo(finish)"}


READERS = {
    "scores.read_part": {},
    "scores.read_table": {},
    "table.read_table": {},
    "train.read_split": {},
    "calibrate.read_calibration": {},
    "validate.read_memory": {},
    "calibrate.read_learned": {},
    "calibrate.read_loss_curves": {"safe": "large"},
    "calibrate.read_summary": {},
    "reliability.read_temperature": {},
    "reliability.read_reliability": {},
    "evaluate.read_evaluation": {},
    "evaluate.read_cases": {},
    "validate.read_validation": {},
    "volumes.read_cohort": {},
    "volumes.read_groups": {},
    "volumes.nifti_files": {},
    "volumes.read_header": {},
    "volumes.read_voxels": {},
    "volumes.read_probs": {"channels": [0]},
    "volumes.read_labels": {},
    "volumes.read_segments": {"regions": ()},
    "volumes.read_valid": {},
    "volumes.read_scan": {
        "grid": cx.volumes.Grid((1, 1, 1), np.eye(4)),
        "target": "mask.nii.gz",
    },
    "report.read_masks": {},
}


def test_every_public_reader_is_tried():
    found = {
        name for name, _, _ in path_parameters() if name.split(".")[1][:5] == "read_"
    }
    assert found <= set(READERS)


@pytest.mark.parametrize("name", READERS)
def test_a_reader_of_a_missing_file_names_it_whatever_the_type(name, tmp_path):
    package, function = name.split(".")
    read = getattr(importlib.import_module(f"coverax.{package}"), function)
    missing = tmp_path / "missing.nii.gz"
    said = []
    for path in (missing, str(missing)):
        with pytest.raises(FileNotFoundError) as error:
            read(path, **READERS[name])
        said.append(str(error.value))
    assert said[0] == said[1]
    assert str(missing) in said[0]


def flow(kind, folders, root):
    """Score to evaluation and back from files, every path of one kind."""
    cohort = cx.volumes.match_folders(*map(kind, folders))
    definition = cx.scores.ScoreDefinition(tolerances=(0.1,))
    table = cx.scores.score_cohort(cohort, definition)
    table.write(kind(root / "s.parquet"))
    table = cx.scores.read_table(kind(root / "s.parquet"))
    cx.calibrate.calibrate_fnr(table, "0.2").write(kind(root / "c.json"))
    calibration = cx.calibrate.read_calibration(kind(root / "c.json"))
    maps = {c.case_id: kind(c.probs) for c in cohort.cases}
    cx.predict.predict_folder(calibration, maps, kind(root / "masks"))
    cases = tuple(
        cx.volumes.Case(c.case_id, kind(c.probs), kind(c.labels), unit=c.unit)
        for c in cohort.cases
    )
    assert cases == cohort.cases
    evaluation = cx.evaluate.evaluate_cohort(calibration, cx.volumes.Cohort(cases, {}))
    cx.evaluate.write_evaluation(evaluation, kind(root / "evaluation"))
    cx.validate.monitor_folder(calibration, maps)
    result = cx.reliability.summarise(table, n_draws=0)
    cx.reliability.write_reliability(result, kind(root / "reliability"))
    return {
        str(p.relative_to(root)): p.read_bytes()
        for p in sorted(root.rglob("*"))
        if p.is_file() and p.suffix != ".gz"
    }


def test_a_flow_of_text_writes_what_a_flow_of_paths_writes(tmp_path):
    folders = synthetic.write_cohort(tmp_path / "in", 12, (8, 9, 7), 40)
    found = []
    for kind in (Path, str):
        root = tmp_path / kind.__name__
        root.mkdir()
        found.append(flow(kind, folders, root))
    assert found[0].keys() == found[1].keys()
    assert found[0] == found[1]
