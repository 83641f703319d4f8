"""The example of paper 001 runs, on a few tiny masks, and its two columns agree."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests import synthetic

ROOT = Path(__file__).resolve().parents[2]


def write_masks(path, n, rng):
    crops = [synthetic.lesion_mask((6, 7, 5), 20, rng) for _ in range(n)]
    bits = [np.packbits(crop.ravel()) for crop in crops]
    np.savez(
        path,
        packed=np.concatenate(bits),
        offsets=np.cumsum([0, *map(len, bits)]),
        shapes=np.array([crop.shape for crop in crops], np.int16),
        full_shape=np.array([30, 30, 30], np.int16),
    )


def test_tables_and_figures_appear(tmp_path):
    pytest.importorskip("matplotlib")
    masks, out = tmp_path / "masks", tmp_path / "out"
    masks.mkdir()
    write_masks(masks / "Tiny.npz", 10, np.random.default_rng(0))
    command = [sys.executable, "-m", "examples.paper001.run", masks, "-o", out]
    subprocess.run([*command, "--most", "9"], check=True, cwd=ROOT)
    assert {p.name for p in out.iterdir()} == {
        "tables.md",
        *(f"figure{k}.png" for k in (4, 5, 6, 7)),
    }
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in (out / "tables.md").read_text().splitlines()
        if line.startswith("| Tiny")
    ]
    assert len(rows) == 5
    for row in rows:
        assert row[0] == "Tiny"
        exact, expected = float(row[3].split()[0]), float(row[5])
        assert exact == pytest.approx(expected, abs=1e-4)
