"""Before an accelerator writes, random cases go through its program and the host's."""

from functools import partial

import jax
import pytest
from tests.synthetic import write_cohort

from coverax.kernels import batching
from coverax.scores import (
    ScoreDefinition,
    parse_transforms,
    resolve_engine,
    score_cohort,
)
from coverax.scores.families import all_columns
from coverax.scores.first_use import check_first_use, rows_that_differ
from coverax.stream import RunError
from coverax.volumes import FOREGROUND, match_folders

FLAT = ScoreDefinition(
    tolerances=(0.0, 0.1),
    transforms=parse_transforms(["inner=identity", "outer=logit:tolerance=0.1"]),
    set_sizes=True,
    lesions="corner",
)
NAMES = ("smooth", "max_smooth", "distance", "surface", "relative_distance", "boxes")
SPATIAL = ScoreDefinition(
    tolerances=(0.1,),
    transforms=parse_transforms(
        [
            f"{side}={name}"
            for side, name in zip(("inner", "outer") * 3, NAMES, strict=True)
        ]
    ),
    set_sizes=True,
    band_edges_mm=(-1.0, 0.0, 2.0),
)
BUCKETS = [
    (FLAT, 1 << 16),
    (SPATIAL, (16, 24, 32)),
    pytest.param(SPATIAL, (32, 24), marks=pytest.mark.slow),
    pytest.param(FLAT, 4096, marks=pytest.mark.slow),
]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    """Few slots, for speed."""
    monkeypatch.setattr(batching, "LARGEST_BATCH", 5)


@pytest.fixture
def accelerated(monkeypatch):
    """JAX says that it has an accelerator; it still computes on the CPU."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


@pytest.fixture
def wrong_bins(monkeypatch):
    """A compiler that is wrong in the last bit of one sum, in the last case."""
    from coverax.kernels import program

    right = program.PARTS["bins"]

    def wrong(volumes, plan):
        found = right(volumes, plan)
        sums = found.sum_py.at[-1, 7].multiply(1 + 2.0**-23)
        return found._replace(sum_py=sums)

    jax.clear_caches()
    monkeypatch.setitem(program.PARTS, "bins", wrong)
    yield
    jax.clear_caches()


@pytest.mark.parametrize(("definition", "bucket"), BUCKETS, ids=lambda x: str(x)[-12:])
def test_the_rows_of_random_cases_are_those_of_the_host(definition, bucket):
    rows = partial(all_columns, definition=definition)
    assert not rows_that_differ(resolve_engine("device"), rows, FOREGROUND, bucket)


def test_a_wrong_program_is_noticed_by_its_last_bit(accelerated, wrong_bins):
    rows, device = partial(all_columns, definition=FLAT), resolve_engine("device")
    with pytest.raises(
        RunError, match=r"cpu gives other .*bin_sum_py: 1 of 20 numbers"
    ):
        check_first_use(device, rows, FOREGROUND, 4096)
    check_first_use(resolve_engine("host"), rows, FOREGROUND, 4096)


def test_no_table_is_made_of_what_a_wrong_program_found(
    tmp_path, accelerated, wrong_bins
):
    write_cohort(tmp_path, 3, (9, 8, 7), 60)
    cohort = match_folders(tmp_path / "probs", tmp_path / "labels")
    definition = ScoreDefinition(tolerances=(0.1,))
    with pytest.raises(RunError, match="nothing is written; score with --engine host"):
        score_cohort(cohort, definition, engine="device")
    assert score_cohort(cohort, definition, engine="host").n_rows == 3


def test_nothing_is_done_on_a_cpu(monkeypatch):
    monkeypatch.setattr("coverax.scores.first_use.rows_that_differ", None)
    rows = partial(all_columns, definition=FLAT)
    check_first_use(resolve_engine("device"), rows, FOREGROUND, 4096)
