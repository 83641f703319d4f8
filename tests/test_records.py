"""Files of results read back: the right type, or one line that names the file."""

import json

import pytest

import coverax as cx
from coverax.files import publish_sealed_json, read_sealed_json
from coverax.validate.results import HeldOutGroup, OrderResult, ScoresResult
from tests import synthetic


@pytest.fixture(scope="module")
def validation(tmp_path_factory):
    root = tmp_path_factory.mktemp("records")
    cohort = cx.volumes.match_folders(
        *synthetic.write_cohort(root / "in", 6, (8, 9, 7), 40)
    )
    table = cx.scores.score_cohort(cohort, cx.scores.ScoreDefinition(), engine="host")
    found = cx.validate.validate_table(table, cx.validate.Plan(alphas=("0.5",)))
    publish_sealed_json(root / "validation.json", found.to_json())
    return root / "validation.json", found


def test_what_is_read_is_what_was_written(validation):
    path, found = validation
    read = cx.validate.read_validation(path)
    assert json.dumps(read.to_json()) == json.dumps(found.to_json())
    assert isinstance(read.results[0], ScoresResult)
    assert read.results[0].order is None
    assert read.score_definition == found.score_definition


def changed(content, change):
    """A copy of a validation with one thing about it that is wrong."""
    content = json.loads(json.dumps(content))
    change(content)
    return content


WRONG = {
    "lacks n_units": lambda c: c["results"][0].pop("n_units"),
    "has no colour": lambda c: c.update(colour="red"),
    "'many' is no int": lambda c: c["results"][0].update(n_units="many"),
    "True is no float": lambda c: c["results"][0].update(tolerance=True),
    "'best' is no": lambda c: c.update(raters="best"),
    "1.5 is no int": lambda c: c.update(seed=1.5),
    "{} is no": lambda c: c.update(results={}),
}


@pytest.mark.parametrize("says", WRONG)
def test_a_sealed_file_of_another_form_is_refused_in_one_line(
    validation, tmp_path, says
):
    """Its seal is right: another version may have written it."""
    content, _ = read_sealed_json(validation[0], "validation", 1, "validate")
    path = tmp_path / "validation.json"
    publish_sealed_json(path, changed(content, WRONG[says]))
    with pytest.raises(ValueError, match="not a sound validation") as error:
        cx.validate.read_validation(path)
    assert says in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_reader_refuses_what_another_command_wrote(validation):
    for read in (cx.evaluate.read_evaluation, cx.reliability.read_reliability):
        with pytest.raises(ValueError, match=r"not a coverax .*; it is a validation"):
            read(validation[0])


def test_optional_parts_are_read_where_they_are(validation, tmp_path):
    content, _ = read_sealed_json(validation[0], "validation", 1, "validate")
    band = {"level": 0.95, "low": 0.1, "high": None}
    group = HeldOutGroup("A", 0.5, 3, 3, 2, 1.0, cx.calibrate.Band(**band), True, 0.5)
    order = OrderResult("unit", "text", 6, 1.5, 0.6, 0.4)

    def add(content):
        content["results"][0]["hold_out"] = [group.to_json()]
        content["results"][0]["order"] = order.to_json()

    path = tmp_path / "validation.json"
    publish_sealed_json(path, changed(content, add))
    result = cx.validate.read_validation(path).results[0]
    assert result.hold_out == [group]
    assert result.order == order
