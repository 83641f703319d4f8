"""The table of mutants is what it says: edits that fit, tests that exist and fail."""

import os
import random

import pytest

from tests import mutate

SAMPLE = 6


def test_every_row_has_an_edit_that_fits_and_tests_that_exist():
    mutants = mutate.read_mutants()
    assert len(mutants) > 80
    for mutant in mutants:
        for test in mutant.tests:
            path, _, name = test.partition("::")
            assert f"\ndef {name}(" in (mutate.HERE / path).read_text(), mutant.name
        edited = mutate.source_of(mutant).replace(mutant.old, mutant.new)
        compile(edited, mutant.file, "exec")


@pytest.mark.slow
def test_a_sample_of_the_mutants_is_killed():
    """`python tests/mutate.py` runs them all, and so does the nightly profile."""
    mutants = mutate.read_mutants()
    if os.environ.get("COVERAX_TEST_PROFILE") != "nightly":
        mutants = random.Random(0).sample(mutants, SAMPLE)
    alive = {mutant.name: mutate.passing(mutant.tests, mutant) for mutant in mutants}
    assert not any(alive.values()), alive


@pytest.mark.slow
def test_an_edit_that_changes_nothing_lives():
    """Negative control: a mutant that is none; and the tree is as it was."""
    first = mutate.read_mutants()[0]
    before = mutate.source_of(first)
    same = first._replace(new=first.old)
    assert mutate.passing(same.tests, same) == list(same.tests)
    assert mutate.source_of(first) == before
