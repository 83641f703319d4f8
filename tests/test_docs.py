"""Every code block of README.md, CONTRIBUTING.md and docs/ runs, or says why it does not.

A page is a reader who types it from top to bottom into an empty folder, with tiny cohorts
under the names that it gives to data of one's own (`docs_world`). A block that cannot run
has `<!-- not run: REASON -->` in the line above; it is counted, its commands are parsed
and its Python is compiled.
"""

import ast
import io
import re
import runpy
import shutil
import sys
import tomllib
from contextlib import redirect_stderr, redirect_stdout
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import pytest

from tests.docs_blocks import BLOCKS, PAGES, ROOT
from tests.docs_world import lay, make_world

# Nets of millions of weights: their blocks are compiled, and what they import is there.
TOO_LARGE = {"docs/nets.md"}
# Pages that need an extra of their own.
NEEDS = {"docs/tutorials/polyps.md": "SimpleITK"}
# Shown, not run: formulas, output, changes of the source.
SHOWN = {"text", "diff"}
# How many blocks are marked as not run; a change of it is a decision.
N_NOT_RUN = 13


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


def cohort(seed):
    """Maps and references of 12 cases."""
    rng = np.random.default_rng(seed)
    labels = rng.random((12, 5, 4, 3)) < 0.3
    probs = np.clip(0.6 * labels + 0.4 * rng.random(labels.shape), 0, 1)
    return list(probs.astype(np.float32)), list(labels)


@pytest.fixture
def given():
    """What the pages speak of without making it: maps, references, a table of them."""
    from coverax.scores import score_arrays

    probs, labels = cohort(0)
    return {
        "probs": probs,
        "labels": labels,
        "new_probs": probs[0],
        "table": score_arrays(probs, labels, [0.1]),
        "spacing_mm": np.ones((12, 3), np.float32),
    }


@pytest.fixture
def of_page(given):
    """Pages that speak of whole batches, as kernels take them, or of new cases."""
    import jax.numpy as jnp

    batches = {name: jnp.stack(given[name]) for name in ("probs", "labels")}
    spacing_mm = jnp.asarray(given["spacing_mm"])
    n = len(given["probs"])
    new = cohort(1)
    return {
        "docs/reliability.md": batches | {"spacing_mm": spacing_mm},
        "docs/arrays.md": {
            "names": [f"patient_{i}" for i in range(n)],
            "test_names": [f"other_{i}" for i in range(n)],
            "test_probs": new[0],
            "test_labels": new[1],
            "have_pandas": find_spec("pandas") is not None,
        },
    }


def run_python(block, names):
    tree = ast.parse(block.text, block.place)
    if block.page in TOO_LARGE:
        imports = (ast.Import, ast.ImportFrom)
        tree.body = [node for node in tree.body if isinstance(node, imports)]
    exec(compile(tree, block.place, "exec"), names)


def run_command(words, place, world, here):
    """Run one command line; what it printed, on both streams."""
    from coverax.cli.app import run

    page = place.split(":")[0]
    for before, word in pairwise(words):
        if before not in ("-o", "--output"):
            lay(word, page, world, here)
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        if words[0] == "coverax":
            code = run(words[1:])
            assert code == 0, f"{place}: {' '.join(words)}\n{out.getvalue()}"
        else:
            run_module(words, place)
    return out.getvalue()


def clear_outputs(block, here):
    """Blocks of a page are alternatives: folders of an earlier one make room."""
    for words in block.commands():
        for before, word in pairwise(words):
            if before == "-o" and (here / word).is_dir():
                shutil.rmtree(here / word)


def run_module(words, place):
    """`python -m examples.tutorials.NAME ...`; of other programs, that they are there."""
    if words[:2] == ["python", "-m"] and words[2].startswith("examples.tutorials."):
        path = ROOT / (words[2].replace(".", "/") + ".py")
        argv, sys.argv = sys.argv, words[2:]
        try:
            runpy.run_path(str(path), run_name="__main__")
        finally:
            sys.argv = argv
    else:
        check_program(words, place)


def check_program(words, place):
    """A program that is not ours names what exists."""
    if words[:2] == ["python", "-m"]:
        assert (ROOT / (words[2].replace(".", "/") + ".py")).is_file(), place
    elif words[0] == "make":
        targets = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert re.search(rf"^{words[1]}:", targets, re.MULTILINE), place
    elif words[0] == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        known = extras["project"]["optional-dependencies"]
        for extra in re.findall(r"\[([\w,]+)\]", " ".join(words)):
            assert set(extra.split(",")) <= set(known), place
    else:
        pytest.fail(f"{place}: {words[0]} cannot be run; <!-- not run: REASON -->")


def check_command(words, place):
    """A command line that is not run is one that the commands take."""
    import typer

    from coverax.cli.app import app

    if words[0] != "coverax":
        return
    command, context = typer.main.get_command(app), None
    rest = words[1:]
    while hasattr(command, "commands"):
        assert rest, place
        assert rest[0] in command.commands, place
        command, rest = command.commands[rest[0]], rest[1:]
    context = command.make_context(words[1], list(rest))
    assert context is not None


def squeezed(text):
    """Text without frames and with single blanks."""
    return " ".join(re.sub(r"[│┃|]", " ", text).split())


@pytest.fixture
def small_demo(monkeypatch):
    """The demonstration on 60 patients; `make demo` is the whole one."""
    from coverax.demo import run

    whole = run.one_nodule_per_patient
    monkeypatch.setattr(run, "one_nodule_per_patient", lambda *of: whole(*of)[:60])
    monkeypatch.setattr(run, "N_CALIBRATION", 40)


@pytest.fixture
def empty_figures(monkeypatch):
    """Figures are written empty: what is drawn is for tests/report, and takes long."""
    from matplotlib.figure import Figure

    save = Figure.savefig
    empty = Figure((1, 1))
    monkeypatch.setattr(
        Figure, "savefig", lambda _, *to, **how: save(empty, *to, **how)
    )


PAGE_NAMES = sorted({block.page for block in BLOCKS})


@pytest.mark.parametrize("page", PAGE_NAMES)
def test_a_page_runs_from_top_to_bottom(
    page, world, given, of_page, small_demo, empty_figures, tmp_path, monkeypatch
):
    if page in NEEDS:
        pytest.importorskip(NEEDS[page])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("MPLBACKEND", "agg")
    names, printed = given | of_page.get(page, {}), None
    for block in (b for b in BLOCKS if b.page == page):
        if block.reason is None and block.language == "python":
            run_python(block, names)
        elif block.reason is None and block.language == "sh":
            clear_outputs(block, tmp_path)
            lines = [
                run_command(words, block.place, world, tmp_path)
                for words in block.commands()
            ]
            printed = squeezed("\n".join(lines))
        elif block.language == "text" and page.startswith("docs/tutorials/"):
            for line in block.text.splitlines():
                assert squeezed(line) in printed, f"{block.place}: {line}\n{printed}"


def test_blocks_are_of_known_languages():
    known = SHOWN | {"python", "sh", "toml", "json"}
    assert not {b.place: b.language for b in BLOCKS if b.language not in known}
    for block in BLOCKS:
        if block.language == "toml":
            tomllib.loads(block.text)
    # What is indented is not looked at, so it must not hold commands.
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        outside = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
        assert not re.search(r"^(?: {4,}|> )coverax ", outside, re.MULTILINE), path


def test_blocks_that_are_not_run_are_counted_and_sound():
    left = [block for block in BLOCKS if block.reason]
    for block in left:
        for path in re.findall(r"tests/[\w/]+\.py", block.reason):
            assert (ROOT / path).is_file(), block.place
        if block.language == "python":
            ast.parse(block.text, block.place)
        elif block.language == "sh":
            for words in block.commands():
                check_command(words, block.place)
    listed = "\n".join(f"{block.place}: {block.reason}" for block in left)
    assert len(left) == N_NOT_RUN, listed
