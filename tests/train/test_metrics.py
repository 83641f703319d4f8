"""Rows that are written, cut, and compared with what they mean."""

import numpy as np
import pytest


def written(folder, step, rows):
    from coverax.train.metrics import MetricsWriter

    writer = MetricsWriter(folder, step)
    writer.write("training", rows)
    writer.close()
    return (folder / "training.csv").read_text()


def test_rows_after_the_checkpoint_are_dropped_and_written_again(tmp_path):
    first = [{"step": k, "loss": 1 / k} for k in (1, 2, 3)]
    whole = written(tmp_path, 0, first)
    with (tmp_path / "training.csv").open("a") as file:
        file.write("4,0.")  # what a kill leaves
    assert written(tmp_path, 2, first[2:]) == whole
    assert whole.splitlines()[0] == "step,loss"
    assert [float(line.split(",")[1]) for line in whole.splitlines()[1:]] == [
        1,
        1 / 2,
        1 / 3,
    ]


def test_a_torn_header_is_written_again(tmp_path):
    (tmp_path / "training.csv").write_text("ste")
    assert written(tmp_path, 0, [{"step": 1, "loss": 2.0}]) == "step,loss\n1,2.0\n"


def test_tensorboard_has_the_same_scalars(tmp_path):
    written(tmp_path, 0, [{"step": 1, "loss": 2.0}])
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_metrics_of_a_case_are_those_of_the_definitions():
    from coverax.train.validation import case_metrics

    labels = np.zeros((4, 4, 4), np.int32)
    labels[0] = 1
    probs = np.zeros((4, 4, 4, 3), np.float32)
    probs[..., 0], probs[..., 1] = 0.75, 0.25
    probs[:2, ..., 0], probs[:2, ..., 1] = 0.25, 0.75
    found = case_metrics(probs, labels)
    # Predicted: 32 voxels, 16 of them right; gaps |.75 - .5| and |.25 - 0|.
    assert found["dice"][0] == pytest.approx(2 * 16 / (16 + 32))
    assert found["ece"][0] == pytest.approx(0.25)
    assert found["ace"][0] == pytest.approx(0.25)
    assert np.isnan(found["dice"][1])


def test_cases_without_a_class_do_not_count_for_it():
    from coverax.train.validation import validate

    class Case:
        def __init__(self, labels):
            self.labels = np.asarray(labels, np.int32).reshape(2, 1, 1)

    cases = [Case([1, 0]), Case([0, 0])]
    perfect = {id(c): np.eye(2, dtype=np.float32)[c.labels] for c in cases}
    found = validate(lambda case: perfect[id(case)], cases, ["background", "lesion"])
    assert found["dice"] == 1.0
    assert found["ece_lesion"] == 0.0
    none = validate(lambda case: perfect[id(case)], cases[1:], ["background", "lesion"])
    assert np.isnan(none["dice"])


def test_ignored_voxels_count_in_no_validation():
    from coverax.train.validation import case_metrics

    rng = np.random.default_rng(0)
    probs = rng.dirichlet([1, 1], (6, 5, 4)).astype(np.float32)
    labels = rng.integers(0, 2, (6, 5, 4))
    hidden = labels.copy()
    hidden[4:] = -1
    found, want = case_metrics(probs, hidden), case_metrics(probs[:4], labels[:4])
    for name, values in want.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6)
