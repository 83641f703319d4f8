"""The tests of kernels run what users run."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def compiled_in_earnest(real_compiler):
    """Bit equality of kernels and host twins is a claim about optimised programs."""
