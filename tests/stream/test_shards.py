"""Which cases are whose, and what a scheduler says of it."""

import pytest

from coverax.stream import Shard, parse_shard, shard_of_name


@pytest.mark.parametrize("n_cases", [0, 1, 7, 12])
@pytest.mark.parametrize("count", [1, 3, 9])
def test_the_shards_of_a_run_have_each_case_once(n_cases, count):
    cases = [f"case_{i}" for i in range(n_cases)]
    shards = [Shard(i, count) for i in range(1, count + 1)]
    assert sorted(c for s in shards for c in s.of(cases)) == sorted(cases)
    sizes = [len(shard.of(cases)) for shard in shards]
    assert max(sizes) - min(sizes) <= 1
    assert [shard_of_name(f"{s.name}.parquet") for s in shards] == shards


ARRAYS = {
    "slurm": ({"SLURM_ARRAY_TASK_ID": 12, "SLURM_ARRAY_TASK_MIN": 10}, 3),
    "slurm-step": ({"SLURM_ARRAY_TASK_ID": 9, "SLURM_ARRAY_TASK_MIN": 1}, 3),
    "sge": ({"SGE_TASK_ID": 5, "SGE_TASK_FIRST": 2}, 2),
    "lsf": ({"LSB_JOBINDEX": 3, "LSB_JOBINDEX_END": 8}, 3),
    "aws": ({"AWS_BATCH_JOB_ARRAY_INDEX": 0, "AWS_BATCH_JOB_ARRAY_SIZE": 4}, 1),
}
MORE = {
    "slurm": {"SLURM_ARRAY_TASK_COUNT": 8},
    "slurm-step": {"SLURM_ARRAY_TASK_COUNT": 5, "SLURM_ARRAY_TASK_STEP": 4},
    "sge": {"SGE_TASK_LAST": 11, "SGE_TASK_STEPSIZE": 3},
}
COUNTS = {"slurm": 8, "slurm-step": 5, "sge": 4, "lsf": 8, "aws": 4}


@pytest.mark.parametrize("name", ARRAYS)
def test_auto_takes_the_place_in_an_array_and_says_so(name):
    variables, index = ARRAYS[name]
    given = {k: str(v) for k, v in (variables | MORE.get(name, {})).items()}
    shard, line = parse_shard("auto", given)
    assert shard == Shard(index, COUNTS[name])
    assert next(iter(variables)) in line


def test_a_scheduler_that_does_not_say_how_many_needs_the_number():
    environment = {"PBS_ARRAY_INDEX": "3"}
    with pytest.raises(ValueError, match="auto/N"):
        parse_shard("auto", environment)
    assert parse_shard("auto/5", environment)[0] == Shard(3, 5)


@pytest.mark.parametrize(
    ("text", "environment"),
    [
        ("auto", {}),
        ("auto", {"SGE_TASK_ID": "undefined"}),
        ("auto/3", {"LSB_JOBINDEX": "0"}),
        ("auto/3", {"PBS_ARRAY_INDEX": "4"}),
        *((text, {}) for text in ("0/3", "4/3", "1", "1/0", "-1/3", "a/3", "1/3/2")),
    ],
)
def test_what_is_no_shard_is_refused(text, environment):
    with pytest.raises(ValueError, match=r"shard|expected|no array job"):
        parse_shard(text, environment)


def test_numbers_that_were_given_are_not_looked_for_in_the_environment():
    assert parse_shard("2/3", {"SLURM_ARRAY_TASK_ID": "1"}) == (Shard(2, 3), "")
