"""Results in a notebook, in a line and as a table whose text is escaped; counts."""

import html
from collections.abc import Iterable, Mapping

_MOST = 280  # letters of a line
_FEW = 3  # entries of a list that are named


class Shown:
    """What shows itself: `_facts` in a line, `_details` as a table."""

    __slots__ = ()

    def _facts(self) -> Mapping[str, object]:
        """What the line says, most wanted first."""
        raise NotImplementedError

    def _details(self) -> Mapping[str, object]:
        """What the table says; the facts of the line by default."""
        return self._facts()

    def __repr__(self) -> str:
        facts = ", ".join(f"{k}={one_line(v)}" for k, v in self._facts().items())
        line = f"{type(self).__name__}({facts})"
        return line if len(line) <= _MOST else f"{line[: _MOST - 2]}…)"

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><th scope="row">{html.escape(str(k))}</th>'
            f"<td>{html.escape(str(v))}</td></tr>"
            for k, v in self._details().items()
        )
        title = html.escape(type(self).__name__)
        return f"<table><caption>{title}</caption><tbody>{rows}</tbody></table>"


def plural(n: int, what: str, one: str = "", many: str = "") -> str:
    """A count with its noun, and the verb for one or for many."""
    verb = one if n == 1 else many
    return f"{n:,} {what}{'' if n == 1 else 's'}{verb and f' {verb}'}"


def one_line(value: object) -> str:
    """A value as text without line breaks."""
    return " ".join(str(value).split())


def few(values: Iterable[object]) -> str:
    """The first of several values, and how many more there are."""
    each = [one_line(value) for value in values]
    more = f" and {len(each) - _FEW} more" if len(each) > _FEW else ""
    return ", ".join(each[:_FEW]) + more


def short(number: float | None) -> str:
    """A number of a few digits; a dash where there is none."""
    return "-" if number is None else f"{number:.4g}"
