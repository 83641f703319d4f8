"""Inputs and values of the golden file beside the checkout."""

import json

import numpy as np
import pytest

from tests.conftest import SHARED

FILE = SHARED / "golden" / "losses.json"
ABSENT = "the golden values (../shared/golden) are not there"


def golden():
    """The content of `losses.json`; the test skips without it."""
    if not FILE.is_file():
        pytest.skip(ABSENT)
    return json.loads(FILE.read_text())


def logits_volume():
    """Logits `[image, class, voxel]` and labels `[image, voxel]`, by its note."""
    i = np.arange(64)
    b, c = np.arange(2)[:, None, None], np.arange(3)[None, :, None]
    logits = 2.5 * np.sin(0.7 * i + 1.9 * c + 0.4 * b) + 0.8 * np.cos(
        0.31 * i * (c + 1)
    )
    labels = (3 * i + 5 * np.arange(2)[:, None] + i * i // 7) % 3
    labels[1][labels[1] == 2] = 0
    return logits.astype(np.float32), labels


def softmax_volume():
    """Probabilities of the same, in place of logits."""
    logits, labels = logits_volume()
    e = np.exp(logits)
    return (e / e.sum(1, keepdims=True)).astype(np.float32), labels
