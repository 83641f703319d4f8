"""What the pages name is there: papers' functions and commands, messages, citation, site."""

import ast
import importlib
import re
from functools import cache

import pytest
import yaml

import coverax as cx
from tests.docs_blocks import ROOT

DOCS = ROOT / "docs"
CELLS = re.compile(r"(?<!\\)\|")
CODE = re.compile(r"`([^`]+)`")


def rows_of(name):
    """The rows of all tables of a page, but their heads: lists of cells."""
    lines = (DOCS / name).read_text(encoding="utf-8").splitlines()
    tables = [[c.strip() for c in CELLS.split(x)[1:-1]] for x in lines if x[:1] == "|"]
    heads = {i - 1 for i, row in enumerate(tables) if set("".join(row)) <= set("-:")}
    return [r for i, r in enumerate(tables) if i not in heads and i - 1 not in heads]


def find_python(name):
    """What `calibrate.x` or `table.Class.method` is."""
    package, *rest = name.split(".")
    found = importlib.import_module(f"coverax.{package}")
    for part in rest:
        found = getattr(found, part)
    return found


def find_command(name, options):
    """Whether a command is there, with these options."""
    from docs.make_cli import commands, long_options

    assert not set(options) - set(long_options(dict(commands())[name]))


PAPERS = rows_of("papers.md")
NAMED = sorted({name for row in PAPERS for name in CODE.findall(row[2])})


def test_every_row_of_the_papers_has_a_name_or_a_reason():
    assert len(PAPERS) > 60
    for what, says, here in PAPERS:
        assert what, says
        assert says, what
        assert CODE.search(here) or len(here) > 10, what


@pytest.mark.parametrize("name", NAMED)
def test_what_the_papers_page_names_is_there(name):
    words = name.split()
    if words[0] == "coverax":
        first = next((i for i, w in enumerate(words) if w.startswith("--")), len(words))
        options = [w for w in words[first:] if w.startswith("--")]
        find_command(" ".join(words[:first]), options)
        # A choice may follow its option: `--method fnr`.
        assert set(words[first:]) - set(options) <= known_choices()
    elif "/" in name or name.endswith(".md"):
        assert (ROOT / name).exists(), name
    elif re.fullmatch(r"[a-z]+\.\w+(\.\w+)*", name) and not name.endswith(".json"):
        find_python(name)


@cache
def known_choices():
    """Every word that an option may take."""
    from typing import get_args

    from coverax import choices

    return {w for value in vars(choices).values() for w in get_args(value)}


@cache
def templates():
    """All text of the source, `…` for what is filled in."""

    def text(node):
        if isinstance(node, ast.Constant):
            return node.value if isinstance(node.value, str) else "…"
        if isinstance(node, ast.JoinedStr):
            return "".join(map(text, node.values))
        if isinstance(node, ast.BinOp):
            return text(node.left) + text(node.right)
        match node:
            case ast.FormattedValue(ast.Call(ast.Name("plural"), [_, what, *verbs])):
                return " ".join(["…", f"{text(what)}s", *map(text, verbs[1:])])
        return "…"

    kinds = (ast.Constant, ast.JoinedStr, ast.BinOp)
    found = set()
    for path in sorted((ROOT / "src").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found |= {text(n) for n in ast.walk(tree) if isinstance(n, kinds)}
    return "\n".join(found)


MESSAGES = [CODE.findall(row[0])[0] for row in rows_of("troubleshooting.md")]


@pytest.mark.parametrize("message", MESSAGES)
def test_every_message_of_the_troubleshooting_page_is_said_by_the_source(message):
    assert len(message.replace("…", "")) >= 15
    parts = [re.escape(part) for part in message.split("…") if part.strip()]
    assert re.search("[^\n]*".join(parts), templates()), message


NUMBER = re.compile(r"(\d[\d,]*\.?\d*)( million)?")


def told(text):
    """Numbers of a text, and half a unit of the last digit of each."""
    for digits, million in NUMBER.findall(text):
        scale = 1e6 if million else 1
        places = len(digits.partition(".")[2])
        value = float(digits.replace(",", "").rstrip("."))
        if places == 0 and value >= 1000:
            places = -2  # 193,000 is told to hundreds
        yield scale * value, scale * 0.5001 * 10.0**-places


def test_measured_numbers_of_the_readme_stand_in_the_results_they_link():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [
        x for x in lines if re.match(r"\| [^|]*\]\(benchmarks/results/\w+\.md\)", x)
    ]
    assert len(rows) > 10
    for row in rows:
        first, second = CELLS.split(row)[1:3]
        result = ROOT / re.search(r"\((benchmarks/results/\w+\.md)\)", first)[1]
        known = [value for value, _ in told(result.read_text(encoding="utf-8"))]
        # An aim, and the size of what was measured, are no measurements.
        measured = re.sub(r"aim:? [\d.]+x|\d+x\d+x\d+|\d+\^3", "", second)
        for value, half in told(measured):
            assert any(abs(value - each) <= half for each in known), (value, row)


def test_the_glossary_is_in_order_and_says_each_word_once():
    words = [row[0].strip("*").lower() for row in rows_of("glossary.md")]
    assert words == sorted(set(words))


def site():
    """mkdocs.yml, and the pages of its navigation."""

    def pages(entry):
        if isinstance(entry, str):
            return [entry]
        below = entry.values() if isinstance(entry, dict) else entry
        return [page for each in below for page in pages(each)]

    content = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    return content, pages(content["nav"])


def test_every_page_is_in_the_navigation_of_the_site():
    _, named = site()
    assert len(named) == len(set(named))
    there = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    # The hooks put all packages and all results for these two.
    made = {"reference/", "results/", "changes.md", "contributing.md"}
    assert set(named) == there | made, "mkdocs.yml: nav"


def test_the_citation_is_of_this_version():
    content = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert content["version"] == cx.__version__
    assert content["license"] == "Apache-2.0"
    assert {"cff-version", "message", "title", "authors", "type"} <= set(content)
