"""One page that holds a whole report: no network, no other file."""

from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

import jinja2

from coverax.files import PathLike, check_not_input, publish_text
from coverax.report.blocks import Section
from coverax.report.cases import Pictures
from coverax.report.found import Found, find_results
from coverax.report.sections.cases import cases
from coverax.report.sections.counted import counted
from coverax.report.sections.glossary import glossary
from coverax.report.sections.groups import groups
from coverax.report.sections.happened import cuts, happened
from coverax.report.sections.lesions import lesions
from coverax.report.sections.others import monitor, splits, triage, volumes
from coverax.report.sections.promise import promise
from coverax.report.sections.provenance import provenance
from coverax.report.sections.reliability import reliability
from coverax.report.sections.sets import sets
from coverax.report.sections.sweep import sweep

# In the order in which a reader asks.
Make = Callable[[Found], Section | None]
SECTIONS: tuple[Make, ...] = (
    promise,
    counted,
    happened,
    cuts,
    sweep,
    groups,
    sets,
    reliability,
    lesions,
    volumes,
    triage,
    splits,
    monitor,
)
# Where the cases stand among them.
_CASES_AT = SECTIONS.index(volumes)


def build_page(
    found: Found, pictures: Pictures | None = None, command: Sequence[str] = ()
) -> str:
    """The page as text.

    Args:
        found: What it speaks of.
        pictures: Maps, references and scans of the cases that are drawn.
        command: The command line, to be recorded.
    """
    made = [section(found) for section in SECTIONS]
    made.insert(_CASES_AT, cases(found, pictures))
    sections = [section for section in made if section is not None]
    sections += [glossary(), provenance(found, command)]
    folder = files("coverax.report") / "templates"
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(
            lambda name: (folder / name).read_text(encoding="utf-8")
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(sections=sections)


def write_page(
    folders: Sequence[PathLike],
    output: PathLike,
    pictures: Pictures | None,
    command: Sequence[str],
) -> Found:
    """As `write_report`; what was found."""
    found = find_results(folders)
    beside = [item.path.with_name("cases.csv") for item in found.evaluations]
    seen = () if pictures is None else pictures.files
    check_not_input(output, [*found.files, *beside, *seen])
    publish_text(Path(output), build_page(found, pictures, command), ".html")
    return found
