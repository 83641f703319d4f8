"""Maps that are no probability maps of different new patients are told, or refused."""

import itertools
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

import coverax as cx
from coverax.provenance import check_not_masks, kind_of_values
from coverax.volumes import map_content, map_values, match_folders
from tests.synthetic import case, write_nifti

SHAPE = (6, 8, 7)


def maps(n, seed=0):
    rng = np.random.default_rng(seed)
    pairs = [case(SHAPE, 40, rng) for _ in range(n)]
    return [p for p, _ in pairs], [y for _, y in pairs]


def content_of(array):
    values = np.ascontiguousarray(array, np.float32)
    return map_content(values.reshape(-1), values.shape)


LEVELS = {
    "soft": lambda rng: rng.random(SHAPE),
    "votes of two": lambda rng: rng.integers(0, 3, SHAPE) / 2,
    "masks": lambda rng: rng.integers(0, 2, SHAPE),
    "uint8": lambda rng: rng.integers(0, 256, SHAPE) / 255,
    "one voxel": lambda rng: np.eye(1, 336, rng.integers(336)).reshape(SHAPE) * 0.7,
}


@pytest.mark.parametrize("kind", LEVELS)
def test_a_fingerprint_is_of_values_and_places_whatever_the_order_of_axes(kind):
    array = LEVELS[kind](np.random.default_rng(1)).astype(np.float32)
    own = content_of(array)
    for axes in itertools.permutations(range(3)):
        assert content_of(array.transpose(axes)) == own
    assert content_of(array[..., None]) == own
    changed = array.copy()
    changed[2, 3, 4] = 0.25
    moved = [content_of(np.roll(array, 1, axis=k)).fingerprint for k in range(3)]
    others = [content_of(changed).fingerprint, *moved]
    assert own.fingerprint not in [0, *others]


def test_a_glance_at_the_values_says_what_the_content_says():
    rng = np.random.default_rng(2)
    edges = [np.zeros(SHAPE), np.ones(SHAPE), np.full(SHAPE, 0.5), np.eye(6, 7)]
    arrays = [LEVELS[kind](rng) for kind in LEVELS] + edges
    said = {map_values(np.ravel(a).astype(np.float32)) for a in arrays}
    for array in arrays:
        flat = np.ravel(array).astype(np.float32)
        assert map_values(flat) == kind_of_values(*content_of(array))
    assert len(said) == 3


def test_fingerprints_of_many_maps_differ_and_constant_ones_have_none():
    rng = np.random.default_rng(2)
    found = {content_of(make(rng)) for make in LEVELS.values() for _ in range(200)}
    n_places = len({c for c in found if 0.6 < c.gap_above_zero < 0.8})
    # The one voxel falls on few places; every other map is its own.
    assert len(found) == 200 * (len(LEVELS) - 1) + n_places
    for value in (0.0, 0.3, 1.0):
        assert content_of(np.full(SHAPE, value)).fingerprint == 0


@pytest.mark.parametrize(
    ("values", "gap"),
    [
        ([0.0, 1.0], 1.0),
        ([0.0, 0.0], np.inf),
        ([0.0, 0.5, 1.0], 0.5),
        ([0.0, 1e-42, 1.0], 0.0),
        ([0.25, 0.9], 0.25),
        ([-0.0005, 0.5], 0.5),
        ([-0.0, 1.0], 1.0),
    ],
)
def test_the_gap_above_zero_is_the_smallest_positive_value(values, gap):
    assert content_of(np.array([values])).gap_above_zero == gap


@pytest.mark.parametrize(
    ("kinds", "refused"),
    [
        (["mask"], True),
        (["mask", "nothing", "nothing"], True),
        (["mask", "soft"], False),
        (["nothing"], False),
        (["nothing", "nothing"], False),
    ],
)
def test_a_cohort_is_refused_where_no_map_is_soft_and_one_is_a_mask(kinds, refused):
    rows = [(f"c{i}", "r", kind) for i, kind in enumerate(kinds)]
    check_not_masks(rows, allow=True)
    if refused:
        with pytest.raises(ValueError, match=rf"maps of {len(kinds)} case.*save_prob"):
            check_not_masks(rows)
    else:
        check_not_masks(rows)


def test_hard_masks_are_refused_by_name_of_the_region_and_taken_on_request():
    _, labels = maps(4)
    hard = [mask.astype(np.float32) for mask in labels]
    with pytest.raises(ValueError, match=r"maps of 4 cases hold 0 and 1 alone"):
        cx.scores.score_arrays(hard, labels, [0.1], engine="host")
    table = cx.scores.score_arrays(
        hard, labels, [0.1], allow_hard_masks=True, engine="host"
    )
    assert table.definition.allow_hard_masks
    # All of a case's voxels 0 or 1 say nothing of the cohort, nor of a cohort of one.
    probs, labels = maps(3)
    empty, full = np.zeros(SHAPE, np.float32), np.ones(SHAPE, np.float32)
    cx.scores.score_arrays([empty], labels[:1], [0.1], engine="host")
    cx.scores.score_arrays([full], labels[:1], [0.1], engine="host")
    cx.scores.score_arrays([probs[0], empty, full], labels, [0.1], engine="host")


def test_one_map_of_several_units_is_refused_and_several_rows_of_one_are_not():
    probs, labels = maps(4)
    ids = ["a", "b", "c", "again"]
    twice = [*probs[:3], probs[0]]

    def score(**more):
        return cx.scores.score_arrays(
            twice, labels, [0.1], engine="host", **{"case_ids": ids} | more
        )

    with pytest.raises(ValueError, match=r"several names: a, again\..*--allow-dup"):
        score()
    score(units=["p", "q", "r", "p"])
    score(case_ids=["a", "b", "c", "a"], raters=["1", "1", "1", "2"])
    allowed = score(allow_duplicates=True)
    cx.calibrate.calibrate_fnr(allowed, "0.5")
    # Calibration looks at its own column of units.
    same = score(units=["p", "q", "r", "p"])
    with pytest.raises(ValueError, match="several names: a, again"):
        cx.calibrate.calibrate_fnr(same, "0.5", unit_column="case_id")
    # Constant maps are nobody's own.
    flat = [np.zeros(SHAPE, np.float32)] * 3
    cx.scores.score_arrays([probs[0], *flat], labels, [0.1], engine="host")


@pytest.fixture
def files(tmp_path):
    probs, labels = maps(6)
    for i, (p, y) in enumerate(zip(probs, labels, strict=True)):
        write_nifti(tmp_path / "probs" / f"c{i}.nii.gz", p)
        write_nifti(tmp_path / "labels" / f"c{i}.nii.gz", y)
    return tmp_path


def score_files(root, **more):
    cohort = match_folders(root / "probs", root / "labels")
    return cx.scores.score_cohort(cohort, cx.scores.ScoreDefinition(), **more)


def test_files_and_arrays_on_both_engines_have_one_fingerprint(files):
    paths = sorted((files / "probs").iterdir())
    probs = [np.asarray(nib.load(path).dataobj) for path in paths]
    labels = [np.asarray(nib.load(files / "labels" / p.name).dataobj) for p in paths]
    tables = [score_files(files, engine=name) for name in ("host", "device")]
    for arrays in (probs, [np.ascontiguousarray(p) for p in probs]):
        tables.append(cx.scores.score_arrays(arrays, labels, [0.1], engine="host"))
    first = tables[0].column("map_fingerprint")
    assert len(set(first)) == len(first)
    for table in tables[1:]:
        np.testing.assert_array_equal(table.column("map_fingerprint"), first)


def with_parts(table, parts):
    return replace(table, columns=table.columns | {"part": np.array(parts, object)})


@pytest.mark.parametrize("part", ["train", "learning", "temperature"])
def test_cases_that_something_was_learned_from_do_not_calibrate(files, part):
    table = score_files(files)
    spent = with_parts(table, [part, "test", "calibration", "new", "", part])
    assert "2 cases are of" in cx.scores.origin_notes(spent)[0]
    for calibrate in (
        lambda: cx.calibrate.calibrate_fnr(spent, "0.5"),
        lambda: cx.calibrate.calibrate_crc(spent, "0.5"),
    ):
        with pytest.raises(ValueError, match=r"2 cases are of.*score other cases"):
            calibrate()
    check = cx.calibrate.check_sources
    if part == "train":
        with pytest.raises(ValueError, match="2 cases are of the training part"):
            check(spent, "unit", allowed=("learning", "temperature"))
    else:
        check(spent, "unit", allowed=("learning", "temperature"))


def test_tables_and_calibrations_from_before_provenance_are_read(files, tmp_path):
    table = score_files(files)
    plain = table.definition.to_json()
    for name in ("allow_hard_masks", "allow_duplicates"):
        del plain[name]
    del plain["map_kind"]["mark"]
    later = {"part", "map_fingerprint", "gap_above_zero"}
    before = replace(
        table,
        columns={k: v for k, v in table.columns.items() if k not in later},
        definition=cx.scores.ScoreDefinition.from_json(plain),
    )
    assert before.definition.map_kind.mark is None
    before.write(tmp_path / "old.parquet")
    read = cx.scores.read_table(tmp_path / "old.parquet")
    found = cx.calibrate.calibrate_fnr(read, "0.5")
    assert (found.map_digests, len(found.case_digests)) == ((), 6)
    from coverax.files import digest_json, publish_json

    content = found.to_json()
    for name in ("digest", "case_digests", "map_digests"):
        del content[name]
    publish_json(tmp_path / "c.json", content | {"digest": digest_json(content)})
    old = cx.calibrate.read_calibration(tmp_path / "c.json")
    assert old.seen == cx.calibrate.Seen(found.unit_digests)
    cohort = match_folders(files / "probs", files / "labels")
    summary = cx.evaluate.evaluate_cohort(old, cohort, engine="host").summary
    assert (summary.held_out, summary.n_units_seen_in_calibration) == (False, 6)


def test_what_a_map_holds_is_one_of_three():
    array = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    found = [array, array > 0.5, np.zeros(SHAPE), np.ones(SHAPE), np.full(SHAPE, 0.3)]
    kinds = [kind_of_values(*content_of(values)) for values in found]
    assert kinds == ["soft", "mask", "nothing", "nothing", "soft"]
