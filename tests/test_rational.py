"""Levels are the numbers that people write."""

from fractions import Fraction

import pytest

from coverax.rational import as_fraction, check_tolerance, tolerance_terms


@pytest.mark.parametrize("written", ["0.29", 0.29, Fraction(29, 100)])
def test_one_level_is_a_list_of_one(written):
    top, bottom = tolerance_terms(written)
    assert [Fraction(int(top[0]), int(bottom[0]))] == [Fraction(29, 100)]
    assert len(top) == 1


@pytest.mark.parametrize("value", [1 / 3, 0.123456789, "0.333333"])
def test_a_tolerance_that_cannot_be_counted_is_refused(value):
    with pytest.raises(ValueError, match="denominator of at most"):
        check_tolerance(value)


@pytest.mark.parametrize("value", ["1e400", "-1e400", "inf", "nan", "1/0", "a", True])
def test_what_no_float_holds_is_no_level(value):
    with pytest.raises(ValueError, match="expected a finite number"):
        as_fraction(value)
