"""The order of acquisition from a column of the cohort."""

import pytest

from coverax.validate.order import acquisition_order


def ordered(values):
    places, kind = acquisition_order(values, [f"c{i}" for i in range(len(values))])
    return [values[i] for i in places], kind


@pytest.mark.parametrize(
    ("ascending", "kind"),
    [
        (["-1", "2", "10", "1e3"], "numbers"),
        (["2019", "2020", "2021"], "numbers"),
        (["2019-12-31", "2020-01-02", "2020-01-02T08:30", "2020-01-10"], "dates"),
        (["2020-01-01T00:30+02:00", "2019-12-31T23:00+00:00"], "dates"),
        (["case_2", "case_10", "case_10b", "site"], "text"),
        (["a", "b1", "b02", "b10"], "text"),
    ],
)
def test_numbers_dates_and_text_sort_as_such(ascending, kind):
    for shift in range(len(ascending)):
        shuffled = ascending[shift:] + ascending[:shift]
        assert ordered(shuffled[::-1]) == (ascending, kind)


def test_equal_values_keep_the_order_they_came_in():
    places, _ = acquisition_order(["2", "1", "2", "1"], list("abcd"))
    assert places.tolist() == [1, 3, 0, 2]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["2020-01-01", "7"], "dates .* and numbers .* no order"),
        (["7", "later"], "numbers .'7' of case c0. and text"),
        (["2020-01-01", "unknown"], "dates .* and text"),
        (["7", "inf"], "numbers .* and text"),
        (["7", ""], "case c1 has no value"),
        (["01.05.2024", "02.05.2024"], "case c0: .* no date of ISO form"),
        (["5/1/2024"], "no date of ISO form"),
        (["2024-13-01"], "no date of ISO form"),
        (["2020-01-01T10:00", "2020-01-01T10:00+00:00"], "a zone and some have none"),
    ],
)
def test_what_has_no_order_is_refused(values, words):
    with pytest.raises(ValueError, match=words):
        ordered(values)
