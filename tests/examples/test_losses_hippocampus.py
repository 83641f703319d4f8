"""The example that trains with each loss, on a few steps and four small cases."""

import re
from functools import partial

import numpy as np
import pytest
from tests.synthetic import write_nifti

pytest.importorskip("flax")
pytest.importorskip("optax")


@pytest.mark.slow
def test_every_row_has_four_numbers_and_the_first_is_its_own_base(
    tmp_path, monkeypatch, capsys
):
    from examples import losses_hippocampus as example

    rng = np.random.default_rng(0)
    for i, shape in enumerate([(35, 50, 13), (42, 58, 24), (40, 56, 12), (31, 60, 20)]):
        image = rng.normal(size=shape).astype(np.float32)
        labels = np.digitize(image, [1.0, 2.0]).astype(np.uint8)
        write_nifti(tmp_path / "images" / f"c{i}.nii.gz", image)
        write_nifti(tmp_path / "labels" / f"c{i}.nii.gz", labels)
    write_nifti(tmp_path / "images" / "unlabelled.nii.gz", image)
    names = ["Dice + CE", "Dice + CE + soft mL1-ACE"]
    monkeypatch.setattr(example, "RUNS", {n: example.RUNS[n] for n in names})
    monkeypatch.setattr(example, "train", partial(example.train, steps=2))
    example.main(tmp_path / "images", tmp_path / "labels", n_train=2, n_test=2)
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()]
    assert [row[0].strip("| ") for row in rows] == names
    numbers = [[float(x) for x in re.findall(r"-?\d+\.\d+", " ".join(r))] for r in rows]
    assert np.shape(numbers) == (2, 8)
    assert numbers[0][2:4] == [0, 0]
    assert numbers[1][2] == pytest.approx(numbers[1][0] - numbers[0][0], abs=2e-3)
