"""A statistic is a family: a file and a line; what it asks is asked once a run."""

import types

import numpy as np
import pytest

from coverax.scores import families, read_table, score_arrays


def counted(asked):
    """A statistic that nothing else knows of."""

    def asks(_definition):
        asked.append(1)
        return {}

    def columns(scored, _definition):
        peaks = [view.probs.max() for view in scored.views]
        tops = [np.sort(view.probs)[-3:] for view in scored.views]
        return {"peak": np.array(peaks), "tops": np.array(tops)}

    return types.SimpleNamespace(asks=asks, columns=columns)


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return rng.random((5, 4, 4, 4), np.float32), rng.random((5, 4, 4, 4)) > 0.5


@pytest.mark.parametrize("engine", ["host", "device"])
def test_a_new_statistic_is_in_the_table_and_in_its_file(
    engine, arrays, monkeypatch, tmp_path
):
    asked = []
    before = score_arrays(*arrays, [0.1], engine=engine)
    more = (*families.FAMILIES, counted(asked))
    monkeypatch.setattr(families, "FAMILIES", more)
    families.made_plan.cache_clear()
    table = score_arrays(*arrays, [0.1], engine=engine)
    assert len(asked) == 1, "the plan is made once a run, not once a case"
    table.write(tmp_path / "s.parquet")
    back = read_table(tmp_path / "s.parquet")
    assert list(back.columns) == [*before.columns, "peak", "tops"]
    flat = arrays[0].reshape(5, -1)
    np.testing.assert_array_equal(back.column("peak"), flat.max(1))
    np.testing.assert_array_equal(back.column("tops"), np.sort(flat)[:, -3:])


def test_lists_of_their_own_lengths_are_declared(arrays, monkeypatch):
    def columns(scored, _definition):
        out = np.empty(len(scored.views), object)
        out[:] = [np.flatnonzero(view.labels) for view in scored.views]
        return {"places": out}

    family = types.SimpleNamespace(asks=lambda _: {}, columns=columns)
    monkeypatch.setattr(families, "FAMILIES", (*families.FAMILIES, family))
    with pytest.raises(ValueError, match="column places holds neither"):
        score_arrays(*arrays, [0.1], engine="host")
