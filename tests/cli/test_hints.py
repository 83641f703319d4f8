"""What a wrong file is likely to be, and the way out, in the line that refuses it."""

import nibabel as nib
import numpy as np
import pytest
from tests.synthetic import write_nifti

import coverax as cx


def spoilt(files, change):
    """Every map, changed; returns the last array."""
    for path in sorted(files.probs.iterdir()):
        array = change(np.asanyarray(nib.load(path).dataobj))
        write_nifti(path, array)
    return array


def logits(p):
    p = np.clip(p, 1e-4, 1 - 1e-4)
    return np.log(p / (1 - p)).astype(np.float32)


KINDS = {
    "percent": (lambda p: p * np.float32(100), "these look like percent"),
    "whole percent": (
        lambda p: np.rint(100 * p).astype(np.uint8),
        "these look like percent",
    ),
    "bytes": (lambda p: np.rint(255 * p).astype(np.uint8), "divide by 255"),
    "16 bits": (lambda p: np.rint(65535 * p).astype(np.uint16), "divide by 65535"),
    "logits": (logits, "these look like logits: --logits"),
    "label map": (lambda p: (3 * (p > 0.5)).astype(np.uint8), "look like labels"),
    "mask of 255": (lambda p: (255 * (p > 0.5)).astype(np.uint8), "look like labels"),
}
NO_HINT = {
    "one above": lambda p: np.where(p == p.max(), np.float32(1.5), p),
    "one below": lambda p: np.where(p == p.min(), np.float32(-0.2), p),
    "no scale": lambda p: p * np.float32(1e7),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_map_of_another_scale_is_named_for_what_it_is(files, cli, kind):
    change, words = KINDS[kind]
    array = spoilt(files, change)
    done = cli("score", *files.options, "-o", files.root / "s.parquet")
    assert (done.code, len(done.errors)) == (1, 2)
    assert words in done.errors[0]
    maps, labels = [array.astype(np.float32)], [np.ones(array.shape, int)]
    with pytest.raises(ExceptionGroup) as error:
        cx.scores.score_arrays(maps, labels, tolerances="0.1")
    assert words in str(error.value.exceptions[0])


@pytest.mark.parametrize("kind", NO_HINT)
def test_nothing_is_guessed_of_a_map_that_looks_like_nothing(files, cli, kind):
    spoilt(files, NO_HINT[kind])
    done = cli("score", *files.options, "-o", files.root / "s.parquet")
    assert done.code == 1
    assert "must lie in [0, 1]" in done.errors[0]
    assert "look like" not in done.err


def test_swapped_folders_are_named_as_such(files, cli):
    swapped = ("--probs", files.labels, "--labels", files.probs)
    done = cli("score", *swapped, "-o", files.root / "s.parquet")
    assert (done.code, len(done.errors)) == (1, 2)
    assert "these look like probabilities: are the two swapped?" in done.errors[0]


TABLE, FILE = "a Parquet file, as a score table is", "a calibration"
WRONG = {
    "evaluate a table": (
        lambda f, t, _c: ("evaluate", t, *f.options, "-o", f.root / "e"),
        f"it is {TABLE}: name the calibration that `coverax calibrate` writes",
    ),
    "predict by a table": (
        lambda f, t, _c: ("predict", t, "--probs", f.probs, "-o", f.root / "e"),
        f"it is {TABLE}: name the calibration",
    ),
    "calibrate a calibration": (
        lambda f, _t, c: ("calibrate", c, "--alpha", ".1", "-o", f.root / "e"),
        f"it is {FILE}: name the score table that `coverax score` writes",
    ),
    "calibrate a folder": (
        lambda f, _t, _c: ("calibrate", f.probs, "--alpha", ".1", "-o", f.root / "e"),
        "it is a folder: name the score table",
    ),
    "apply a calibration": (
        lambda f, _t, c: (
            *("temperature", "apply", c, "--probs", f.probs),
            *("-o", f.root / "e"),
        ),
        f"it is {FILE}: name the temperature that `coverax temperature fit` writes",
    ),
    "a cohort that is a table": (
        lambda f, t, _c: ("score", "--cohort", t, "-o", f.root / "e"),
        f"not a CSV file in UTF-8 ({TABLE})",
    ),
    "a folder that is a file": (
        lambda f, t, c: ("predict", c, "--probs", t, "-o", f.root / "e"),
        "no such folder; it is a file",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_file_of_another_kind_is_named_beside_what_was_wanted(
    files, scored, calibrated, cli, name
):
    command, words = WRONG[name]
    done = cli(*command(files, scored, calibrated))
    assert (done.code, len(done.errors)) == (1, 1)
    assert words in done.errors[0]
    assert not (files.root / "e").exists()
