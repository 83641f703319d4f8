"""The score table: bit for bit on disk, digests, what is refused."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests import synthetic

from coverax.calibrate import calibrate_crc
from coverax.scores import (
    MapKind,
    ScoreDefinition,
    ScoreTable,
    read_table,
    score_arrays,
    score_cohort,
    sorted_tolerances,
)
from coverax.volumes import Region, match_folders


def table(n=20, seed=0, **options):
    rng = np.random.default_rng(seed)
    probs = rng.random((n, 6, 5, 4), np.float32)
    labels = rng.random((n, 6, 5, 4)) > 0.7
    labels[0] = False
    return score_arrays(probs, labels, [0.0, 0.1, 0.29], engine="host", **options)


def test_a_table_comes_back_bit_for_bit(tmp_path):
    written = table(groups=["a", "ä"] * 10, weights=[1 / 3] * 20, voxel_volume_ml=0.1)
    written.write(tmp_path / "new/s.parquet")
    back = read_table(tmp_path / "new/s.parquet")
    synthetic.assert_same_columns(back, written)
    assert back.critical_probability(0.1).dtype == np.float32
    assert np.isposinf(back.critical_probability(0.1)[0])
    assert back.definition == written.definition
    assert back.excluded == written.excluded
    assert back.cases_digest == written.cases_digest
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["s.parquet"]


def test_the_same_table_is_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        table().write(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_definition_comes_back_through_json():
    definition = ScoreDefinition(
        regions=(Region("core", (2,), (1, 4)), Region("whole", (0,), (2,))),
        tolerances=sorted_tolerances(["0.29", 0.1, "0.1"]),
        logits=True,
        ignore_label=-1,
        allow_overshoot=True,
        map_kind=MapKind(3, ("float", "uint8*0.00392156886+0")),
    )
    assert definition.tolerances == (0.1, 0.29)
    assert ScoreDefinition.from_json(definition.to_json()) == definition


def test_digests_follow_what_they_digest():
    one, same = table(), table()
    assert one.cases_digest == same.cases_digest
    assert one.rows_digest == same.rows_digest
    other = table(seed=1)
    assert other.cases_digest == one.cases_digest  # the same case ids
    assert other.rows_digest != one.rows_digest
    renamed = table(case_ids=[f"x{i}" for i in range(20)])
    assert renamed.cases_digest != one.cases_digest


@pytest.mark.parametrize(
    "column", ["critical_probability@0.29", "unit", "n_foreground"]
)
def test_one_altered_value_is_noticed(tmp_path, column):
    path = tmp_path / "s.parquet"
    table().write(path)
    rows = pq.read_table(path)
    k = rows.column_names.index(column)
    values = rows.column(k).to_pylist()
    values[7] = {"unit": "somebody"}.get(column, 1)
    changed = pa.array(values, rows.schema.field(k).type)
    pq.write_table(rows.set_column(k, rows.schema.field(k), changed), path)
    with pytest.raises(ValueError, match="altered after it was written"):
        read_table(path)


def test_dropped_and_swapped_rows_are_noticed(tmp_path):
    path = tmp_path / "s.parquet"
    table().write(path)
    rows = pq.read_table(path)
    for changed in (
        rows.slice(1),
        pa.concat_tables([rows.slice(10), rows.slice(0, 10)]),
    ):
        pq.write_table(changed, path)
        with pytest.raises(ValueError, match="altered"):
            read_table(path)


def test_nested_columns_have_a_digest():
    """Families may keep lists; where one list ends is part of what is digested."""
    definition = ScoreDefinition()

    def digest(lists):
        rows = np.empty(len(lists), object)
        rows[:] = [np.array(one) for one in lists]
        return ScoreTable({"lesion_peaks": rows}, definition, {}).rows_digest

    assert digest([[1, 2], [3]]) == digest([[1, 2], [3]])
    assert len({digest(x) for x in ([[1, 2], [3]], [[1], [2, 3]], [[1, 2], [4]])}) == 3


def test_a_column_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(ValueError, match=r"no column 'site'; it has case_id, region"):
        table().column("site")


def test_an_ignored_label_of_a_region_is_refused():
    with pytest.raises(ValueError, match="label 3 is to be ignored"):
        ScoreDefinition(regions=(Region("a", (0,), (1, 3)),), ignore_label=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ignore_label": 1}, "label 1 is to be ignored"),
        ({"band_edges_mm": (3.0, 0.0, -3.0)}, "finite and ascending"),
        ({"band_edges_mm": (0.0, 0.0)}, "finite and ascending"),
        ({"band_edges_mm": (0.0, np.nan)}, "finite and ascending"),
        ({"band_edges_mm": (0.0,), "n_bins": 0}, "need bins"),
        ({"softmax": True}, "regions of a softmax are its channels 1, 2"),
    ],
)
def test_a_definition_that_contradicts_itself_cannot_be_made(options, message):
    """Whoever gets one need not check it: built, changed or read, it is sound."""
    with pytest.raises(ValueError, match=message):
        ScoreDefinition(**options)
    with pytest.raises(ValueError, match=message):
        replace(ScoreDefinition(), **options)
    with pytest.raises(ValueError, match=message):
        ScoreDefinition.from_json(ScoreDefinition().to_json() | options)


def test_columns_of_unequal_length_are_no_table():
    columns = {"case_id": np.array(["a"], object), "weight": np.ones(2)}
    with pytest.raises(ValueError, match="differ in length"):
        ScoreTable(columns, ScoreDefinition(), {})


def test_a_table_cannot_be_changed_in_place():
    made = table()
    with pytest.raises(ValueError, match="read-only"):
        made.critical_probability(0.1)[0] = 1
    with pytest.raises(TypeError):
        made.columns["weight"] = np.zeros(20)


def test_a_lean_table_holds_no_bins_and_no_curves(tmp_path):
    """What is not kept costs nothing and is missed by name, not by accident."""
    cohort = match_folders(*synthetic.write_cohort(tmp_path, 12, (8, 9, 7), 40))
    lean = score_cohort(cohort, ScoreDefinition(n_bins=0, grid=False), engine="host")
    full = score_cohort(cohort, ScoreDefinition(), engine="host")
    assert len(lean.columns) < len(full.columns)
    for name in lean.columns:
        np.testing.assert_array_equal(lean.column(name), full.column(name))
    with pytest.raises(
        ValueError, match="no loss curves; score again without --no-grid"
    ):
        calibrate_crc(lean, 0.3)
    lean.write(tmp_path / "lean.parquet")
    assert read_table(tmp_path / "lean.parquet").definition == lean.definition


def test_a_definition_of_another_version_is_refused_in_words():
    content = ScoreDefinition().to_json()
    del content["n_bins"]
    with pytest.raises(ValueError, match="lacks n_bins: it was written by another"):
        ScoreDefinition.from_json(content)


def test_rows_are_the_table_as_arrow(tmp_path):
    """What other tools get in memory is what they read from the file."""
    rng = np.random.default_rng(0)
    probs = rng.random((3, 4, 5, 6), np.float32)
    options = {"transforms": ["inner=identity"], "voxel_volume_ml": 0.001}
    table = score_arrays(probs, probs > 0.6, [0.1], **options)
    table.write(tmp_path / "s.parquet")
    stored = pq.read_table(tmp_path / "s.parquet")
    assert table.rows.equals(stored)
    assert [row["case_id"] for row in table.rows.to_pylist()] == list(
        table.column("case_id")
    )
