"""In memory as from files: tables, masks, sets, evaluations, errors, to the bit."""

import json
from functools import partial

import nibabel as nib
import numpy as np
import pytest

import coverax as cx
from tests import synthetic
from tests.sets_cohort import blobs

SPACING = (1.0, 1.5, 4.0)
N_OLD, N_NEW = 18, 6
SIDES = ["inner=surface", "outer=surface", "inner=max_smooth:fwhm=3"]
REGIONS = ["core=1:1", "rim=2:2"]
IDS = [f"case_{i:02d}" for i in range(N_OLD + N_NEW)]
GROUPS = ["a", "b"] * (len(IDS) // 2)
OLD, NEW = slice(0, N_OLD), slice(N_OLD, None)


def one_map():
    """Maps and references of one structure."""
    return blobs(len(IDS), 1)


def three_classes():
    """Softmax maps `[batch, *spatial, classes]` and labels 0, 1, 2."""
    first, core = blobs(len(IDS), 1)
    second, rim = blobs(len(IDS), 2)
    z = np.stack([np.full_like(first, 0.7), first * 2, second * 2], -1)
    probs = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    return probs.astype(np.float32), np.where(core, 1, np.where(rim, 2, 0))


def write(folder, probs, labels):
    """The cohort as files, one case a row of `cohort.csv`."""
    rows = ["case_id,probs,labels,group"]
    for case_id, group, p, y in zip(IDS, GROUPS, probs, labels, strict=True):
        paths = [folder / kind / f"{case_id}.nii.gz" for kind in ("probs", "labels")]
        synthetic.write_nifti(paths[0], p, SPACING)
        synthetic.write_nifti(paths[1], y.astype(np.uint8), SPACING)
        rows.append(f"{case_id},{paths[0]},{paths[1]},{group}")
    (folder / "cohort.csv").write_text("\n".join(rows), encoding="utf-8")
    cases = cx.volumes.read_cohort(folder / "cohort.csv").cases
    return [cx.volumes.Cohort(cases[part], {}) for part in (OLD, NEW)]


@pytest.fixture(scope="module")
def roads(tmp_path_factory):
    """By kind of map: both roads to a table, the new cases of each, and how to call."""
    found = {}
    for name, made in {"one": one_map(), "classes": three_classes()}.items():
        probs, labels = made
        old, new = write(tmp_path_factory.mktemp(name), probs, labels)
        regions = REGIONS if name == "classes" else None
        options = {
            "transforms": SIDES,
            "lesions": "face",
            "softmax": name == "classes",
            "band_edges_mm": (-2.0, 0.0),
        }
        definition = cx.scores.ScoreDefinition(
            regions=cx.volumes.parse_regions(regions or []),
            **{**options, "transforms": cx.scores.parse_transforms(SIDES)},
        )
        about = {"spacing_mm": SPACING, "voxel_volume_ml": 0.006}
        files = cx.scores.score_cohort(old, definition, engine="host")
        arrays = cx.scores.score_arrays(
            probs[OLD],
            labels[OLD],
            0.1,
            regions=regions,
            case_ids=IDS[OLD],
            groups=GROUPS[OLD],
            engine="host",
            **options,
            **about,
        )
        found[name] = (files, arrays, new, probs[NEW], labels[NEW], about)
    return found


NO_EMPTY = cx.calibrate.Policy()
BY_GROUP = cx.calibrate.Policy(group_by="group")
METHODS = {
    "fnr": partial(cx.calibrate.calibrate_fnr, alpha=0.2),
    "fnr of groups": partial(cx.calibrate.calibrate_fnr, alpha=0.3, group_by="group"),
    "fnr of broken ties": partial(
        cx.calibrate.calibrate_fnr, alpha=0.2, break_ties=True
    ),
    "crc": partial(cx.calibrate.calibrate_crc, alpha=0.3, policy=NO_EMPTY),
    "crc of groups": partial(cx.calibrate.calibrate_crc, alpha=0.4, policy=BY_GROUP),
    "sets": partial(
        cx.calibrate.calibrate_sets, alpha=0.3, inner="surface", outer="surface"
    ),
    "smooth sets": partial(
        cx.calibrate.calibrate_sets,
        alpha=0.3,
        inner="max_smooth:fwhm=3",
        outer="surface",
        joint="max",
    ),
    "volume": partial(cx.calibrate.calibrate_volume, alpha=0.3),
    "triage": partial(cx.calibrate.calibrate_triage, alpha=0.4),
}
each_method = pytest.mark.parametrize("method", METHODS)
each_map = pytest.mark.parametrize("kind", ["one", "classes"])


@each_map
def test_a_table_of_arrays_is_that_of_files(roads, kind):
    files, arrays, *_ = roads[kind]
    assert list(files.columns) == list(arrays.columns)
    assert files.rows_digest == arrays.rows_digest


@each_map
@each_method
def test_masks_of_arrays_are_those_of_files(roads, kind, method, tmp_path):
    files, _, new, probs, _, about = roads[kind]
    calibration = METHODS[method](files)
    maps = {case.case_id: case.probs for case in new.cases}
    groups = dict(zip(IDS[NEW], GROUPS[NEW], strict=True))
    cx.predict.predict_folder(
        calibration,
        maps,
        tmp_path / "masks",
        groups=groups,
        sides=calibration.has_sides,
    )
    found = cx.predict.apply(
        calibration,
        probs,
        case_ids=IDS[NEW],
        groups=GROUPS[NEW],
        spacing_mm=about["spacing_mm"],
    )
    for one in found:
        sidecar = json.loads((tmp_path / "masks" / f"{one.case_id}.json").read_text())
        for entry in sidecar["masks"]:
            own = one.regions[entry["region"]]
            assert {k: entry[k] for k in own.facts} == json.loads(json.dumps(own.facts))
            stem = entry["mask"].removesuffix(".nii.gz")
            wanted = {"": own.mask, "_inner": own.inner, "_outer": own.outer}
            for suffix, mask in wanted.items():
                path = tmp_path / "masks" / f"{stem}{suffix}.nii.gz"
                assert path.is_file() == (mask is not None)
                if mask is not None:
                    stored = np.asarray(nib.load(path).dataobj)
                    np.testing.assert_array_equal(stored, mask)


@each_map
@each_method
def test_an_evaluation_of_arrays_is_that_of_files(roads, kind, method):
    files, arrays, new, probs, labels, about = roads[kind]
    calibration = METHODS[method](files)
    evaluate = cx.evaluate.evaluate_cohort
    if calibration.is_grouped:
        evaluate = cx.evaluate.evaluate_groups
    want = evaluate(calibration, new)
    ids = {"case_ids": IDS[NEW], "groups": GROUPS[NEW]}
    got = cx.evaluate.evaluate_arrays(calibration, probs, labels, **ids, **about)
    assert got.summary.to_json() == want.summary.to_json()
    assert repr(got.cases) == repr(want.cases)
    counts = [[o.counts for o in e.overlaps] for e in (got, want)]
    assert counts[0] == counts[1]
    own = METHODS[method](arrays)
    again = cx.evaluate.evaluate_arrays(own, probs, labels, **ids, **about)
    assert again.summary.results == got.summary.results


@each_map
def test_reliability_of_arrays_is_that_of_files(roads, kind):
    _, _, new, probs, labels, about = roads[kind]
    classes = kind == "classes"
    regions = REGIONS if classes else None
    definition = cx.scores.ScoreDefinition(
        regions=cx.volumes.parse_regions(regions or []), softmax=classes, n_bins=10
    )
    table = cx.scores.score_cohort(new, definition)
    want = cx.reliability.summarise(table, n_draws=20)
    got = cx.reliability.reliability_of_arrays(
        probs,
        labels,
        regions=regions,
        softmax=classes,
        n_bins=10,
        n_draws=20,
        case_ids=IDS[NEW],
        groups=GROUPS[NEW],
        **about,
    )
    assert got.summary.to_json() == want.summary.to_json()
    assert repr(got.cases) == repr(want.cases)


def calibrated(**options):
    probs, labels = one_map()
    table = cx.scores.score_arrays(
        probs[OLD], labels[OLD], 0.1, groups=GROUPS[OLD], n_bins=0
    )
    return cx.calibrate.calibrate_fnr(table, 0.3, **options), probs[NEW], labels[NEW]


@pytest.mark.parametrize("evaluate", [False, True])
@pytest.mark.parametrize(
    ("options", "given", "message"),
    [
        ({"group_by": "group"}, {}, "a threshold for each group: name the group"),
        ({"break_ties": True}, {}, "breaks ties by the names of cases: give case_ids"),
        ({}, {"case_ids": ["a"] * 6}, "case_ids must differ"),
        ({}, {"case_ids": ["a"]}, "case_ids has 1 entries for 6 cases"),
        ({}, {"groups": ["a"]}, "groups has 1 entries for 6 cases"),
        ({}, {"channels": "middle"}, 'must be "first", "last" or None'),
    ],
)
def test_what_decides_and_is_not_given_is_asked_for(options, given, message, evaluate):
    calibration, probs, labels = calibrated(**options)
    run = partial(cx.predict.apply, calibration, probs)
    if evaluate:
        run = partial(cx.evaluate.evaluate_arrays, calibration, probs, labels)
    with pytest.raises(ValueError, match=message):
        run(**given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.astype(int), "probs must be floating point, got int64"),
        (lambda p: np.full_like(p, np.nan), "must not be NaN"),
        (lambda p: p + 1, r"must lie in \[0, 1\]"),
        (lambda p: p[None], "more than 3 axes; an axis of classes comes with regions"),
        (lambda p: p.astype(str), "probs must hold numbers, got text"),
    ],
)
def test_maps_that_are_none_are_named_and_get_no_mask(change, message):
    calibration, probs, _ = calibrated()
    maps = [probs[0], change(probs[1]), probs[2]]
    with pytest.raises(ExceptionGroup, match="1 of 3 cases failed") as error:
        cx.predict.apply(calibration, maps)
    with pytest.raises(ValueError, match=f"case case_1: .*{message}"):
        raise error.value.exceptions[0]


def test_an_unknown_group_is_refused_by_the_case():
    calibration, probs, labels = calibrated(group_by="group")
    with pytest.raises(ExceptionGroup) as error:
        cx.predict.apply(calibration, probs, groups=["a"] * 5 + ["new"])
    assert "case case_5: " in str(error.value.exceptions[0])
    with pytest.raises(ValueError, match="new"):
        cx.evaluate.evaluate_arrays(
            calibration, probs, labels, groups=["a"] * 5 + ["new"]
        )


def test_what_promises_nothing_gives_no_masks_unless_asked():
    probs, labels = one_map()
    table = cx.scores.score_arrays(probs[:3], labels[:3], 0.1)
    few = cx.calibrate.calibrate_fnr(table, 0.1)
    with pytest.raises(ValueError, match="TOO_FEW_CASES"):
        cx.predict.apply(few, probs)
    assert cx.predict.apply(few, probs[:1], allow_vacuous=True)[0].mask.all()


def test_hard_masks_are_refused_and_a_case_of_several_regions_asks_for_a_name():
    calibration, probs, labels = calibrated()
    hard = labels.astype(np.float32)
    with pytest.raises(ValueError, match="hold 0 and 1 alone"):
        cx.predict.apply(calibration, hard)
    assert len(cx.predict.apply(calibration, hard, allow_hard_masks=True)) == len(hard)
    both = np.stack([probs, 1 - probs], -1)
    table = cx.scores.score_arrays(
        both, np.where(labels, 1, 2), 0.1, regions=["a=0:1", "b=1:2"]
    )
    several = cx.calibrate.calibrate_fnr(table, 0.4)
    case = cx.predict.apply(several, both)[0]
    with pytest.raises(ValueError, match=r"take one of its regions by name.* a, b"):
        case.mask  # noqa: B018


def test_cases_that_calibrated_have_no_law_in_memory_either():
    probs, labels = one_map()
    calibration, *_ = calibrated()
    seen = cx.evaluate.evaluate_arrays(calibration, probs[OLD], labels[OLD])
    assert not seen.summary.held_out
    assert seen.summary.results[0].expected_ecr is None
    names = [f"other_{i}" for i in range(N_OLD)]
    by_map = cx.evaluate.evaluate_arrays(
        calibration, probs[OLD], labels[OLD], case_ids=names
    )
    assert by_map.summary.n_units_seen_in_calibration == N_OLD


def test_a_calibration_from_files_refuses_maps_of_other_classes(roads):
    files, _, _, probs, labels, _ = roads["classes"]
    calibration = cx.calibrate.calibrate_fnr(files, 0.3)
    four = np.concatenate([probs / 2, probs[..., :1] / 2], -1)
    message = "probs has 4 classes, the calibration is for maps with 3"
    for run in (
        lambda: cx.predict.apply(calibration, four),
        lambda: cx.evaluate.evaluate_arrays(calibration, four, labels),
    ):
        with pytest.raises(ExceptionGroup) as error:
            run()
        assert message in str(error.value.exceptions[0])


def test_what_is_beyond_0_or_1_by_rounding_alone_is_that():
    probs, labels = one_map()
    ones = np.where(probs > 0.9, np.float32(1), probs)
    over = np.where(ones == 1, np.nextafter(np.float32(1), np.float32(2)), probs)
    want = cx.scores.score_arrays(ones, labels, 0.1)
    assert cx.scores.score_arrays(over, labels, 0.1).rows_digest == want.rows_digest
    cut = cx.calibrate.calibrate_fnr(want, 0.3)
    pairs = zip(cx.predict.apply(cut, over), cx.predict.apply(cut, ones), strict=True)
    assert all((a.mask == b.mask).all() for a, b in pairs)
