"""The split: by unit, exhaustive, sealed, and guarded."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coverax.train.config import DataConfig
from coverax.train.split import (
    PARTS,
    Split,
    read_split,
    split_of,
    split_units,
    write_split,
)

SHARES = {"train": 0.5, "learning": 0.1, "calibration": 0.2, "test": 0.2}
# Twenty patients with one to three cases each.
UNITS = {f"p{u}_{k}": f"p{u}" for u in range(20) for k in range(u % 3 + 1)}


@given(seed=st.integers(0, 10_000))
def test_no_unit_lies_in_two_parts_and_no_case_is_lost(seed):
    split = split_units(UNITS, SHARES, seed)
    of_part = {part: split.cases(part) for part in PARTS}
    assert sorted(i for ids in of_part.values() for i in ids) == sorted(UNITS)
    units = {part: {UNITS[i] for i in ids} for part, ids in of_part.items()}
    assert sum(len(u) for u in units.values()) == 20
    assert [len(units[part]) for part in PARTS] == [10, 2, 4, 4]


def test_the_draw_depends_on_the_seed_and_not_on_the_order_of_cases():
    split = split_units(UNITS, SHARES, 3)
    assert split_units(dict(reversed(UNITS.items())), SHARES, 3).parts == split.parts
    assert split_units(UNITS, SHARES, 4).parts != split.parts


def test_every_unit_is_as_likely_to_calibrate():
    # 2,000 draws of 4 in 20: each count is Binomial(2000, 0.2), deviation 17.9.
    draws = 2000
    counts = Counter(
        unit
        for seed in range(draws)
        for unit, part in split_units(UNITS, SHARES, seed).parts.items()
        if part == "calibration"
    )
    # Six deviations: false-fail rate 20 * 2e-9; a unit of rate 0.26 is noticed half the time.
    for unit in set(UNITS.values()):
        assert abs(counts[unit] - 0.2 * draws) < 6 * (draws * 0.2 * 0.8) ** 0.5


def test_an_empty_part_is_refused():
    with pytest.raises(ValueError, match=r"learning \(share 0\.1\) of 3 units"):
        split_units({"a": "a", "b": "b", "c": "c"}, SHARES, 0)


def test_a_share_of_zero_leaves_a_part_out():
    split = split_units(UNITS, {"train": 0.5, "test": 0.5}, 0)
    assert split.cases("calibration") == ()
    assert len({UNITS[i] for i in split.cases("test")}) == 10


@pytest.mark.parametrize("part", [p for p in PARTS if p != "train"])
def test_a_case_of_another_part_is_refused_in_training(part):
    split = split_units(UNITS, SHARES, 0)
    leaked = split.cases(part)[0]
    with pytest.raises(ValueError, match=f"case {leaked} belongs to unit .* {part}"):
        split.check_disjoint([*split.cases("train"), leaked], "train")
    split.check_disjoint(split.cases("train"), "train")


def test_a_second_case_of_a_calibration_unit_is_refused():
    # The leak that a split by case would not see.
    split = Split({"p": "calibration"}, {"p_1": "p", "p_2": "p"}, 0)
    with pytest.raises(ValueError, match="case p_2 belongs to unit p"):
        split.check_disjoint(["p_2"])


def test_an_unknown_case_or_part_is_refused():
    split = split_units(UNITS, SHARES, 0)
    with pytest.raises(ValueError, match="case new is in no part"):
        split.check_disjoint(["new"])
    with pytest.raises(ValueError, match="no part 'validation'"):
        split.cases("validation")


def test_a_written_split_comes_back_and_an_edited_one_is_refused(tmp_path):
    path = tmp_path / "split.json"
    split = split_units(UNITS, SHARES, 0)
    write_split(path, split)
    assert read_split(path) == split
    content = json.loads(path.read_text())
    moved = next(u for u, part in content["parts"].items() if part == "calibration")
    content["parts"][moved] = "train"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"split\.json: altered after it was written"):
        read_split(path)


def config(tmp_path, **changes) -> DataConfig:
    folder = Path(tmp_path)
    return DataConfig(
        images=folder, labels=folder, classes={"a": 0, "b": 1}, shares=SHARES, **changes
    )


def test_units_come_from_their_file(tmp_path):
    table = tmp_path / "units.csv"
    rows = "".join(f"{case},{unit}\n" for case, unit in UNITS.items())
    table.write_text("case_id,unit\n" + rows)
    split = split_of(config(tmp_path, units=table), UNITS)
    assert split.units == UNITS
    with pytest.raises(ValueError, match=r"units\.csv: no unit for case extra"):
        split_of(config(tmp_path, units=table), [*UNITS, "extra"])


def test_a_given_split_is_used_and_must_know_every_case(tmp_path):
    path = tmp_path / "split.json"
    write_split(path, split_units(UNITS, SHARES, 9))
    given_split = config(tmp_path, split=path)
    assert split_of(given_split, UNITS) == read_split(path)
    with pytest.raises(ValueError, match="does not know case extra"):
        split_of(given_split, [*UNITS, "extra"])
