"""A monitor with a memory, through the command line."""

import csv
import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from tests.cli.conftest import N_CASES, SHAPE
from tests.synthetic import case, write_nifti

import coverax as cx

N_NEW = 9


@pytest.fixture
def new(files):
    """Nine scans of eight patients, one folder for all and one for references."""
    rng, root = np.random.default_rng(5), files.root / "new"
    for i in range(N_NEW):
        probs, mask = case(SHAPE, 40, rng)
        name = f"p{min(i, 7)}_{i}.nii.gz"
        write_nifti(root / "probs" / name, probs)
        write_nifti(root / "labels" / name, mask)
    return root


@pytest.fixture
def monitor(calibrated, cli):
    def look(probs, *args):
        pattern = ("--unit-pattern", "^(p[0-9])_")
        return cli("monitor", calibrated, "--probs", probs, *pattern, *args)

    return look


def batch(new, name, indices):
    """A folder of some of the new scans."""
    folder = new / name
    for kind in ("probs", "labels"):
        (folder / kind).mkdir(parents=True)
        for path in sorted((new / kind).iterdir()):
            if int(path.name.split("_")[1].split(".")[0]) in indices:
                shutil.copy(path, folder / kind / path.name)
    return folder


def content(state):
    return json.loads(state.read_text())


def test_any_batching_of_one_order_gives_the_same_memory(new, monitor, files):
    states = []
    for k, parts in enumerate(
        [[range(9)], [range(2), range(2, 9)], [[i] for i in range(9)]]
    ):
        state = files.root / f"state{k}.json"
        for b, indices in enumerate(parts):
            folder = batch(new, f"batch{k}_{b}", indices)
            args = ("--labels", folder / "labels", "--state", state, "--json")
            end = monitor(folder / "probs", *args)
            assert end.code == 0
        states.append((content(state), end.json))
    (first, shown), *others = states
    assert shown["n_maps"] == shown["n_references"] == 8  # p7 was scanned twice
    for other, printed in others:
        for name in ("maps", "references"):
            plain = [
                [{k: v for k, v in e.items() if k != "look"} for e in found[name]]
                for found in (first, other)
            ]
            assert plain[0] == plain[1]
        for name in ("capital", "largest", "largest_of", "capitals", "alarm"):
            assert shown[name] == printed[name]
    assert [look["n_maps"] for look in states[1][0]["looks"]] == [2, 8]
    assert len(states[2][0]["looks"]) == 8  # a look at nothing new is none


def test_looking_again_changes_nothing(new, monitor, files):
    state = files.root / "m.json"
    args = ("--labels", new / "labels", "--state", state, "--json")
    first = monitor(new / "probs", *args).json
    before = state.read_bytes()
    again = monitor(new / "probs", *args).json
    assert state.read_bytes() == before
    assert (first["n_new"], again["n_new"]) == (8, 0)
    assert first["capitals"] == again["capitals"]
    (verdict,) = cx.verify.verify_files([state])
    assert verdict.status == "whole"


def test_references_may_come_later(new, monitor, files):
    late = batch(new, "late", [0, 3])
    state = files.root / "m.json"
    first = monitor(
        new / "probs", "--labels", late / "labels", "--state", state, "--json"
    )
    assert first.json["n_maps"] == 8
    assert first.json["n_references"] == 2
    done = monitor(
        new / "probs", "--labels", new / "labels", "--state", state, "--json"
    ).json
    assert (done["n_new"], done["n_new_references"]) == (0, 6)


def test_losses_are_what_the_mask_misses(new, monitor, files, calibrated):
    state = files.root / "m.json"
    monitor(new / "probs", "--labels", new / "labels", "--state", state)
    limit = np.float32(
        cx.calibrate.read_calibration(calibrated).thresholds[0].probability
    )
    for k, entry in enumerate(content(state)["references"]):
        name = f"p{k}_{k}.nii.gz"
        probs = nib.load(new / "probs" / name).get_fdata().astype(np.float32)
        true = nib.load(new / "labels" / name).get_fdata() > 0
        missed = int((true & (probs < limit)).sum())
        assert entry["losses"] == {"foreground": float(missed > true.sum() // 10)}


def test_a_broken_promise_ends_with_code_3_and_stays_an_alarm(files, cli, calibrated):
    """Every new reference lies where the map is 0: all fail."""
    rng, root, state = (
        np.random.default_rng(6),
        files.root / "bad",
        files.root / "m.json",
    )
    for i in range(12):
        probs, _ = case(SHAPE, 40, rng)
        write_nifti(root / "probs" / f"n{i:02d}.nii.gz", probs)
        write_nifti(
            root / "labels" / f"n{i:02d}.nii.gz", (probs < 0.05).astype(np.uint8)
        )
    args = ("--probs", root / "probs", "--labels", root / "labels", "--state", state)
    picture = files.root / "m.png"
    end = cli("monitor", calibrated, *args, "--level", "0.1", "--plot", picture)
    assert end.code == 3
    assert "ALARM" in end.out
    assert picture.stat().st_size > 1000
    again = cli("monitor", calibrated, *args, "--level", "0.1", "--json")
    assert again.code == 3
    assert again.json["largest_of"] == "references.foreground"


def test_maps_that_calibrated_are_not_new(files, cli, calibrated):
    picture = ("--plot", files.root / "m.png")
    args = (
        "--probs",
        files.probs,
        "--state",
        files.root / "m.json",
        "--json",
        *picture,
    )
    end = cli("monitor", calibrated, *args)
    assert end.code == 0
    assert end.json["n_maps"] == 0
    assert end.json["n_not_counted"] == N_CASES
    assert not (files.root / "m.json").exists()
    assert "no picture" in end.err


def test_one_look_stays_as_it_was(new, monitor, files):
    plain, once = (monitor(new / "probs", *args) for args in ((), ("--once",)))
    assert plain.code == once.code == 0
    assert "one look (--once); with --state" in plain.err
    assert plain.out == once.out


def reseal(state, **changes):
    from coverax.files import publish_sealed_json

    plain = {k: v for k, v in content(state).items() if k != "digest"}
    publish_sealed_json(state, plain | changes)


def test_a_state_that_cannot_go_on_is_one_line(new, monitor, files, scored, cli):
    state = files.root / "m.json"
    maps, refs = new / "probs", ("--labels", new / "labels")
    assert monitor(maps, "--state", state).code == 0

    def refused(*args):
        end = monitor(maps, "--state", state, *args)
        assert end.code == 1
        assert len(end.errors) == 1
        return end.errors[0]

    assert "maps alone, without references" in refused(*refs)
    assert "level 0.01" in refused("--level", "0.05")
    assert "seed 0" in refused("--seed", "4")
    other = files.root / "other.json"
    cli("calibrate", scored, "--alpha", "0.3", "-o", other)
    end = cli("monitor", other, "--probs", maps, "--state", state)
    assert "another calibration" in end.errors[0]
    reseal(state, schema=2)
    assert "schema 2, this version reads 1" in refused()
    reseal(state, schema=1, maps="none")
    assert "not a sound monitor state" in refused()
    state.write_text(state.read_text().replace('"seed": 0', '"seed": 7'))
    assert "altered after it was written" in refused()
    state.write_text("[]")
    assert "not a coverax monitor state" in refused()


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (("--method", "crc"), "crc promises a mean over calibration sets"),
        (("--method", "triage"), "no watch by references"),
        (("--method", "volume", "--regions", "joint"), "all regions at once"),
        (("--method", "fnr", "--per-unit", "all"), "no plain rank"),
        (("--method", "fnr", "--group-by", "unit", "--group-floor", "9"), "each group"),
    ],
)
def test_promises_without_a_bet_are_refused(files, scored, cli, new, method, words):
    path = files.root / "c.json"
    assert cli("calibrate", scored, *method, "--alpha", "0.3", "-o", path).code == 0
    args = ("--probs", new / "probs", "--labels", new / "labels")
    end = cli("monitor", path, *args, "--state", files.root / "m.json")
    assert end.code == 1
    assert words in end.errors[0]
    assert not (files.root / "m.json").exists()


@pytest.mark.parametrize(
    ("kept", "asked", "column"),
    [
        ((), ("--method", "volume", "--alpha", "0.4"), "covered"),
        (
            ("--score", "mass"),
            ("--score", "mass", "--alpha", "0.5"),
            "calibrated_complies",
        ),
    ],
    ids=["volume", "mass"],
)
def test_promises_fail_where_evaluate_says_so(files, cli, new, kept, asked, column):
    table, path, state = (files.root / name for name in ("kept", "c.json", "m.json"))
    assert cli("score", *files.options, *kept, "-o", table).code == 0
    assert cli("calibrate", table, *asked, "-o", path).code == 0
    cohort = ("--probs", new / "probs", "--labels", new / "labels")
    assert cli("evaluate", path, *cohort, "-o", files.root / "e").code == 0
    with (files.root / "e" / "cases.csv").open(newline="") as file:
        judged = [row[column] == "True" for row in csv.DictReader(file)]
    assert cli("monitor", path, *cohort, "--state", state).code == 0
    failed = [e["losses"]["foreground"] for e in content(state)["references"]]
    assert failed == [float(not hit) for hit in judged]
    assert {0.0, 1.0} == set(failed)


@pytest.mark.parametrize("joint", ["each", "bonferroni", "max"])
def test_sets_fail_where_evaluate_says_so(files, cli, new, joint):
    table, path, state = (files.root / name for name in ("sets", "c.json", "m.json"))
    asked = ("--transform", "inner=surface", "--transform", "outer=surface")
    assert cli("score", *files.options, *asked, "-o", table).code == 0
    args = ("--method", "sets", "--joint", joint, "--alpha", "0.5", "-o", path)
    assert cli("calibrate", table, *args).code == 0
    cohort = ("--probs", new / "probs", "--labels", new / "labels")
    assert cli("evaluate", path, *cohort, "-o", files.root / "e").code == 0
    with (files.root / "e" / "cases.csv").open(newline="") as file:
        judged = list(csv.DictReader(file))
    end = cli("monitor", path, *cohort, "--state", state, "--json")
    assert end.code in (0, 3), end.err
    losses = [entry["losses"] for entry in content(state)["references"]]
    sides = {"joint": "foreground"} if joint == "max" else {}
    sides = sides or {side: f"foreground.{side}" for side in ("inner", "outer")}
    for side, name in sides.items():
        failed = [float(row[f"{side}_covered"] != "True") for row in judged]
        assert [own[name] for own in losses] == failed
        assert f"references.{name}" in end.json["capitals"]
    assert {value for own in losses for value in own.values()} == {0.0, 1.0}


@pytest.mark.parametrize(
    "method", [("fnr", "--delta", "0.3"), ("rcps", "--delta", "0.3", "--loss", "fnr")]
)
def test_promises_with_confidence_are_watched_by_their_mean(
    files, scored, cli, new, method
):
    path = files.root / "c.json"
    args = ("--method", *method, "--alpha", "0.5", "-o", path)
    assert cli("calibrate", scored, *args).code == 0
    args = ("--probs", new / "probs", "--labels", new / "labels")
    end = cli("monitor", path, *args, "--state", files.root / "m.json", "--json")
    assert end.code == 0
    losses = [
        e["losses"]["foreground"] for e in content(files.root / "m.json")["references"]
    ]
    found = cx.validate.risk_capital(np.array(losses), "0.5")[-1] / 2
    assert end.json["capitals"]["references.foreground"] == found


def test_options_that_need_a_memory_say_so(new, monitor, files):
    state = files.root / "m.json"
    for args in (("--labels", new / "labels"), ("--plot", files.root / "p.png")):
        end = monitor(new / "probs", *args)
        assert end.code == 2
        assert "goes with --state" in end.err
    assert monitor(new / "probs", "--once", "--state", state).code == 2


def test_a_reference_without_its_map_is_named(new, monitor, files):
    (new / "probs" / "p2_2.nii.gz").unlink()
    args = ("--labels", new / "labels", "--state", files.root / "m.json")
    end = monitor(new / "probs", *args)
    assert end.code == 1
    assert "p2_2.nii.gz" in end.errors[0]


def test_a_damaged_map_leaves_the_memory_as_it_was(new, monitor, files):
    state = files.root / "m.json"
    first = batch(new, "first", range(4))
    assert monitor(first / "probs", "--state", state).code == 0
    before = state.read_bytes()
    broken = new / "probs" / "p5_5.nii.gz"
    broken.write_bytes(broken.read_bytes()[:200])
    end = monitor(new / "probs", "--state", state)
    assert end.code == 1
    assert "p5_5" in end.errors[0]
    assert state.read_bytes() == before
