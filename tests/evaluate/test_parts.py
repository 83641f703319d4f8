"""An evaluation in parts: the bytes of one process, whatever a calibration gives."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.synthetic import forgetful, write_cohort

import coverax as cx
from coverax.evaluate import (
    evaluate_cohort,
    evaluate_groups,
    evaluate_part,
    evaluated_parts,
    write_evaluation,
)
from coverax.stream import Shard

N, N_PARTS = 24, 3
SCORED = {
    "transforms": ["inner=identity", "outer=distance:cut=0.5"],
    "lesions": "corner",
}
MADE = {
    "fnr": lambda t: cx.calibrate.calibrate_fnr(t, "0.2"),
    "groups": lambda t: cx.calibrate.calibrate_fnr(t, "0.2", group_by="group"),
    "ltt": lambda t: cx.calibrate.calibrate_ltt(t, "0.6", "0.3", also={"dice": "0.9"}),
    "sets": lambda t: cx.calibrate.calibrate_sets(t, "0.3"),
    "volume": lambda t: cx.calibrate.calibrate_volume(t, "0.3"),
    "triage": lambda t: cx.calibrate.calibrate_triage(
        t, "0.4", triage=cx.calibrate.Triage("dice")
    ),
}


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    root = tmp_path_factory.mktemp("parts")
    found = cx.volumes.match_folders(*write_cohort(root, N, (8, 9, 7), 60))
    cases = [replace(c, group="AB"[i % 2]) for i, c in enumerate(found.cases)]
    cohort = cx.volumes.Cohort(tuple(cases), {})
    definition = cx.scores.ScoreDefinition(
        tolerances=(0.1,),
        transforms=cx.scores.parse_transforms(SCORED["transforms"]),
        lesions=SCORED["lesions"],
    )
    return cohort, cx.scores.score_cohort(cohort, definition, engine="host")


def made_of(scored, kind):
    cohort, table = scored
    return cohort, forgetful(MADE[kind](table))


def write_parts(folder, calibration, cohort, **options):
    for i in range(N_PARTS, 0, -1):
        shard = Shard(i, N_PARTS)
        home = folder / shard.name
        evaluate_part(calibration, cohort, shard, home, engine="host", **options)
    return folder


def bytes_of(evaluation, folder):
    write_evaluation(evaluation, folder)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("kind", MADE)
def test_parts_give_the_bytes_of_one_process(scored, kind, tmp_path):
    cohort, calibration = made_of(scored, kind)
    parts = write_parts(tmp_path / "parts", calibration, cohort)
    evaluate = evaluate_groups if calibration.is_grouped else evaluate_cohort
    whole = evaluate(calibration, cohort, engine="host")
    joined = evaluate(
        calibration, cohort, parts=evaluated_parts(parts, calibration, cohort)
    )
    want = bytes_of(whole, tmp_path / "whole")
    assert len(want) > 1
    assert bytes_of(joined, tmp_path / "joined") == want


def test_a_case_that_fails_in_a_part_is_told_and_left_out_as_in_one_process(
    scored, tmp_path
):
    cohort, calibration = made_of(scored, "fnr")
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"no volume")
    cases = list(cohort.cases)
    cases[5] = replace(cases[5], probs=bad)
    cohort = cx.volumes.Cohort(tuple(cases), {})
    with pytest.raises(ExceptionGroup):
        write_parts(tmp_path / "none", calibration, cohort)
    lines, here = [], []
    parts = write_parts(tmp_path / "parts", calibration, cohort, allow_missing=True)
    taken = evaluated_parts(parts, calibration, cohort)
    with pytest.raises(ExceptionGroup, match="1 of 24 cases failed"):
        evaluate_cohort(calibration, cohort, parts=taken)
    joined = evaluate_cohort(
        calibration, cohort, parts=taken, allow_missing=True, on_failure=lines.append
    )
    whole = evaluate_cohort(
        *(calibration, cohort),
        engine="host",
        allow_missing=True,
        on_failure=here.append,
    )
    assert lines == here
    assert len(lines) == 1
    assert joined.summary.to_json() == whole.summary.to_json()
    assert joined.summary.excluded == {"failed": (cases[5].case_id,)}


def test_parts_of_another_run_are_refused_by_name(scored, tmp_path):
    cohort, calibration = made_of(scored, "fnr")
    parts = write_parts(tmp_path / "parts", calibration, cohort)
    (verdict, *_) = cx.verify.verify_files([parts])
    assert (verdict.status, verdict.what) == ("whole", "record of a part")
    other = forgetful(cx.calibrate.calibrate_fnr(scored[1], "0.3"))
    with pytest.raises(ValueError, match="made with another calibration"):
        evaluated_parts(parts, other, cohort)
    fewer = cx.volumes.Cohort(cohort.cases[:-1], {})
    with pytest.raises(ValueError, match="made of other cases"):
        evaluated_parts(parts, calibration, fewer)
    record = parts / "part-2-of-3" / "part.json"
    record.write_text(
        json.dumps(json.loads(record.read_text()) | {"failed": {"x": "y"}})
    )
    with pytest.raises(ValueError, match="altered"):
        evaluated_parts(parts, calibration, cohort)
    record.unlink()
    record.parent.rmdir()
    with pytest.raises(ValueError, match="part-2-of-3 of 3 parts missing"):
        evaluated_parts(parts, calibration, cohort)


def test_numbers_of_a_part_keep_their_type_and_every_bit(scored, tmp_path):
    cohort, calibration = made_of(scored, "sets")
    parts = write_parts(tmp_path / "parts", calibration, cohort)
    taken = evaluated_parts(parts, calibration, cohort)
    found = [o.value for o in taken.outcomes(cohort.cases)]
    for case, again in zip(cohort.cases, found, strict=True):
        only = cx.volumes.Cohort((case,), {})
        (here,) = [
            o.value
            for o in cx.evaluate.compute.count_cases(
                calibration, only.cases, "host", 1, cx.stream.HERE
            )
        ]
        for (region, columns), (name, others) in zip(
            here.rows, again.rows, strict=True
        ):
            assert region == name
            assert list(columns) == list(others)
            for key, value in columns.items():
                ours, theirs = np.asarray(value), np.asarray(others[key])
                assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
                assert ours.tobytes() == theirs.tobytes()
