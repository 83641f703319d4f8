"""The look of figures in a page: drawn once, coloured by the page's own style.

Ink and the few colours are written as variables of the page, so that a figure follows light
and dark and prints; text stays text, which a screen reader finds and a search too. The
colours are told apart by every reader, and never alone: a shape or a dash goes with each.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#aa4499"
INK, GREY, PALE = "#010203", "#7f7f7e", "#b8c9d8"
LINES = ((BLUE, "-"), (ORANGE, "--"), (GREEN, "-."), (PURPLE, ":"), (INK, "-"))
_VARIABLES = {
    INK: "currentColor",
    GREY: "var(--grey)",
    PALE: "var(--pale)",
    BLUE: "var(--blue)",
    ORANGE: "var(--orange)",
    GREEN: "var(--green)",
    PURPLE: "var(--purple)",
}
_RC: Any = {
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    **{
        name: INK
        for name in (
            *("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor"),
            *("xtick.color", "ytick.color"),
        )
    },
}
_IDS = re.compile(r'\bid="([^"]+)"')
_LINKS = re.compile(r'(url\(#|href="#)([^)"]+)')
_FONT = re.compile(r"font: ([\d.]+)px [^;\"]+")


@contextmanager
def house_style() -> Iterator[None]:
    """Figures made inside look like those of every report."""
    from matplotlib import rc_context

    with rc_context(_RC):
        yield


def svg_of(figure: "Figure", name: str, title: str, description: str) -> Markup:
    """A figure as SVG to stand in a page.

    Args:
        figure: Made in the house style.
        name: Of the figure, no other's in the page: its ids begin with it.
        title: What it shows, for those who cannot see it.
        description: What there is to be seen.
    """
    from matplotlib import rc_context

    text = io.StringIO()
    with rc_context(_RC | {"svg.hashsalt": name}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(text, format="svg", metadata=nothing, transparent=True)
    body = text.getvalue()
    body = body[body.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    body = _IDS.sub(rf'id="{name}-\1"', body)
    body = _LINKS.sub(rf"\1{name}-\2", body)
    body = _FONT.sub(r"font-size: \1px", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, variable)
    head, body = body.split(">", 1)
    sizes = re.sub(r'\s(?:width|height|version|xmlns\S*)="[^"]*"', "", head)
    label = escape(title)
    about = f"<title>{label}</title><desc>{escape(description)}</desc>"
    width = float(figure.get_figwidth()) * 72
    return Markup(
        f'{sizes} role="img" aria-label="{label}" style="max-width:{1.25 * width:.0f}pt">'
        f"{about}{body.strip()}"
    )


def whole_numbers(axis: Any) -> None:
    """Ticks of counts: there is no half a case."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True))
