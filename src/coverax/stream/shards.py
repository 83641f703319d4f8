"""Which cases of a run are whose: one of several processes that know nothing of another."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

C = TypeVar("C")

_FORM = re.compile(r"(auto|\d+)(?:/(\d+))?")
_PART = re.compile(r"part-(\d+)-of-(\d+)(\.parquet)?")


class _Array(NamedTuple):
    """What a scheduler calls the place of a job in its array.

    Attributes:
        name: Of the scheduler.
        index: Variable that holds the number of this job.
        first: The smallest number: a variable, or the number itself.
        last: Variable of the largest number; empty where there is none.
        step: Variable of the distance between numbers; empty for 1.
        count: Variable of how many jobs there are; empty where there is none.
    """

    name: str
    index: str
    first: str = "1"
    last: str = ""
    step: str = ""
    count: str = ""


_ARRAYS = (
    _Array(
        "Slurm",
        "SLURM_ARRAY_TASK_ID",
        first="SLURM_ARRAY_TASK_MIN",
        step="SLURM_ARRAY_TASK_STEP",
        count="SLURM_ARRAY_TASK_COUNT",
    ),
    _Array(
        "SGE",
        "SGE_TASK_ID",
        first="SGE_TASK_FIRST",
        last="SGE_TASK_LAST",
        step="SGE_TASK_STEPSIZE",
    ),
    _Array("LSF", "LSB_JOBINDEX", last="LSB_JOBINDEX_END", step="LSB_JOBINDEX_STEP"),
    _Array(
        "AWS Batch",
        "AWS_BATCH_JOB_ARRAY_INDEX",
        first="0",
        count="AWS_BATCH_JOB_ARRAY_SIZE",
    ),
    _Array("PBS", "PBS_ARRAY_INDEX"),
    _Array("PBS (Torque)", "PBS_ARRAYID"),
)


@dataclass(frozen=True, slots=True, order=True)
class Shard:
    """One of `count` parts of a run; the first is 1.

    Raises:
        ValueError: There is no such part.
    """

    index: int
    count: int

    def __post_init__(self):
        if not 1 <= self.index <= self.count:
            raise ValueError(
                f"shard {self.index}/{self.count}: the parts are 1/{self.count} to "
                f"{self.count}/{self.count}"
            )

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def name(self) -> str:
        """What its part is called, without a suffix."""
        return f"part-{self.index}-of-{self.count}"

    def numbers(self, n: int) -> range:
        """Which of `n` cases are its own: every `count`-th, as sizes change slowly."""
        return range(self.index - 1, n, self.count)

    def of(self, cases: Sequence[C]) -> list[C]:
        """Its own cases, in their order."""
        return [cases[i] for i in self.numbers(len(cases))]


def own_cases(names: Iterable[str], shard: Shard | None) -> list[str]:
    """Cases of a run over named files, in the order of names: a shard's own, or all."""
    every = sorted(names)
    return every if shard is None else shard.of(every)


def shard_of_name(name: str) -> Shard | None:
    """The shard whose part has a name; None where it is the name of none."""
    match = _PART.fullmatch(name)
    return match and Shard(int(match[1]), int(match[2]))


def parse_shard(
    text: str, environment: Mapping[str, str] | None = None
) -> tuple[Shard, str]:
    """The shard that an option names, and where the numbers come from.

    Args:
        text: `I/N`; `auto` for both from the array job that this process is of, or
            `auto/N` where its scheduler does not say how many jobs there are.
        environment: Variables; those of the process by default.

    Returns:
        The shard, and a line that says what was taken from the environment; empty where
        nothing was.

    Raises:
        ValueError: The text is none of these, or no array job is to be seen.
    """
    match = _FORM.fullmatch(text.strip())
    if match is None or (match[1] != "auto" and match[2] is None):
        raise ValueError(f"expected I/N, auto or auto/N, got {text!r}")
    if match[1] != "auto":
        return Shard(int(match[1]), int(match[2])), ""
    given = int(match[2]) if match[2] else None
    return _from_array(os.environ if environment is None else environment, given)


def _from_array(environment: Mapping[str, str], given: int | None) -> tuple[Shard, str]:
    for array in _ARRAYS:
        text = environment.get(array.index, "")
        # Of a job that is in no array LSF says 0, SGE `undefined`.
        if text.isdigit() and not (text == "0" and array.name == "LSF"):
            break
    else:
        names = ", ".join(array.index for array in _ARRAYS)
        raise ValueError(
            f"no array job is to be seen (none of {names} is set): give I/N"
        )
    index, count = _place_in(array, environment)
    if given is None and count is None:
        raise ValueError(
            f"{array.name} says which job of an array this is ({array.index}={text}) "
            "but not of how many: give auto/N"
        )
    shard = Shard(index, given or count or 0)
    return shard, f"shard {shard}, from {array.index}={text} ({array.name})"


def _place_in(array: _Array, environment: Mapping[str, str]) -> tuple[int, int | None]:
    """Number of this job from 1, and how many there are, where that is known."""

    def number(name: str) -> int | None:
        text = name if name.isdigit() else environment.get(name, "")
        return int(text) if text.isdigit() else None

    first, step = number(array.first), number(array.step) or 1
    first = 1 if first is None else first
    index = (int(environment[array.index]) - first) // step + 1
    last, count = number(array.last), number(array.count)
    return index, count if last is None else (last - first) // step + 1
