"""Results of every command that a report speaks of, on forty tiny cases."""

import re

import numpy as np
import pytest
from tests.cli.conftest import cli as cli
from tests.synthetic import case, write_nifti

# A name that a page must not take for its own text.
HOSTILE = "A<b>&\"'</script>"
FLOW = """
score --cohort cal.csv --tolerance .1 --tolerance .3 --curves
    --transform inner=identity --transform outer=distance --engine host
    -o cut/scores.parquet
score --cohort new.csv --tolerance .1 --tolerance .3 --engine host -o cut/new.parquet
calibrate cut/scores.parquet --alpha .2 --tolerance .1 -o cut/calibration.json
evaluate cut/calibration.json --cohort new.csv --engine host -o cut/evaluated
validate cut/scores.parquet --alpha .2 --splits 20 --hold-out-by group --method fnr
    -o cut/validated
reliability cut/new.parquet --no-figures --draws 9 -o cut/reliability
monitor cut/calibration.json --probs new/probs --labels new/labels
    --state cut/monitor.json
calibrate cut/scores.parquet --alpha .2 --method sets --joint max
    --inner identity --outer distance -o sets/calibration.json
evaluate sets/calibration.json --cohort new.csv --engine host -o sets/evaluated
calibrate cut/scores.parquet --alpha .3 --method volume -o volume/calibration.json
evaluate volume/calibration.json --cohort new.csv --engine host -o volume/evaluated
calibrate cut/scores.parquet --alpha .3 --method triage --bad-below .5
    -o triage/calibration.json
evaluate triage/calibration.json --cohort new.csv --engine host -o triage/evaluated
"""


def write_part(root, part, rng):
    """Twenty cases of two sites, with their cohort.csv."""
    lines = ["case_id,probs,labels,unit,group"]
    for i in range(20):
        probs, mask = case((8, 9, 7), 40, rng)
        name = f"{part}{i:02d}"
        paths = [f"{part}/{kind}/{name}.nii.gz" for kind in ("probs", "labels")]
        for path, array in zip(paths, (probs, mask), strict=True):
            write_nifti(root / path, array)
        group = ('"' + HOSTILE.replace('"', '""') + '"', "B")[i % 2]
        lines.append(",".join([name, *paths, name, group]))
    (root / f"{part}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    """Folders `cut`, `sets`, `volume` and `triage` of results, and the cases."""
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    from coverax.cli.app import run

    root, rng = tmp_path_factory.mktemp("results"), np.random.default_rng(7)
    for part in ("cal", "new"):
        write_part(root, part, rng)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for folder in ("cut", "sets", "volume", "triage"):
            (root / folder).mkdir()
        for line in re.sub(r"\n +", " ", FLOW).strip().splitlines():
            assert run(line.split()) == 0, line
    return root
