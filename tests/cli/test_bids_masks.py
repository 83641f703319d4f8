"""`predict --bids`: a BIDS derivative of masks, whole or not, that a validator takes."""

import json
import shutil
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tests import bids_files as made
from tests.synthetic import write_nifti

IMAGES = [made.image_of(s) for s in range(1, 9)]
ENDING = "_space-T1w_res-low_desc-net_probseg.nii.gz"
LESION = ("--region", "lesion=2:1")
ORGAN = ("--region", "organ=1:2")
IDENTITY = ("--transform", "inner=identity", "--transform", "outer=identity")
SETS = ("--method", "sets", "--inner", "identity", "--outer", "identity")
# Kind of output: options of `score`, of `calibrate`, and the masks of an image.
KINDS = {
    "one": (LESION, (), ["desc-conformal_dseg"]),
    "several": (
        (*LESION, *ORGAN),
        (),
        ["label-lesion_desc-conformal_mask", "label-organ_desc-conformal_mask"],
    ),
    "sets": (
        (*LESION, *IDENTITY),
        SETS,
        ["desc-conformalInner_mask", "desc-conformalOuter_mask"],
    ),
    "volume": (LESION, ("--method", "volume"), ["desc-conformal_dseg"]),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A derivative of maps, and of each kind a calibration and masks of it."""
    from coverax.cli.app import run

    root = tmp_path_factory.mktemp("bids")
    made.write_maps(root / "maps", IMAGES, ENDING)
    made.write_references(root / "manual", IMAGES)
    imported = ("import", "bids", root / "maps", "--labels", root / "manual")
    commands = [(*imported, "-o", root / "cohort.csv")]
    for name, (scored, calibrated, _) in KINDS.items():
        table, calibration = root / f"{name}.parquet", root / f"{name}.json"
        commands += [
            ("score", "--cohort", root / "cohort.csv", *scored, "-o", table),
            ("calibrate", table, "--alpha", ".4", *calibrated, "-o", calibration),
            ("predict", calibration, "--probs", root / "maps", "--bids", root / name),
        ]
    for command in commands:
        assert run([str(word) for word in command]) == 0
    return root


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_are_named_by_the_standard(written, kind):
    found = {p.relative_to(written / kind).as_posix() for p in masks(written / kind)}
    stems = [made.place(written, image, "") for image in IMAGES]
    expected = {
        f"{stem.relative_to(written).as_posix()}_space-T1w_res-low_{ending}.nii.gz"
        for stem in stems
        for ending in KINDS[kind][2]
    }
    assert found == expected
    about = json.loads((written / kind / "dataset_description.json").read_text())
    assert about["DatasetType"] == "derivative"
    assert about["GeneratedBy"][0]["Name"] == "coverax"
    assert about["DatasetLinks"] == {"maps": "../maps"}
    table = written / kind / "desc-conformal_dseg.tsv"
    assert table.is_file() == (kind in ("one", "volume"))
    if table.is_file():
        assert table.read_text().splitlines()[1:] == ["0\tBackground", "1\tlesion"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_validator_of_the_standard_finds_no_error(written, kind):
    validator = shutil.which("bids-validator-deno")
    if validator is None:
        pytest.skip("needs bids-validator-deno")
    done = subprocess.run(
        [validator, "--json", written / kind], capture_output=True, text=True
    )
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [i for i in issues if i.get("severity") == "error"] == []
    assert done.returncode == 0


def masks(folder):
    return sorted(folder.rglob("*.nii.gz"))


@pytest.mark.parametrize("kind", KINDS)
def test_masks_and_sidecars_are_those_of_a_flat_folder(written, kind, tmp_path, cli):
    sides = ("--sides",) if kind == "sets" else ()
    maps = ("--probs", written / "maps")
    command = ("predict", written / f"{kind}.json", *maps, *sides)
    assert cli(*command, "-o", tmp_path / "flat").code == 0
    flat = masks(tmp_path / "flat")
    if kind == "sets":
        flat = [
            path
            for path in flat
            if path.name.endswith(("_inner.nii.gz", "_outer.nii.gz"))
        ]
    placed = masks(written / kind)
    assert len(placed) == len(flat)
    for one, other in zip(placed, flat, strict=True):
        assert one.read_bytes() == other.read_bytes()
        sidecar = json.loads(one.with_name(one.name[:-7] + ".json").read_text())
        case_id = sidecar["case_id"]
        own = json.loads((tmp_path / "flat" / f"{case_id}.json").read_text())
        (entry,) = sidecar["masks"]
        assert entry.pop("mask") == one.name
        assert any(entry.items() <= each.items() for each in own["masks"])
        assert sidecar["Description"] == sidecar["statement"] == own["statement"]
        source = f"{made.place(written, case_id, ENDING).relative_to(written)}"
        assert sidecar["Sources"] == [f"bids:maps:{source}"]
        assert ("Type" in sidecar) == one.name.endswith("_mask.nii.gz")


def test_the_list_of_volumes_lies_at_the_root_and_validators_are_told(written):
    lists = {"volumes.csv", "volumes.csv.json"}
    ignored = (written / "volume" / ".bidsignore").read_text().splitlines()
    assert set(ignored) == lists <= {p.name for p in (written / "volume").iterdir()}
    assert len((written / "volume/volumes.csv").read_text().splitlines()) == 9
    assert not (written / "one" / ".bidsignore").exists()


@pytest.mark.parametrize("places", ["shards", "workers"])
def test_other_places_give_the_same_derivative(written, tmp_path, cli, places):
    maps = ("--probs", written / "maps")
    command = ("predict", written / "volume.json", *maps)
    if places == "workers":
        options = ("--workers", "2")
    else:
        options = ("--parts", tmp_path / "parts")
        for shard in ("1/2", "2/2"):
            where = ("--shard", shard, "--bids", tmp_path / "parts")
            assert cli(*command, *where).code == 0
    assert cli(*command, *options, "--bids", tmp_path / "out").code == 0
    found, expected = (
        {p.relative_to(r): p.read_bytes() for p in r.rglob("*") if p.is_file()}
        for r in (tmp_path / "out", written / "volume")
    )
    description = [r.pop(Path("dataset_description.json")) for r in (found, expected)]
    about = [json.loads(own) for own in description]
    assert about[0].keys() == about[1].keys()  # where the maps lie from there differs
    assert found == expected


def test_what_is_written_is_known_to_verify(written, cli, tmp_path):
    shutil.copytree(written / "one", tmp_path / "one")
    done = cli("verify", tmp_path / "one", "--json")
    assert {verdict["status"] for verdict in done.json} == {"whole"}
    mask = masks(tmp_path / "one")[0]
    mask.write_bytes(masks(tmp_path / "one")[1].read_bytes())
    assert cli("verify", tmp_path / "one").code == 1


def test_a_stopped_run_goes_on_and_ends_with_the_same_files(written, tmp_path, cli):
    shutil.copytree(written / "maps", tmp_path / "maps")
    broken = made.place(tmp_path / "maps", IMAGES[3], ENDING)
    good = broken.read_bytes()
    broken.write_bytes(good[:-9])
    command = ("predict", written / "sets.json", "--probs", tmp_path / "maps")
    done = cli(*command, "--bids", tmp_path / "out")
    assert done.code == 1
    assert not (tmp_path / "out").exists()
    # A killed run leaves what it was at; another one in the flat form may not go on.
    (tmp_path / "out.partial" / ".left" / "deep").mkdir(parents=True)
    (tmp_path / "out.partial" / ".left" / "deep" / "x.nii.gz").touch()
    assert cli(*command, "-o", tmp_path / "out", "--resume").code == 1
    broken.write_bytes(good)
    before = {p.name: p.stat().st_mtime_ns for p in masks(tmp_path / "out.partial")}
    done = cli(*command, "--bids", tmp_path / "out", "--resume")
    assert done.code == 0
    after = {p.name: p for p in masks(tmp_path / "out")}
    kept = {name: t for name, t in before.items() if name != "x.nii.gz"}
    assert len(kept) == 2 * len(IMAGES) - 2
    assert kept.items() <= {n: p.stat().st_mtime_ns for n, p in after.items()}.items()
    relative = {p.relative_to(tmp_path / "out") for p in (tmp_path / "out").rglob("*")}
    assert relative == {
        p.relative_to(written / "sets") for p in (written / "sets").rglob("*")
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hippocampus_1", "is not named as BIDS names images"),
        ("sub-01_mine-2", "mine is no entity of BIDS"),
        ("sub-01_T1w", "would both write"),
    ],
)
def test_names_that_the_standard_has_not_are_one_line(
    written, tmp_path, cli, name, message
):
    for case_id in ("sub-01", name):
        source = made.place(written / "maps", "sub-01", ENDING)
        (tmp_path / "flat").mkdir(exist_ok=True)
        shutil.copy(source, tmp_path / "flat" / f"{case_id}.nii.gz")
    maps = ("--probs", tmp_path / "flat")
    done = cli("predict", written / "one.json", *maps, "--bids", tmp_path / "out")
    assert done.code == 1
    assert message in done.errors[0]
    assert not (tmp_path / "out").exists()


def test_one_of_o_and_bids_is_given(written, tmp_path, cli):
    command = ("predict", written / "one.json", "--probs", written / "maps")
    both = ("-o", tmp_path / "a", "--bids", tmp_path / "b")
    assert cli(*command).code == 2
    assert cli(*command, *both).code == 2
    for option in (("--merge",), ("--as", "nrrd")):
        done = cli(*command, *option, "--bids", tmp_path / "b")
        assert done.code == 1
        assert "leave --merge and --as out" in done.errors[0]


def test_maps_of_folds_are_all_sources(tmp_path, cli):
    rng = np.random.default_rng(3)
    rows = ["case_id,probs,labels,fold"]
    for i in range(20):
        probs = rng.random(made.SHAPE, np.float32)
        write_nifti(tmp_path / f"oof/c{i}.nii.gz", probs)
        write_nifti(tmp_path / f"labels/c{i}.nii.gz", probs > 0.5)
        rows.append(f"c{i},oof/c{i}.nii.gz,labels/c{i}.nii.gz,{i % 2}")
    (tmp_path / "cohort.csv").write_text("\n".join(rows))
    for fold in range(2):
        write_nifti(
            tmp_path / f"new_{fold}/sub-01_ses-2.nii.gz",
            rng.random(made.SHAPE, np.float32),
        )
    maps = [word for k in range(2) for word in ("--probs", tmp_path / f"new_{k}")]
    fit = ("--method", "fnr", "--folds", "--alpha", "0.4", "-o", tmp_path / "c")
    for command in (
        ("score", "--cohort", tmp_path / "cohort.csv", "-o", tmp_path / "s"),
        ("calibrate", tmp_path / "s", *fit),
        ("predict", tmp_path / "c", *maps, "--bids", tmp_path / "out"),
    ):
        assert cli(*command).code == 0
    (mask,) = masks(tmp_path / "out")
    stem = "sub-01/ses-2/anat/sub-01_ses-2_desc-conformal_dseg"
    assert mask == tmp_path / "out" / f"{stem}.nii.gz"
    sidecar = json.loads((tmp_path / "out" / f"{stem}.json").read_text())
    assert sidecar["Sources"] == [
        f"bids:maps:new_{k}/sub-01_ses-2.nii.gz" for k in (0, 1)
    ]
    assert np.asarray(nib.load(mask).dataobj).shape == made.SHAPE
