"""The command line in process, and a tiny cohort to feed it."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tests.synthetic import case, write_nifti

N_CASES = 12
SHAPE = (8, 9, 7)


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def errors(self):
        """The lines that say what went wrong."""
        return [line for line in self.err.splitlines() if line.startswith("error:")]

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def cli(capsys, monkeypatch):
    """Run a command; whatever happens, nobody sees a traceback."""
    monkeypatch.delenv("COVERAX_DEBUG", raising=False)
    monkeypatch.setenv("COLUMNS", "100")

    def run_command(*args):
        from coverax.cli.app import run

        code = run([str(a) for a in args])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return Result(code, out, err)

    return run_command


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template")
    rng = np.random.default_rng(0)
    for i in range(N_CASES):
        probs, mask = case(SHAPE, 40, rng)
        write_nifti(folder / "probs" / f"case_{i:02d}.nii.gz", probs)
        write_nifti(folder / "labels" / f"case_{i:02d}.nii.gz", mask)
    return folder


@dataclass(frozen=True)
class Files:
    """A cohort on disk."""

    root: Path

    @property
    def probs(self):
        return self.root / "probs"

    @property
    def labels(self):
        return self.root / "labels"

    def map(self, i):
        return self.probs / f"case_{i:02d}.nii.gz"

    def label(self, i):
        return self.labels / f"case_{i:02d}.nii.gz"

    @property
    def options(self):
        return ("--probs", self.probs, "--labels", self.labels)

    def names(self):
        """Everything in the folder but the cohort itself."""
        return sorted(
            str(p.relative_to(self.root))
            for p in self.root.rglob("*")
            if p.relative_to(self.root).parts[0] not in ("probs", "labels")
        )


@pytest.fixture
def files(template, tmp_path):
    """A fresh copy of twelve sound cases."""
    shutil.copytree(template, tmp_path / "cohort")
    return Files(tmp_path / "cohort")


@pytest.fixture
def scored(files, cli):
    """The cohort with its score table."""
    table = files.root / "scores.parquet"
    assert cli("score", *files.options, "-o", table).code == 0
    return table


@pytest.fixture
def calibrated(scored, files, cli):
    """The cohort with its calibration."""
    path = files.root / "calibration.json"
    assert cli("calibrate", scored, "--alpha", "0.1", "-o", path).code == 0
    return path
