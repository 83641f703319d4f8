"""What a section of a report is made of; a template draws each kind."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from markupsafe import Markup

from coverax.report.slices import Stack

NONE = "-"  # where there is no value


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph: plain, the `lead` of a section, a `note` or a `warning`."""

    text: str
    look: Literal["plain", "lead", "note", "warning"] = "plain"
    kind: str = field(default="text", init=False)


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading below that of the section."""

    text: str
    kind: str = field(default="heading", init=False)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under a caption; the first column names the row."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    kind: str = field(default="table", init=False)


@dataclass(frozen=True, slots=True)
class Terms:
    """Terms and what is said of each."""

    pairs: Sequence[tuple[str, str]]
    kind: str = field(default="terms", init=False)


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture with its caption."""

    svg: Markup
    caption: str
    kind: str = field(default="figure", init=False)


@dataclass(frozen=True, slots=True)
class Sliders:
    """Sliders over settings whose values were all computed before.

    Attributes:
        name: No other's in the page.
        figure: What the sliders move in.
        sliders: Of each, in the order of the values: its label, its positions as text,
            and the one shown first.
        outputs: Names of the values, as rows.
        values: Texts of the outputs, by the positions of all sliders.
        moves: Per position of the first slider, how far the marks of the figure move.
    """

    name: str
    figure: Figure
    sliders: Sequence[tuple[str, Sequence[str], int]]
    outputs: Sequence[str]
    values: dict[str, Sequence[str]]
    moves: Sequence[float]
    kind: str = field(default="sliders", init=False)

    @property
    def first(self) -> Sequence[str]:
        """The values shown before anything is moved."""
        return self.values[",".join(str(start) for _, _, start in self.sliders)]

    @property
    def data(self) -> dict[str, Any]:
        """What the script needs."""
        names = [positions for _, positions, _ in self.sliders]
        return {"positions": names, "values": self.values, "moves": self.moves}


@dataclass(frozen=True, slots=True)
class Viewer:
    """A case to look at: still slices, and all of them one by one.

    Attributes:
        name: No other's in the page.
        title: The case, and why it is shown.
        stack: Its slices.
        still: Indices of the slices that are shown side by side.
    """

    name: str
    title: str
    stack: Stack
    still: Sequence[int]
    kind: str = field(default="viewer", init=False)

    @property
    def looks(self) -> list[tuple[str, str]]:
        """Each contour with the name of its look."""
        return [(name, name.split()[0]) for name in self.stack.contours]

    @property
    def labels(self) -> list[str]:
        """What is said of each slice."""
        n = self.stack.n_slices
        return [f"slice {place + 1} of {n}" for place in self.stack.places]

    @property
    def data(self) -> dict[str, Any]:
        """What the script needs."""
        paths = [list(paths) for paths in self.stack.contours.values()]
        return {"labels": self.labels, "paths": paths, "height": self.stack.height}


Block = Text | Heading | Table | Terms | Figure | Sliders | Viewer


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page: a question that it answers.

    Attributes:
        name: Its anchor.
        title: The question.
        blocks: The answer.
    """

    name: str
    title: str
    blocks: Sequence[Block]


def percent(value: float | None, digits: int = 1) -> str:
    """A share in percent; a dash where there is none."""
    return NONE if value is None else f"{value:.{digits}%}"


def number(value: float | None, unit: str = "") -> str:
    """A number to three digits, a large one to its last before the point; a dash where there is none."""
    if value is None:
        return NONE
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{text} {unit}".strip()
