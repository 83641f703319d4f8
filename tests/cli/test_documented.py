"""What a user can type or read occurs in the documentation."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from docs import make_cli
from tests.synthetic import case, write_nifti

DOCS = Path(__file__).resolve().parents[2] / "docs"
FENCED = re.compile(r"```.*?```", re.DOTALL)
# Names that documentation writes once for all: `calibrated_MEASURE`, `..._low`.
FAMILIES = (
    (r"(calibrated|fixed)_(?=.)", "calibrated_MEASURE"),
    (r"(pooled|macro)_(?=.)", "pooled_MEASURE"),
    (r"band_\d+_", "band_K_count"),
    (r"_(low|high)$", "..._low"),
    (r"@.*", "inner_size@TRANSFORM"),
)


def code(path):
    """The code spans and blocks of a page: a word of its prose documents no key."""
    text = path.read_text(encoding="utf-8")
    spans = re.findall(r"`[^`]+`", FENCED.sub("", text))
    return "\n".join(FENCED.findall(text) + spans)


PAGES = {path.name: code(path) for path in sorted(DOCS.glob("*.md"))}
BY_HAND = "\n".join(text for name, text in PAGES.items() if name != "cli.md")
KNOWN = set(re.findall(r"\w+", BY_HAND))
COMMANDS = dict(make_cli.commands())


def is_documented(key):
    """Whether a key occurs as code, by itself or as a member of a family."""
    for pattern, family in FAMILIES:
        if key not in KNOWN and re.search(pattern, key):
            assert family in BY_HAND
            key = re.sub(pattern, "bin_" if family == "band_K_count" else "", key)
    return key in KNOWN


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_documented(name):
    words = set(re.findall(r"--[\w-]+", PAGES["cli.md"]))
    assert f"## {name}\n" in (DOCS / "cli.md").read_text(encoding="utf-8")
    assert not set(make_cli.long_options(COMMANDS[name])) - {"--help"} - words


def test_the_page_of_commands_is_what_the_commands_say():
    made = make_cli.page()
    assert (DOCS / "cli.md").read_text(encoding="utf-8") == made, (
        "run python docs/make_cli.py"
    )


def write_part(root, part, rng):
    """Twenty cases of two sites; returns their cohort.csv."""
    lines = ["case_id,probs,labels,unit,group"]
    for i in range(20):
        probs, mask = case((8, 9, 7), 40, rng)
        name = f"{part}{i:02d}"
        paths = [f"{part}/{kind}/{name}.nii.gz" for kind in ("probs", "labels")]
        for path, array in zip(paths, (probs, mask), strict=True):
            write_nifti(root / path, array)
        lines.append(",".join([name, *paths, name, "AB"[i % 2]]))
    (root / f"{part}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root / f"{part}.csv"


FLOW = """
split cal.csv --calibration .5 -o split
score --cohort cal.csv {transforms} --set-sizes --lesions corner --band-edges=-2,0,2
    --soft-bins 5 --mask-lesions
    --curves --engine host -o scores.parquet
calibrate scores.parquet --alpha .2 --tolerance .1 -o calibration.json
calibrate scores.parquet --alpha .2 --tolerance .1 --group-by group -o groups.json
calibrate scores.parquet --alpha .2 --tolerance .1 --break-ties -o ties.json
calibrate scores.parquet --alpha .5 --method ltt --delta .2 --also dice=.6 -o ltt.json
calibrate scores.parquet --alpha .3 --method sets --inner identity --outer distance
    -o sets.json
calibrate scores.parquet --alpha .3 --method volume -o volume.json
calibrate scores.parquet --alpha .3 --method triage --bad-below .5 -o triage.json
score --cohort cal.csv --engine host -o site-a.parquet
score --cohort new.csv --engine host -o site-b.parquet
summarise site-a.parquet -o site-a.json
summarise site-b.parquet -o site-b.json
calibrate --sites site-a.json site-b.json --method crc --alpha .2 -o of-sites.json
validate --sites site-a.json site-b.json --method crc --alpha .2 -o validated-sites
learn-sets scores.parquet --alpha .3 -o transforms.json
evaluate calibration.json --cohort new.csv --engine host -o evaluated
evaluate ltt.json --cohort new.csv --engine host -o evaluated-ltt
evaluate sets.json --cohort new.csv --engine host -o evaluated-sets
evaluate volume.json --cohort new.csv --engine host -o evaluated-volume
predict volume.json --probs new/probs -o measured
evaluate triage.json --cohort new.csv --engine host -o evaluated-triage
predict triage.json --probs new/probs -o triaged
predict calibration.json --probs new/probs -o masks
predict calibration.json --probs new/bids --bids derivative
predict calibration.json --probs new/probs --merge -o merged
pack new/probs -o packed
export new/probs -o exported
validate scores.parquet --alpha .2 --splits 20 --hold-out-by group --order-by unit
    --method fnr -o validated
reliability scores.parquet --no-figures --draws 9 --against scores.parquet
    -o reliability
temperature fit --cohort cal.csv -o temperature.json
monitor calibration.json --probs new/probs --labels new/labels --state monitor.json
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A flow of every command that writes, on forty tiny cases."""
    from coverax.cli.app import run

    root, rng = tmp_path_factory.mktemp("flow"), np.random.default_rng(0)
    for part in ("cal", "new"):
        write_part(root, part, rng)
    (root / "new/bids").mkdir()
    shutil.copy(root / "new/probs/new00.nii.gz", root / "new/bids/sub-00.nii.gz")
    names = ("inner=identity", "inner=distance", "outer=distance")
    flow = FLOW.format(transforms=" ".join(f"--transform {n}" for n in names))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for line in re.sub(r"\n +", " ", flow).strip().splitlines():
            assert run(line.split()) == 0, line
    return root


# Names of the cohort's own region, sites and cases: data, not fields.
OF_DATA = {"foreground", "A", "B"}
OF_DATA |= {f"{part}{i:02d}" for part in ("cal", "new") for i in range(20)}


def keys_of(content):
    """Every key of a JSON object, however deep."""
    if isinstance(content, dict):
        yield from content.keys() - OF_DATA
        # The keys of `files` are names of files.
        content = [value for key, value in content.items() if key != "files"]
    if isinstance(content, list):
        for value in content:
            yield from keys_of(value)


def fields(path):
    """The keys or columns of a file."""
    if path.suffix == ".parquet":
        return pq.read_schema(path).names
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".csv":
        return next(csv.reader(text.splitlines()))
    # Features are named by their region too.
    return [key.split(".")[-1] for key in keys_of(json.loads(text))]


FILES = [
    "split/split.json",
    "calibration.json",
    "groups.json",
    "ties.json",
    "ltt.json",
    "sets.json",
    "site-a.json",
    "of-sites.json",
    "validated-sites/validation.json",
    "transforms.json",
    "temperature.json",
    "scores.parquet",
    "evaluated/evaluation.json",
    "evaluated/cases.csv",
    "evaluated/summary.json",
    "evaluated-ltt/evaluation.json",
    "evaluated-sets/evaluation.json",
    "evaluated-sets/cases.csv",
    "masks/new00.json",
    "volume.json",
    "evaluated-volume/evaluation.json",
    "evaluated-volume/cases.csv",
    "measured/new00.json",
    "measured/volumes.csv",
    "measured/volumes.csv.json",
    "triage.json",
    "evaluated-triage/evaluation.json",
    "evaluated-triage/cases.csv",
    "triaged/new00.json",
    "triaged/triage.csv",
    "monitor.json",
    "derivative/dataset_description.json",
    "derivative/sub-00/anat/sub-00_desc-conformal_dseg.json",
    "merged/new00.json",
    "packed/packed.json",
    "exported/exported.json",
    "validated/validation.json",
    "reliability/reliability.json",
    "reliability/cases.csv",
    "reliability/groups.csv",
    "reliability/bands.csv",
]


@pytest.mark.parametrize("name", FILES)
def test_every_field_of_a_file_is_documented(written, name):
    found = fields(written / name)
    assert found
    assert not [key for key in found if not is_documented(key)]


def test_monitor_prints_only_documented_fields(written, cli):
    maps = written / "new" / "probs"
    for memory in ((), ("--state", written / "monitor.json")):
        args = ("--probs", maps, "--json", *memory)
        content = cli("monitor", written / "calibration.json", *args)
        names = {key.split(".")[-1] for key in keys_of(content.json)} - OF_DATA
        assert names
        assert not [key for key in names if not is_documented(key)]
