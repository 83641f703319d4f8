"""`--overwrite`: what an earlier run left gives way to a whole one, and nothing else does."""

import shutil

import pytest

from coverax.shown import plural


def contents(folder):
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


@pytest.fixture
def other(files, scored, cli):
    """A calibration at another level."""
    path = files.root / "other.json"
    assert cli("calibrate", scored, "--alpha", "0.4", "-o", path).code == 0
    return path


@pytest.fixture
def commands(files, scored, calibrated, other):
    """Two runs of a command each, whose results differ."""
    masks = ("--probs", files.probs)
    return {
        "predict": (("predict", calibrated, *masks), ("predict", other, *masks)),
        "evaluate": (
            ("evaluate", calibrated, *files.options),
            ("evaluate", other, *files.options),
        ),
        "validate": (
            ("validate", scored, "--alpha", "0.2"),
            ("validate", scored, "--alpha", "0.4"),
        ),
        "pack": (("pack", files.probs), ("pack", files.probs, "--bits", "8")),
    }


@pytest.mark.parametrize("name", ["predict", "evaluate", "validate", "pack"])
def test_the_folder_of_an_earlier_run_is_replaced_whole(files, commands, cli, name):
    first, second = commands[name]
    out, fresh = files.root / "out", files.root / "fresh"
    assert cli(*first, "-o", out).code == 0
    assert cli(*second, "-o", fresh).code == 0
    before = contents(out)
    refused = cli(*second, "-o", out)
    assert refused.code == 1
    assert contents(out) == before
    names = files.names()
    done = cli(*second, "-o", out, "--overwrite")
    assert done.code == 0
    assert (
        f"{plural(len(before), 'file')} of an earlier run will be replaced" in done.err
    )
    found, wanted = contents(out), contents(fresh)
    assert found.keys() == wanted.keys()
    assert found != before
    assert cli("verify", out).code == 0
    kept = {n for n in names if not n.startswith("out/")}
    assert {n for n in files.names() if not n.startswith("out/")} == kept
    assert cli(*first, "-o", out).code == 1  # the leave was for one run


@pytest.mark.parametrize("what", ["a file of mine", "an altered mask", "a folder"])
def test_what_verify_does_not_know_as_whole_is_never_replaced(
    files, calibrated, other, cli, what
):
    out = files.root / "out"
    masks = ("--probs", files.probs, "-o", out)
    assert cli("predict", calibrated, *masks).code == 0
    if what == "a file of mine":
        (out / "notes.txt").write_text("mine")
    elif what == "an altered mask":
        shutil.copy(files.label(0), out / files.map(0).name)
    else:
        (out / "more").mkdir()
        (out / "more" / "x.bin").write_bytes(b"mine")
    before = contents(out)
    done = cli("predict", other, *masks, "--overwrite")
    assert (done.code, len(done.errors)) == (1, 1)
    assert "is not replaced: it holds what no run left so" in done.errors[0]
    assert contents(out) == before


def test_a_run_that_fails_leaves_what_was_there(files, calibrated, other, cli):
    out = files.root / "out"
    masks = ("--probs", files.probs, "-o", out)
    assert cli("predict", calibrated, *masks).code == 0
    before = contents(out)
    good = files.map(0).read_bytes()
    files.map(0).write_bytes(b"text" * 99)
    assert cli("predict", other, *masks, "--overwrite").code == 1
    assert contents(out) == before
    files.map(0).write_bytes(good)
    assert cli("predict", other, *masks, "--overwrite", "--resume").code == 0
    assert contents(out) != before
    assert cli("verify", out).code == 0


def test_an_input_is_never_replaced(files, calibrated, cli):
    """Packed maps are ours; packed into their own folder they would be read and lost."""
    out = files.root / "packed"
    assert cli("pack", files.probs, "-o", out).code == 0
    before = contents(out)
    for command in (("pack", out), ("predict", calibrated, "--probs", out)):
        done = cli(*command, "-o", out, "--overwrite")
        assert done.code == 2
        assert "is an input" in done.err
        assert contents(out) == before
