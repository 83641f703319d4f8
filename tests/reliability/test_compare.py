"""Two models on the same cases: what is compared, and what is refused."""

import numpy as np
import pytest

SPACING = (1.0, 1.0, 1.0)
UNITS = ["p0", "p0", "p1", "p2", "p3", "p3"]
GROUPS = ["x", "x", "x", "x", "y", "y"]


def arrays(shift=0.0):
    rng = np.random.default_rng(3)
    p = rng.random((6, 5, 4, 3), dtype=np.float32)
    y = rng.random(p.shape) < p
    return np.clip(p + np.float32(shift), 0, 1), y


def table(probs, labels, **options):
    from coverax.scores import score_arrays

    options = {"units": UNITS, "groups": GROUPS} | options
    return score_arrays(probs, labels, [0.1], spacing_mm=SPACING, **options)


def test_differences_are_those_of_the_summaries():
    from coverax.reliability import compare, summarise

    a, b = table(*arrays()), table(*arrays(0.2))
    found = compare(a, b, n_draws=200)
    one, two = (summarise(t, n_draws=0).summary.regions[0] for t in (a, b))
    for how, got in (("pooled", "regions"), ("macro", "macro")):
        change = getattr(found, got)["foreground"]["ece"]
        assert (change.first, change.second) == (
            getattr(one, how)["ece"],
            getattr(two, how)["ece"],
        )
        low, high = change.interval
        assert 0 < low <= change.difference <= high
    of_x = found.groups["foreground"]["x"].macro["brier"]
    assert of_x.second == two.groups["x"].macro["brier"]


def test_the_same_model_differs_by_nothing():
    from coverax.reliability import compare

    found = compare(table(*arrays()), table(*arrays()), n_draws=50)
    for measures in (found.regions["foreground"], found.macro["foreground"]):
        for change in measures.values():
            assert change.difference == 0
            assert change.interval == [0, 0]


def test_no_draws_and_single_units_have_no_interval():
    from coverax.reliability import compare

    a, b = table(*arrays()), table(*arrays(0.2))
    found = compare(a, b, n_draws=0)
    assert found.regions["foreground"]["ece"].difference > 0
    assert found.regions["foreground"]["ece"].interval is None
    found = compare(a, b, n_draws=20)
    assert found.groups["foreground"]["x"].pooled["ece"].interval
    assert found.groups["foreground"]["y"].pooled["ece"].interval is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_bins": 10}, "A and B cannot be compared, their bins differ: 20 and 10"),
        ({"band_edges_mm": (0.0,)}, "their band edges differ: none and 0"),
        ({"region": "other"}, "their regions differ: foreground:1 and other:1"),
        (
            {"units": ["q", *UNITS[1:]]},
            "unit of case case_0, region foreground differs: p0 and q",
        ),
        (
            {"case_ids": [f"case_{i}" for i in (0, 1, 2, 3, 4, 9)]},
            "B lacks case case_5, region foreground of A; both must hold the same",
        ),
    ],
)
def test_tables_of_other_meaning_or_rows_are_refused(options, message):
    from coverax.reliability import compare

    with pytest.raises(ValueError, match=message):
        compare(table(*arrays()), table(*arrays(), **options), names=("A", "B"))


def test_which_side_lacks_a_case_is_said():
    from coverax.reliability import compare

    probs, labels = arrays()
    few = table(probs[:4], labels[:4], units=UNITS[:4], groups=GROUPS[:4])
    both = table(probs, labels)
    for pair, lacking in (((few, both), "A lacks"), ((both, few), "B lacks")):
        message = rf"{lacking} case case_4, region foreground of . \(and 1 more\)"
        with pytest.raises(ValueError, match=message):
            compare(*pair, names=("A", "B"))


def test_other_references_are_refused_where_counts_tell():
    from coverax.reliability import compare

    probs, labels = arrays()
    other = labels.copy()
    other[2] = False
    n = int(labels[2].sum())
    message = (
        f"foreground voxels of the reference of case case_2, region foreground "
        f"differs: {n} and 0"
    )
    with pytest.raises(ValueError, match=message):
        compare(table(probs, labels), table(probs, other))
    valid = np.ones(labels.shape, bool)
    valid[4][~labels[4]] = np.arange((~labels[4]).sum()) > 2
    with pytest.raises(ValueError, match="number of voxels of case case_4"):
        compare(table(probs, labels), table(probs, labels, valid=valid))
