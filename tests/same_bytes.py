"""Digests of what every command writes on real cohorts, to compare two commits by.

    python tests/same_bytes.py FOLDER > digests.txt

Sixty hippocampi (beside the checkout) and lung nodules (in the package) are scored,
calibrated by every method, predicted and evaluated through the command line; each file
gives a line. A change of the code that is none of the results leaves every line as it
was: run it before and after, and compare with `diff`. Only the version that files name
is made the same. FOLDER is filled, 150 MB of it.
"""

import csv
import hashlib
import json
import os
import re
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import nibabel as nib
import numpy as np
import pyarrow.parquet as pq

from coverax.cli.app import run
from coverax.demo.cohort import write_nodules

SHARED = Path(__file__).resolve().parents[2] / "shared"
VERSION = re.compile(rb'("coverax": )"[^"]*"')
SETS = ["--inner", "identity", "--outer", "smooth:fwhm=4.0"]
LOGIT = ["--inner", "logit", "--outer", "distance:cut=0.5"]

# Name of a calibration -> its options on the hippocampus table.
HIPPOCAMPUS = {
    "fnr": ["--tolerance", "0.1"],
    "fnr_delta": ["--tolerance", "0.1", "--delta", "0.2"],
    "fnr_group": ["--tolerance", "0.1", "--group-by", "group"],
    "fnr_floor": ["--tolerance", "0.1", "--group-by", "group", "--group-floor", "15"],
    "fnr_weights": ["--tolerance", "0.1", "--weights", "weight"],
    "fnr_ties": ["--tolerance", "0.1", "--break-ties", "--seed", "3"],
    "fnr_empty": ["--tolerance", "0.05", "--empty", "include"],
    "crc": ["--method", "crc"],
    "crc_dice": ["--method", "crc", "--alpha", "0.3", "--loss", "fpr"],
    "crc_lesions": ["--method", "crc", "--loss", "missed_lesions"],
    "crc_group": ["--method", "crc", "--group-by", "group"],
    "rcps": ["--method", "rcps", "--delta", "0.2"],
    "rcps_hb": ["--method", "rcps", "--delta", "0.2", "--bound", "hoeffding_bentkus"],
    "ltt": ["--method", "ltt", "--delta", "0.2", "--alpha", "0.3"],
    "ltt_also": [
        *("--method", "ltt", "--delta", "0.2", "--alpha", "0.3"),
        *("--correction", "holm", "--also", "fpr=0.9"),
    ],
    "sets_each": ["--method", "sets", *SETS, "--joint", "each"],
    "sets_bonferroni": ["--method", "sets", *LOGIT, "--joint", "bonferroni"],
    "sets_max": ["--method", "sets", *SETS, "--joint", "max"],
    "sets_logit": ["--method", "sets", *LOGIT, "--alpha", "0.3", "--joint", "each"],
    "sets_delta": ["--method", "sets", *SETS, "--delta", "0.2", "--alpha", "0.3"],
    "sets_wsr": [
        *("--method", "sets", *SETS, "--delta", "0.2", "--alpha", "0.4"),
        *("--bound", "wsr", "--joint", "each"),
    ],
}
# Name of a calibration -> its options on the nodules' table: units of several cases.
NODULES = {
    "fnr": ["--tolerance", "0.1", "--per-unit", "one", "--seed", "5"],
    "fnr_all": ["--tolerance", "0.1", "--per-unit", "all"],
    "crc": ["--method", "crc", "--alpha", "0.3", "--per-unit", "one"],
    "crc_all": ["--method", "crc", "--alpha", "0.3", "--per-unit", "all"],
    "sets": [
        *("--method", "sets", "--per-unit", "one", "--joint", "max"),
        *("--inner", "identity", "--outer", "surface:cut=0.5"),
    ],
}
RATERS = {
    "worst": ["--tolerance", "0.1", "--alpha", "0.3", "--raters", "worst"],
    "draw": ["--tolerance", "0.1", "--alpha", "0.3", "--raters", "draw"],
    "crc": ["--method", "crc", "--alpha", "0.5", "--raters", "worst"],
    "sets": [
        *("--method", "sets", "--alpha", "0.4", "--raters", "worst"),
        *("--inner", "identity", "--outer", "identity", "--joint", "max"),
    ],
}
PREDICTED = ("fnr", "fnr_group", "ltt", "sets_max", "sets_logit")
EVALUATED = ("fnr", "fnr_delta", "fnr_group", "crc", "rcps", "ltt_also", "sets_max")
EVALUATED += ("sets_bonferroni", "sets_delta", "fnr_weights")


def command(*arguments, log):
    """Run a command; what it refuses is a result too."""
    code = run([str(a) for a in arguments])
    log.append(f"{code}  {' '.join(map(str, arguments))}")
    return code


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_rows(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def hippocampus(log):
    """Every method on 40 of 60 hippocampi; masks and evaluation of the other 20."""
    folder = Path("hippocampus")
    tool = SHARED / "tools" / "unpack_cohort.py"
    unpack = [sys.executable, tool, "hippocampus", folder, "--limit", "60"]
    subprocess.run(unpack, check=True, stdout=subprocess.DEVNULL)
    rows = rows_of(folder / "cohort.csv")
    for i, row in enumerate(rows):
        row |= {"group": "ab"[i % 2], "weight": str(1 + i % 3)}
    write_rows(folder / "calibration.csv", rows[:40])
    write_rows(folder / "heldout.csv", rows[40:])
    groups = [{"case_id": r["case_id"], "group": r["group"]} for r in rows]
    write_rows(Path("groups.csv"), groups)
    transforms = [
        f"{side}={name}"
        for side in ("inner", "outer")
        for name in ("identity", "logit", "smooth:fwhm=4.0", "distance:cut=0.5")
    ]
    options = [x for t in transforms for x in ("--transform", t)]
    options += ["--tolerance", "0.05", "--tolerance", "0.1", "--set-sizes", "--curves"]
    options += ["--lesions", "face", "--engine", "host"]
    table = Path("hippocampus.parquet")
    cohort = ["--cohort", folder / "calibration.csv"]
    command("score", *cohort, *options, "-o", table, log=log)
    for name, extra in HIPPOCAMPUS.items():
        alpha = [] if "--alpha" in extra else ["--alpha", "0.2"]
        out = Path(f"hippocampus_{name}.json")
        command("calibrate", table, *alpha, *extra, "-o", out, log=log)
    learned = Path("learned.json")
    held = ["--cohort", folder / "heldout.csv", *options]
    command("score", *held, "-o", "learning.parquet", log=log)
    learn = ["learn-sets", "learning.parquet", "--alpha", "0.4", "--folds", "4"]
    command(*learn, "-o", learned, log=log)
    extra = ["--method", "sets", "--transforms", learned, "--alpha", "0.4"]
    for joint in ("bonferroni", "ranked"):
        out = f"hippocampus_learned_{joint}.json"
        command("calibrate", table, *extra, "--joint", joint, "-o", out, log=log)
    maps = folder / "few"
    maps.mkdir()
    for row in rows[40:46]:
        name = Path(row["probs"]).name
        (maps / name).symlink_to((folder / row["probs"]).resolve())
    for name in PREDICTED:
        asked = ["--sides"] if name.startswith("sets") else []
        asked += ["--groups", "groups.csv"] if name == "fnr_group" else []
        made = ["predict", f"hippocampus_{name}.json", "--probs", maps, *asked]
        command(*made, "-o", f"masks_{name}", log=log)
    for name in EVALUATED:
        judged = ["evaluate", f"hippocampus_{name}.json", "--engine", "host"]
        judged += ["--cohort", folder / "heldout.csv"]
        command(*judged, "-o", f"evaluation_{name}", log=log)
    every = ["validate", table, "--alpha", "0.2", "--method", "fnr"]
    command(*every, "-o", "validation", log=log)
    soft = ["--probs", folder / "probs4d", "--labels", folder / "labels3", "--softmax"]
    soft += ["--region", "anterior=1:1", "--region", "posterior=2:2"]
    soft += ["--band-edges", "-5,0,2", "--engine", "host", "--curves"]
    command("score", *soft, "-o", "softmax.parquet", log=log)
    measured = ["reliability", "softmax.parquet", "--no-figures"]
    command(*measured, "-o", "reliability", log=log)
    both = ["calibrate", "softmax.parquet", "--alpha", "0.2", "--method", "crc"]
    command(*both, "-o", "softmax_crc.json", log=log)


def nodules(log):
    """Units of several cases, and several raters a case."""
    folder, table = Path("nodules"), Path("nodules.parquet")
    path = write_nodules(folder, range(120), "cohort.csv")
    options = ["--transform", "inner=identity", "--transform", "outer=identity"]
    options += ["--transform", "outer=surface:cut=0.5", "--engine", "host"]
    command("score", "--cohort", path, *options, "-o", table, log=log)
    for name, extra in NODULES.items():
        alpha = [] if "--alpha" in extra else ["--alpha", "0.2"]
        out = f"nodules_{name}.json"
        command("calibrate", table, *alpha, *extra, "-o", out, log=log)
        judged = ["evaluate", out, "--cohort", path, "--engine", "host"]
        command(*judged, "-o", f"nodules_evaluation_{name}", log=log)
    rows = rows_of(path)
    # A reference of another rater: the nodule's own, a voxel along.
    shifted = folder / "shifted"
    shifted.mkdir()
    raters = []
    for row in rows[:40]:
        image = nib.load(folder / row["labels"])
        moved = np.roll(np.asarray(image.dataobj), 1, axis=0)
        name = shifted / Path(row["labels"]).name
        nib.save(nib.Nifti1Image(moved, image.affine), name)
        raters.append(row | {"rater": "one"})
        raters.append(row | {"rater": "two", "labels": str(name.relative_to(folder))})
    write_rows(folder / "raters.csv", raters)
    many, table = folder / "raters.csv", Path("raters.parquet")
    command("score", "--cohort", many, *options, "-o", table, log=log)
    for name, extra in RATERS.items():
        out = f"raters_{name}.json"
        extra = ["--per-unit", "one", *extra]
        command("calibrate", table, *extra, "-o", out, log=log)
        judged = ["evaluate", out, "--cohort", many, "--engine", "host"]
        command(*judged, "-o", f"raters_evaluation_{name}", log=log)
    seen = ["monitor", "nodules_fnr.json", "--probs", folder / "probs", "--json"]
    with Path("monitor.json").open("w") as file, redirect_stdout(file):
        command(*seen, log=log)


def digest_of(path):
    """SHA-256 of a file, of a table's values and metadata, whatever the version."""
    content = path.read_bytes()
    if path.suffix == ".parquet":
        rows = pq.read_table(path)
        meta = (rows.schema.metadata or {}).get(b"coverax", b"")
        kinds = json.dumps([[f.name, str(f.type)] for f in rows.schema])
        values = json.dumps(rows.to_pydict())
        content = meta + kinds.encode() + values.encode()
    return hashlib.sha256(VERSION.sub(rb'\1""', content)).hexdigest()


def main():
    log = []
    folder = Path(sys.argv[1])
    folder.mkdir()
    os.chdir(folder)
    hippocampus(log)
    nodules(log)
    inputs = {"hippocampus", "nodules"}
    for path in sorted(Path().rglob("*")):
        if path.is_file() and path.parts[0] not in inputs:
            log.append(f"{digest_of(path)}  {path}")
    sys.stdout.write("\n".join(log) + "\n")


if __name__ == "__main__":
    main()
