"""Regions that a calibration refused are not looked at when new scans are."""

import numpy as np
import pytest
from tests.synthetic import case, write_nifti

import coverax as cx
from coverax.validate import monitor_folder, watch_folder

N = 24


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """A calibration of region a, whose region b had no reference; new scans with both."""
    rng, root = np.random.default_rng(0), tmp_path_factory.mktemp("regions")

    def one():
        probs, mask = case((7, 6, 5), int(rng.integers(4, 90)), rng)
        return np.stack([probs, 1 - probs], -1).astype(np.float32), mask.astype(
            np.uint8
        )

    probs, labels = map(np.stack, zip(*(one() for _ in range(N)), strict=True))
    table = cx.scores.score_arrays(
        probs, labels, [0.1], regions=["a=0:1", "b=1:2"], n_bins=0
    )
    found = cx.calibrate.calibrate_fnr(table, "0.2").promised()
    assert [part.region for part in found.refused_parts] == ["b"]
    maps, references = {}, {}
    for i in range(8):
        new, mask = one()
        name = f"new{i}"
        maps[name] = root / "probs" / f"{name}.nii.gz"
        references[name] = root / "labels" / f"{name}.nii.gz"
        write_nifti(maps[name], new, (1, 1, 1))
        write_nifti(references[name], np.where(mask, 1, 2).astype(np.uint8), (1, 1, 1))
    return found, maps, references


def test_maps_are_compared_in_the_regions_that_calibrated(cohort):
    found, maps, _ = cohort
    look = monitor_folder(found, maps)
    assert look.p_values
    assert {name.partition(".")[0] for name in look.p_values} == {"a"}


def test_references_are_bet_on_in_the_regions_that_calibrated(cohort, tmp_path):
    found, maps, references = cohort
    look = watch_folder(found, maps, tmp_path / "state.json", labels=references)
    assert look.n_new_references == len(references)
    bets = [name for name in look.found.capitals if name.startswith("references.")]
    assert bets == ["references.a"]
