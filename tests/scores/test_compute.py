"""Scores of arrays and of files: the same rows, whatever engine, order and batch."""

import numpy as np
import pytest
from tests.nifti_files import AFFINE, save
from tests.oracles.cls import critical_probability as oracle
from tests.synthetic import assert_same_columns

from coverax.scores import (
    ScoreDefinition,
    read_proper_scores,
    read_table,
    resolve_engine,
    score_arrays,
    score_cohort,
    stream_rows,
)
from coverax.scores.batch import Loaded, View
from coverax.stream import Journal
from coverax.volumes import FOREGROUND, Region, match_folders

TOLERANCES = (0.0, 0.1, 0.29)
# A row, a plane, one voxel, odd shapes: three buckets of the device engine.
SHAPES = [(7, 6, 5), (1, 1, 1), (40, 30, 4), (9, 1, 8), (20, 20, 12), (3, 50)] * 3


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    cases = []
    for i, shape in enumerate(SHAPES):
        probs = rng.random(shape, np.float32)
        if i % 3 == 0:
            probs = np.round(probs, 1)  # ties
        labels = rng.random(shape) > 0.8
        if i == 4:
            labels[...] = False
        if i == 5:
            labels[...] = True
        cases.append((probs, labels))
    return [p for p, _ in cases], [y for _, y in cases]


def files(tmp_path, probs, labels):
    for i, (p, y) in enumerate(zip(probs, labels, strict=True)):
        for kind, array in (("probs", p), ("labels", y.astype(np.uint8))):
            (tmp_path / kind).mkdir(exist_ok=True)
            save(tmp_path / kind / f"case_{i:02d}.nii.gz", array)
    return match_folders(tmp_path / "probs", tmp_path / "labels")


def test_scores_are_those_of_the_oracle(engine):
    probs, labels = arrays()
    table = score_arrays(probs, labels, TOLERANCES, engine=engine)
    for i, (p, y) in enumerate(zip(probs, labels, strict=True)):
        if y.sum() > 300:  # the oracle compares all pairs
            continue
        for tolerance in TOLERANCES:
            expected = oracle(p, y, str(tolerance))
            assert table.critical_probability(tolerance)[i] == expected
    assert table.column("n_voxels").tolist() == [p.size for p in probs]
    assert table.column("n_foreground").tolist() == [int(y.sum()) for y in labels]
    smallest = [
        p[y].min() if y.any() else np.inf for p, y in zip(probs, labels, strict=True)
    ]
    assert table.column("min_foreground_probability").tolist() == smallest


def test_engines_agree_to_the_bit():
    probs, labels = arrays()
    rng = np.random.default_rng(9)
    valid = [rng.random(p.shape) > 0.3 for p in probs]
    host, device = (
        score_arrays(
            probs, labels, TOLERANCES, valid=valid, voxel_volume_ml=1.0, engine=engine
        )
        for engine in ("host", "device")
    )
    np.testing.assert_allclose(  # logarithms differ in the last bit
        read_proper_scores(host.columns).sum_log_loss,
        read_proper_scores(device.columns).sum_log_loss,
        rtol=1e-6,
    )
    assert_same_columns(host, device, but=("sum_log_loss",))


def test_arrays_and_files_give_the_same_rows(tmp_path, engine):
    probs, labels = arrays()
    cohort = files(tmp_path, probs, labels)
    ids = [c.case_id for c in cohort.cases]
    volume_ml = abs(np.linalg.det(AFFINE[:3, :3])) / 1000
    direct = score_arrays(probs, labels, TOLERANCES, case_ids=ids, engine=engine)
    read = score_cohort(cohort, ScoreDefinition(tolerances=TOLERANCES), engine=engine)
    assert_same_columns(read, direct, but=("voxel_volume_ml",))
    np.testing.assert_allclose(read.column("voxel_volume_ml"), volume_ml, rtol=1e-6)
    assert read.definition.map_kind is not None
    assert read.definition.map_kind.storages == ("float",)


def test_order_of_the_cases_and_threads_change_nothing(tmp_path, engine):
    cohort = files(tmp_path, *arrays())
    definition = ScoreDefinition(tolerances=TOLERANCES)
    first = score_cohort(cohort, definition, engine=engine, threads=1)
    backwards = type(cohort)(cohort.cases[::-1], {})
    again = score_cohort(backwards, definition, engine=engine, threads=3)
    assert_same_columns(again, first.select(np.arange(first.n_rows)[::-1]))


def test_regions_of_several_channels(tmp_path, engine):
    rng = np.random.default_rng(3)
    (tmp_path / "probs").mkdir()
    (tmp_path / "labels").mkdir()
    maps, labels = [], []
    for i in range(4):
        maps.append(rng.random((6, 5, 4, 3), np.float32))
        labels.append(rng.integers(0, 4, (6, 5, 4)).astype(np.uint8))
        save(tmp_path / f"probs/c{i}.nii.gz", maps[-1])
        save(tmp_path / f"labels/c{i}.nii.gz", labels[-1])
    regions = (Region("b", (2,), (1, 3)), Region("a", (0,), (2,)))
    cohort = match_folders(tmp_path / "probs", tmp_path / "labels")
    table = score_cohort(cohort, ScoreDefinition(regions=regions), engine=engine)
    assert table.column("region").tolist() == ["a", "b"] * 4
    names = ("case_id", "region", "critical_probability@0.1")
    for case_id, name, cut in zip(*[table.column(n) for n in names], strict=True):
        i = int(case_id[1:])
        region = next(r for r in regions if r.name == name)
        mask = np.isin(labels[i], region.labels)
        expected = np.sort(maps[i][..., region.channels[0]][mask])[mask.sum() // 10]
        assert cut == expected
    assert table.definition.map_kind.n_channels == 3


def test_a_journal_gives_the_same_table_to_the_bit(tmp_path, engine):
    cohort = files(tmp_path, *arrays())
    definition = ScoreDefinition(tolerances=TOLERANCES)

    def scored(name, *, resume):
        journal = Journal(tmp_path / "s", definition.to_json(), resume=resume)
        table = score_cohort(cohort, definition, engine=engine, journal=journal)
        table.write(tmp_path / name)
        journal.close(keep=True)
        return read_table(tmp_path / name)

    first, second = scored("a", resume=False), scored("b", resume=True)
    assert first.rows_digest == second.rows_digest
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.nan, "not be NaN"),
        (1.5, r"lie in \[0, 1\]"),
        (-0.5, r"lie in \[0, 1\]"),
    ],
)
def test_bad_arrays_are_all_named(engine, bad, message):
    probs = np.full((4, 3, 3, 3), 0.5, np.float32)
    labels = np.ones((4, 3, 3, 3), bool)
    for i in (1, 3):
        probs[i, 0, 0, 0] = bad
    with pytest.raises(ExceptionGroup, match="2 of 4 cases failed") as error:
        score_arrays(probs, labels, [0.1], engine=engine)
    first, second = map(str, error.value.exceptions)
    assert first.startswith("case case_1: ")
    assert second.startswith("case case_3: ")
    with pytest.raises(ValueError, match=message):
        raise error.value.exceptions[0]


def test_arrays_of_other_lengths_or_names_are_refused():
    probs, labels = np.zeros((2, 3), np.float32), np.zeros((2, 3), bool)
    with pytest.raises(ValueError, match="labels has 1 entries for 2 cases"):
        score_arrays(probs, labels[:1], [0.1])
    with pytest.raises(ValueError, match="case_ids must differ"):
        score_arrays(probs, labels, [0.1], case_ids=["a", "a"])
    with pytest.raises(ValueError, match="tolerance must lie"):
        score_arrays(probs, labels, [1.0])
    with pytest.raises(ExceptionGroup, match="1 of 1"):
        score_arrays(probs[:1], [np.zeros((2, 2), bool)], [0.1])


def test_half_precision_and_declared_labels_are_taken(engine):
    probs = np.array([[0.1, 0.5, 0.9, 0.3]], np.float16)
    labels = np.array([[0, 2, 1, 7]], np.int16)
    table = score_arrays(
        probs, labels, [0.0, 0.4], regions="any=0:1,2,7", engine=engine
    )
    assert table.critical_probability(0.0)[0] == np.float32(np.float16(0.3))
    assert table.critical_probability(0.4)[0] == np.float32(np.float16(0.5))


def test_minus_zero_counts_as_zero(engine):
    probs = np.array([[-0.0, 0.0, 0.5]], np.float32)
    table = score_arrays(probs, np.ones((1, 3), bool), [0.0, 0.5], engine=engine)
    for tolerance in (0.0, 0.5):
        value = table.critical_probability(tolerance)[0]
        assert value == 0
        assert not np.signbit(value)


def test_few_cases_are_open_however_many_and_whatever_their_sizes(engine):
    """A cohort of many sizes keeps at most a few device batches of cases open."""
    sizes = [4096 << (i % 9) >> (i % 2) for i in range(150)]
    open_now, most = 0, 0

    def load(i, _buffers):
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        view = View(
            FOREGROUND,
            np.zeros(sizes[i], np.float32),
            np.zeros(sizes[i], bool),
            None,
            None,
        )
        return Loaded({}, [view])

    def batch_fn(engine, batch):
        return {"n": np.zeros(len(batch.probs))}

    seen = []
    rows = stream_rows(range(150), load, batch_fn, resolve_engine(engine), threads=1)
    for case, result, error in rows:
        assert error is None
        assert len(result.rows) == 1
        seen.append(case)
        open_now -= 1
    assert sorted(seen) == list(range(150))
    # Two a thread on the host; four open batches of at most 32 on the device.
    assert most <= (3 if engine == "host" else 4 * 32 + 3)


def test_a_case_without_a_view_is_an_outcome_too(engine):
    def load(i, _buffers):
        view = View(FOREGROUND, np.zeros(8, np.float32), np.zeros(8, bool), None, None)
        return Loaded({}, [view] if i % 2 else [])

    def batch_fn(engine, batch):
        return {"n": np.zeros(len(batch.probs))}

    outcomes = list(stream_rows(range(6), load, batch_fn, resolve_engine(engine)))
    assert sorted(o.case for o in outcomes) == list(range(6))
    assert {o.case: len(o.value.rows) for o in outcomes} == {i: i % 2 for i in range(6)}
