"""One label map of several regions: who wins, what is lost, and who is told."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tests import nnunet_files as made

import coverax as cx

N_CASES = 8


def calibrated(root, regions, probs_of, **options):
    """Maps, references and a calibration of models with these regions."""
    made.write_dataset(root, regions, **options)
    rng = np.random.default_rng(0)
    for i in range(N_CASES):
        probs = probs_of(i)
        made.write_case(
            root, f"c{i}", probs, segmentation=np.zeros(probs.shape[1:], np.uint8)
        )
        labels = rng.integers(0, 4, probs.shape[1:])
        made.write_reference(root / "labels", f"c{i}", labels)
    cohort = cx.volumes.match_folders(root, root / "labels")
    taken, _ = cx.volumes.cohort_labels(cohort, [])
    table = cx.scores.score_cohort(cohort, cx.scores.ScoreDefinition(regions=taken))
    return cx.calibrate.calibrate_fnr(table, "0.4")


def cut_at(calibration, *cuts):
    """The same calibration at thresholds of ours, in the order of its regions."""
    names = [region.name for region in calibration.definition.regions]
    of = dict(zip(names, cuts, strict=True))
    own = tuple(replace(t, value=-of[t.region]) for t in calibration.thresholds)
    return replace(calibration, thresholds=own)


@pytest.fixture
def labelled(tmp_path):
    labels = made.LABELS | {"vessel": 3}
    return calibrated(tmp_path / "r", labels, lambda i: made.softmax(i, 4))


def merged(calibration, folder, output, **options):
    maps = cx.volumes.nifti_files(folder)
    return cx.predict.predict_folder(calibration, maps, output, merge=True, **options)


def test_a_later_region_lies_over_an_earlier_one_and_the_loss_is_counted(
    labelled, tmp_path
):
    calibration = cut_at(labelled, 0.2, 0.3, 0.25)
    result = merged(calibration, tmp_path / "r", tmp_path / "out")
    assert result.n_with_hidden == N_CASES
    for i in range(N_CASES):
        probs = made.softmax(i, 4)
        masks = [
            probs[k] >= np.float32(cut) for k, cut in ((1, 0.2), (2, 0.3), (3, 0.25))
        ]
        expected = np.where(
            masks[2], 3, np.where(masks[1], 2, np.where(masks[0], 1, 0))
        )
        found, file = cx.volumes.read_labels(tmp_path / f"out/c{i}.nii.gz")
        np.testing.assert_array_equal(found, expected.reshape(-1, order="F"))
        assert file.dtype == np.uint8
        sidecar = json.loads((tmp_path / f"out/c{i}.json").read_text())
        hidden = [
            int((mask & (expected != k + 1)).sum()) for k, mask in enumerate(masks)
        ]
        assert [entry["n_hidden"] for entry in sidecar["masks"]] == hidden
        assert [entry["label"] for entry in sidecar["masks"]] == [1, 2, 3]
        assert [e["n_predicted"] for e in sidecar["masks"]] == [m.sum() for m in masks]
        assert sidecar["merged"]["n_overlap"] == int((sum(masks) > 1).sum())
        assert sidecar["guarantee"] is False
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {f"c{i}{e}" for i in range(N_CASES) for e in (".nii.gz", ".json")}
    assert {v.status for v in cx.verify.verify_files([tmp_path / "out"])} == {"whole"}


def test_where_nothing_overlaps_each_region_keeps_its_mask_and_the_promise(
    labelled, tmp_path
):
    calibration = cut_at(labelled, 0.6, 0.6, 0.6)
    assert merged(calibration, tmp_path / "r", tmp_path / "out").n_with_hidden == 0
    maps = cx.volumes.nifti_files(tmp_path / "r")
    cx.predict.predict_folder(calibration, maps, tmp_path / "each")
    for i in range(N_CASES):
        found, _ = cx.volumes.read_labels(tmp_path / f"out/c{i}.nii.gz")
        for region in calibration.definition.regions:
            name = f"c{i}_{region.name}.nii.gz"
            own, _ = cx.volumes.read_labels(tmp_path / "each" / name)
            np.testing.assert_array_equal(found == region.labels[0], own != 0)
        assert json.loads((tmp_path / f"out/c{i}.json").read_text())["guarantee"]


@pytest.mark.parametrize("order", [(2, 1, 3), (5, 4, 300)])
def test_a_model_of_regions_is_painted_as_nnunet_paints_it(tmp_path, order):
    root = tmp_path / "r"
    calibration = calibrated(root, made.REGIONS, made.sigmoids, order=list(order))
    half = np.nextafter(np.float32(0.5), np.float32(1)).item()  # strictly above 1/2
    merged(cut_at(calibration, half, half, half), root, tmp_path / "out")
    for i in range(N_CASES):
        probs = made.sigmoids(i)
        expected = np.zeros(probs.shape[1:], int)
        for row, label in zip(probs, order, strict=True):
            expected[row > 0.5] = label
        found, file = cx.volumes.read_labels(tmp_path / f"out/c{i}.nii.gz")
        np.testing.assert_array_equal(found, expected.reshape(-1, order="F"))
        assert file.dtype == (np.uint8 if max(order) < 256 else np.uint16)


REGIONS = {
    "nested": (["whole=0:1,2,3", "core=1:1,3", "small=2:3"], [2, 1, 3]),
    "any first": (["all=0:any", "lesion=1:1,2"], [3, 1]),
    "joined": (["both=1+2:1,2", "second=2:2"], [1, 2]),
    "large": (["a=0:70", "b=1:400"], [70, 400]),
}


@pytest.mark.parametrize("name", REGIONS)
def test_every_region_has_a_label_of_its_own(labelled, tmp_path, name):
    specs, labels = REGIONS[name]
    regions = cx.volumes.parse_regions(specs)
    definition = replace(labelled.definition, regions=regions, map_kind=None)
    found = cx.predict.merged_labels(replace(labelled, definition=definition), [])
    assert found == dict(zip((r.name for r in regions), labels, strict=True))
    assert all(
        not r.labels or v in r.labels
        for r, v in zip(regions, found.values(), strict=True)
    )


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        (
            ["small=1:2", "whole=0:1,2"],
            "whole comes after small, whose labels it holds",
        ),
        (["small=1:2", "whole=0:any"], "whole comes after small"),
        (["left=0:1", "right=1:1"], "every label of region left belongs to a later"),
        (["a=0:70000"], "label 70000 does not fit into 16 bits"),
    ],
)
def test_regions_that_one_label_map_cannot_hold_are_refused(
    labelled, tmp_path, specs, message
):
    definition = replace(
        labelled.definition, regions=cx.volumes.parse_regions(specs), map_kind=None
    )
    with pytest.raises(ValueError, match=message):
        cx.predict.merged_labels(replace(labelled, definition=definition), [])


def test_a_merged_map_is_no_map_to_evaluate(labelled, tmp_path, capsys):
    merged(cut_at(labelled, 0.6, 0.6, 0.6), tmp_path / "r", tmp_path / "out")
    cohort = cx.volumes.match_folders(tmp_path / "out", tmp_path / "r/labels")
    with pytest.raises(ValueError, match=r"c0.nii.gz: is a mask that predict wrote"):
        cx.evaluate.evaluate_cohort(labelled, cohort)
