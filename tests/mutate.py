"""Small wrong edits of the source, each with the tests that must fail on it.

`python tests/mutate.py` runs every row of `mutants.md`, `python tests/mutate.py HOLM`
those with that text in their name. The edits are in `mutants.toml`, under the names of
the rows. An edit is made in a copy of `src`; the tree itself is never touched.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
_ROW = re.compile(r"^\| (?P<name>.+?) \| (?P<tests>`.+`) \|$", re.MULTILINE)
_SECONDS = 600  # a test that hangs has noticed something, but not what it says


class Mutant(NamedTuple):
    """A wrong edit.

    Attributes:
        name: Row of `mutants.md`.
        file: Of the package, from `src/coverax`.
        old: Text that occurs there once.
        new: What is put in its place.
        tests: Node ids, from `tests`, that must fail.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def read_mutants() -> list[Mutant]:
    """All rows of `mutants.md` with their edits.

    Raises:
        ValueError: A row has no edit or an edit no row, a name occurs twice, or the text
            to replace does not occur once.
    """
    rows = _ROW.findall((HERE / "mutants.md").read_text())
    edits = tomllib.loads((HERE / "mutants.toml").read_text())
    names = [name for name, _ in rows]
    if odd := set(names) ^ edits.keys():
        raise ValueError(f"rows and edits do not match: {sorted(odd)}")
    if len(set(names)) < len(names):
        raise ValueError("a name occurs twice in mutants.md")
    found = []
    for name, tests in rows:
        mutant = Mutant(name, **edits[name], tests=tuple(re.findall(r"`(.+?)`", tests)))
        n_places = source_of(mutant).count(mutant.old)
        if n_places != 1:
            raise ValueError(f"{name}: {n_places} places for its edit in {mutant.file}")
        found.append(mutant)
    return found


def source_of(mutant: Mutant) -> str:
    """The file that a mutant edits, as it is."""
    return (ROOT / "src/coverax" / mutant.file).read_text()


def passing(tests: tuple[str, ...], mutant: Mutant | None = None) -> list[str]:
    """Those of the tests that pass on a copy of the source, edited or not."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "src"
        shutil.copytree(
            ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__")
        )
        if mutant is not None:
            edited = source_of(mutant).replace(mutant.old, mutant.new)
            (source / "coverax" / mutant.file).write_text(edited)
        failed = _failed(tests, source)
    return [t for t in tests if not any(f.startswith(f"tests/{t}") for f in failed)]


def _failed(tests: tuple[str, ...], source: Path) -> list[str]:
    """Node ids of the tests that fail; an error outside of a test is no answer."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-x"] if len(tests) == 1 else []
    done = subprocess.run(
        [*command, *(f"tests/{test}" for test in tests)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode not in (0, 1) or re.search("^ERROR", done.stdout, re.MULTILINE):
        raise RuntimeError(done.stdout[-3000:] + done.stderr[-1000:])
    return re.findall(r"^FAILED (\S+)", done.stdout, re.MULTILINE)


def main(wanted: list[str]) -> int:
    """Run the mutants with a text in their name; 1 where one lives."""
    chosen = [
        mutant
        for mutant in read_mutants()
        if not wanted or any(w.lower() in mutant.name.lower() for w in wanted)
    ]
    tests = tuple(dict.fromkeys(t for mutant in chosen for t in mutant.tests))
    sound = passing(tests)
    if broken := set(tests) - set(sound):
        _say(f"fail without any edit: {sorted(broken)}")
        return 1
    n_alive = 0
    for mutant in chosen:
        alive = passing(mutant.tests, mutant)
        n_alive += bool(alive)
        _say(" ".join(["LIVES " if alive else "killed", mutant.name, *alive]))
    _say(f"{len(chosen)} mutants, {n_alive} live")
    return int(n_alive > 0)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
