"""What a calibration records is typed: it comes back, and nothing else is read."""

from dataclasses import fields

import pytest
from tests import bags

import coverax as cx
from coverax.calibrate import FnrRecord, RiskRecord, SetsRecord
from coverax.files import digest_json, publish_json

# Options beside those of the method and of the policy: what became of the parts.
OTHERS = {"merged_groups", "reference", "refused", "group", "gap_above_zero"}


def calibration(method):
    sets = ("inner=identity", "outer=surface")
    table = bags.sets("host", 3, sets).table
    return {
        "fnr": lambda: cx.calibrate.calibrate_fnr(table, 0.2),
        "weights": lambda: cx.calibrate.calibrate_fnr(
            table, 0.2, weights="weight", largest_weight=2
        ),
        "crc": lambda: cx.calibrate.calibrate_crc(table, 0.3),
        "rcps": lambda: cx.calibrate.calibrate_rcps(table, 0.001, 0.1),
        "ltt": lambda: cx.calibrate.calibrate_ltt(table, 0.001, 0.1, also={"fpr": 0.9}),
        "sets": lambda: cx.calibrate.calibrate_sets(table, 0.3),
    }[method]()


METHODS = {
    "fnr": FnrRecord,
    "weights": FnrRecord,
    "crc": RiskRecord,
    "rcps": RiskRecord,
    "ltt": RiskRecord,
    "sets": SetsRecord,
}


@pytest.mark.parametrize(("method", "kind"), METHODS.items())
def test_a_record_is_what_the_options_hold(method, kind, tmp_path):
    found = calibration(method)
    found.write(tmp_path / "c.json")
    back = cx.calibrate.read_calibration(tmp_path / "c.json")
    assert type(back.record) is kind
    assert back.record == found.record
    assert back.policy == found.policy
    assert back.parts == found.parts
    assert back.to_json() == found.to_json()
    own = back.policy.recorded() | back.record.to_json()
    assert {k: v for k, v in back.options.items() if k not in OTHERS} == own


@pytest.mark.parametrize(("method", "kind"), METHODS.items())
def test_a_field_of_another_type_is_refused_with_its_file(method, kind, tmp_path):
    path = tmp_path / "c.json"
    content = calibration(method).to_json()
    held = [f.name for f in fields(kind) if f.name in content["options"]]
    for name in held:
        other = content | {"options": content["options"] | {name: {"of": "another"}}}
        if name == "also":
            other["options"][name] = 3
        del other["digest"]
        publish_json(path, other | {"digest": digest_json(other)})
        with pytest.raises(ValueError, match=r"c\.json"):
            cx.calibrate.read_calibration(path)


def test_a_calibration_of_cuts_has_no_sets():
    with pytest.raises(ValueError, match="method fnr has no sets"):
        _ = calibration("fnr").sets
