"""Help pages: readable at any width, options in groups, an example that is right."""

import os
import re
import shlex
import subprocess
import sys

import pytest
from docs import make_cli

from coverax.cli import pages

COMMANDS = dict(make_cli.commands())
GROUPS = ("coverax", "coverax temperature", "coverax import")


@pytest.mark.parametrize("width", [60, 80, 140])
@pytest.mark.parametrize("name", [*COMMANDS, *GROUPS])
def test_a_page_fits_its_terminal_and_cuts_no_name(cli, monkeypatch, name, width):
    monkeypatch.setenv("COLUMNS", str(width))
    words = name.split()[1:]
    page = cli(*words, "-h").out
    assert page == cli(*words, "--help").out
    assert max(map(len, page.splitlines())) <= width
    assert page.isascii()
    if name in COMMANDS:
        assert "\nExample:\n  coverax" in page
        shown = set(re.findall(r"--[\w-]+", page))
        assert set(make_cli.long_options(COMMANDS[name])) <= shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_long_page_has_a_group(name):
    options = [p for p in COMMANDS[name].params if p.param_type_name == "option"]
    assert not [p.name for p in options if pages.panel_of(p.name) == pages.ABOUT][1:]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_a_page_are_commands(name):
    text = pages.EXAMPLES[name.split()[-1]].replace("\\\n", " ")
    for line in text.splitlines():
        words = shlex.split(line)
        assert f"{line} ".startswith(f"{name} ")
        own = words[len(name.split()) :]
        assert COMMANDS[name].make_context(name, own).params


def test_coverax_alone_shows_the_flow_and_every_command(cli):
    done = cli()
    assert (done.code, done.err) == (0, "")
    steps = re.findall(r"^  (\w+)  ", done.out.partition("\n\nThe flow")[0], re.M)
    assert steps == ["score", "calibrate", "predict", "evaluate"]
    listed = re.findall(r"^  ([\w-]+)  ", done.out, re.M)
    assert {name.split()[1] for name in COMMANDS} <= set(listed)


def test_a_shell_completes_commands_and_options():
    def completed(words):
        environment = os.environ | {
            "_COVERAX_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        args = (sys.executable, "-c", "from coverax.cli import main; main()")
        done = subprocess.run(args, capture_output=True, check=False, env=environment)
        return done.stdout.decode().split()

    assert completed("coverax cal") == ["calibrate"]
    assert completed("coverax score --allow-m") == ["--allow-missing"]
