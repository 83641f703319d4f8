"""Levels are the numbers that people write."""

from fractions import Fraction

import pytest

from coverax.rational import as_fraction, check_tolerance, tolerance_terms


@pytest.mark.parametrize("denominator", [3, 7, 49, 997, 46_337])
def test_a_fraction_and_its_float_are_one_tolerance(denominator):
    exact = Fraction(denominator // 3, denominator)
    for written in (exact, float(exact), str(exact), repr(float(exact))):
        assert check_tolerance(written) == exact
        top, bottom = tolerance_terms(written)
        assert Fraction(int(top[0]), int(bottom[0])) == exact


@pytest.mark.parametrize("value", [0.123456789, "0.333333", "0.99999999999999999999"])
def test_a_tolerance_near_a_fraction_is_not_that_fraction(value):
    with pytest.raises(ValueError, match="denominator of at most"):
        check_tolerance(value)


@pytest.mark.parametrize("value", ["1e400", "-1e400", "inf", "nan", "1/0", "a", True])
def test_what_no_float_holds_is_no_level(value):
    with pytest.raises(ValueError, match="expected a finite number"):
        as_fraction(value)
