"""Results in a notebook: a short line, and a table whose text is escaped."""

import html.parser
import math
from dataclasses import replace

import numpy as np
import pytest

import coverax as cx
from coverax import shown
from tests.sets_cohort import blobs

NASTY = "<script>alert('&')</script>\nsecond line"
PROBS, LABELS = blobs(24, 0)


def results(method):
    """One of each type, of a cohort whose group has a name that is code."""
    both = np.stack([PROBS, 1 - PROBS], -1)
    table = cx.scores.score_arrays(
        both,
        np.where(LABELS, 1, 2),
        0.1,
        regions=["lesion.with.a.long.name=0:1", "rest=1:2"],
        groups=["a", NASTY] * 12,
        spacing_mm=(1, 1, 1),
        voxel_volume_ml=0.001,
        transforms=["inner=identity", "outer=identity"],
        units=[f"p{i}" for i in range(24)],
    )
    calibration = method(table)
    new = {"case_ids": [f"n{i}" for i in range(24)], "groups": ["a", NASTY] * 12}
    evaluation = cx.evaluate.evaluate_arrays(
        calibration,
        both,
        np.where(LABELS, 1, 2),
        spacing_mm=(1, 1, 1),
        voxel_volume_ml=0.001,
        **new,
    )
    return table, calibration, evaluation, cx.reliability.summarise(table, n_draws=0)


class Text(html.parser.HTMLParser):
    """Tags, and the text between them."""

    def __init__(self):
        super().__init__()
        self.tags, self.text = set(), ""

    def handle_starttag(self, tag, _attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        self.text += data


METHODS = {
    "fnr": lambda t: cx.calibrate.calibrate_fnr(t, 0.3),
    "groups": lambda t: cx.calibrate.calibrate_fnr(t, 0.3, group_by="group"),
    "crc": lambda t: cx.calibrate.calibrate_crc(t, 0.4),
    "sets": lambda t: cx.calibrate.calibrate_sets(t, 0.4),
    "volume": lambda t: cx.calibrate.calibrate_volume(t, 0.3),
    "triage": lambda t: cx.calibrate.calibrate_triage(t, 0.4),
}


@pytest.mark.parametrize("method", METHODS)
def test_every_result_has_a_line_and_a_table(method):
    for result in results(METHODS[method]):
        line = repr(result)
        assert len(line) < 300
        assert "\n" not in line
        assert line.startswith(f"{type(result).__name__}(")
        page = Text()
        page.feed(result._repr_html_())
        assert page.tags <= {"table", "caption", "tbody", "tr", "th", "td"}
        assert type(result).__name__ in page.text
        if method == "groups" and isinstance(result, cx.evaluate.Evaluation):
            assert NASTY in page.text


def test_the_line_says_what_was_found():
    table, calibration, evaluation, reliability = results(METHODS["fnr"])
    cut = calibration.thresholds[0].probability
    assert "cases=24, units=24, rows=48" in repr(table)
    assert "method=fnr, alpha=0.3, status=OK, units=24" in repr(calibration)
    assert f"{cut:.4g}" in repr(calibration)
    found = evaluation.summary.results[0]
    assert f"{found.calibrated.n_compliant} of 24 comply" in repr(evaluation)
    assert "ECE" in repr(reliability)
    vacuous = replace(
        calibration,
        thresholds=(replace(calibration.thresholds[0], value=math.inf),),
    )
    assert "inf" in repr(vacuous)


def test_a_thousand_groups_are_named_in_part():
    _, calibration, *_ = results(METHODS["fnr"])
    many = tuple(
        replace(calibration.thresholds[0], group=f"scanner {i}") for i in range(1000)
    )
    assert len(repr(replace(calibration, thresholds=many))) < 300


@pytest.mark.parametrize(
    ("n", "counted", "said"),
    [
        (0, "0 cases", "0 cases are"),
        (1, "1 case", "1 case is"),
        (2000, "2,000 cases", "2,000 cases are"),
    ],
)
def test_a_count_agrees_with_its_noun_and_verb(n, counted, said):
    assert shown.plural(n, "case") == counted
    assert shown.plural(n, "case", "is", "are") == said
