"""A table goes through a data frame and comes back to the bit, or is refused."""

import numpy as np
import pytest

import coverax as cx
from coverax.scores import ScoreTable

pandas = pytest.importorskip("pandas")


@pytest.fixture(scope="module")
def table():
    """Of every family, two regions, a softmax and a further column of text."""
    rng = np.random.default_rng(0)
    z = np.exp(rng.normal(0, 2, (6, 5, 4, 3, 3)))
    probs = (z / z.sum(-1, keepdims=True)).astype(np.float32)
    labels = rng.integers(0, 3, (6, 5, 4, 3))
    return cx.scores.score_arrays(
        probs,
        labels,
        [0.1, 0.3],
        regions=["a=1:1", "b=2:2"],
        softmax=True,
        spacing_mm=(1.0, 1.0, 2.0),
        band_edges_mm=(0.0,),
        lesions="face",
        transforms=["inner=identity", "outer=surface"],
        set_sizes=True,
        units=["p", "q", "r", "s", "t", "ü"],
        folds=[0, 1, 2, 0, 1, 2],
        engine="host",
    )


def same(a, b):
    assert list(a.columns) == list(b.columns)
    for name in a.columns:
        assert a.column(name).dtype == b.column(name).dtype
    assert a.rows_digest == b.rows_digest
    assert a.definition == b.definition
    assert (a.excluded, a.turned) == (b.excluded, b.turned)


def test_a_round_trip_loses_nothing(table):
    same(ScoreTable.from_pandas(table.to_pandas()), table)
    with_more = ScoreTable(
        table.columns, table.definition, {"failed": ("x",)}, {"case_0": {"labels": "z"}}
    )
    same(ScoreTable.from_pandas(with_more.to_pandas()), with_more)


def test_a_round_trip_through_a_file_of_pandas_loses_nothing(table, tmp_path):
    table.to_pandas().to_parquet(tmp_path / "frame.parquet")
    same(ScoreTable.from_pandas(pandas.read_parquet(tmp_path / "frame.parquet")), table)


def test_chosen_rows_and_further_columns_are_taken(table):
    frame = table.to_pandas()
    frame["site"] = ["north", "south"] * (len(frame) // 2)
    frame["age"] = range(len(frame))
    chosen = ScoreTable.from_pandas(frame[frame.site == "north"])
    assert chosen.cohort_columns[-1] == "site"
    assert chosen.n_rows == table.n_rows // 2
    mine = np.arange(table.n_rows) % 2 == 0
    for name in table.columns:
        want = table.select(mine).column(name).tolist()
        np.testing.assert_equal(chosen.column(name).tolist(), want, err_msg=name)


def test_counts_of_a_second_pass_stay_with_their_rows(table):
    size = {r: table.critical_cuts(r).size for r in ("a", "b")}
    regions = table.column("region")
    counts = np.empty(table.n_rows, object)
    counts[:] = [np.arange(size[r]) for r in regions]
    more = {f"critical_{name}": counts for name in ("n_predicted", "n_true_positive")}
    names = [c.name for c in cx.table.columns.CRITICAL_COLUMNS]
    second = ScoreTable(
        dict(table.columns) | dict(zip(names, more.values(), strict=True)),
        table.definition,
        {},
    )
    frame = second.to_pandas()
    same(ScoreTable.from_pandas(frame), second)
    with pytest.raises(ValueError, match=r"choose rows with table\.select"):
        ScoreTable.from_pandas(frame.iloc[2:])
    fewer = second.select(np.arange(2, second.n_rows))
    same(ScoreTable.from_pandas(fewer.to_pandas()), fewer)


def changed(column, value, place=0):
    def change(frame):
        values = list(frame[column])
        values[place] = value
        return frame.assign(**{column: values})

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda f: f.drop(columns=["unit", "bin_count"]),
            "lacks column unit, bin_count",
        ),
        (
            lambda f: f[["case_id"]],
            "lacks column region, unit, group, weight, rater and",
        ),
        (lambda f: f.iloc[:0], "no rows"),
        (changed("n_voxels", 1.5), "column n_voxels does not hold .*: int64"),
        (changed("n_voxels", None), "column n_voxels does not hold"),
        (changed("weight", "much"), "column weight does not hold .*: float64"),
        (changed("unit", None), "column unit must hold text"),
        (changed("bin_count", np.zeros(3)), "column bin_count .*: int64 in lists"),
        (changed("n_foreground", pandas.NA), "column n_foreground does not hold"),
        (lambda f: f.assign(lesion_x="a"), "called as columns of the score table"),
        (lambda f: f.assign(x=[{}] * len(f)), "x"),
        (lambda f: pandas.DataFrame(f.to_dict("list")), "give definition="),
    ],
)
def test_a_frame_that_is_no_table_is_refused_in_one_line(table, change, message):
    with pytest.raises(ValueError, match=message) as error:
        ScoreTable.from_pandas(change(table.to_pandas()))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


def test_a_lost_definition_is_given_and_an_altered_one_refused(table):
    frame = table.to_pandas()
    bare = pandas.DataFrame(dict(frame))
    same(ScoreTable.from_pandas(bare, table.definition), table)
    other = cx.scores.ScoreDefinition()
    with pytest.raises(ValueError, match="mean something else"):
        ScoreTable.from_pandas(frame, other)
    frame.attrs["coverax"] = frame.attrs["coverax"].replace("0.3", "0.2")
    with pytest.raises(ValueError, match="altered after it was written"):
        ScoreTable.from_pandas(frame)
